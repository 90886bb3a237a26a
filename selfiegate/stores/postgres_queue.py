"""A queue of photo events in PostgreSQL, and the dead ones beside them, shared by bridges on any number of machines.

A message is one row. Who takes it sets when others may see it again, and a receipt that nobody else knows. All times
are the server's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from selfiegate.event_queue import MOST, Message, shortened
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.postgres_schema import Migration, migrate

POLL_S = 0.2
"""How often an empty queue is looked at while `receive` waits: one look into an index."""
MOST_DELIVERIES = 60
"""After so many a message is dead, as with the queue of the stack in AWS."""
DEAD_DAYS = 14
"""For how long dead messages are kept: they name users."""
_SWEEP_S = 60.0
_MOST_SWEPT = 10_000

_FIRST = """
CREATE TABLE photo_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    visible_at timestamptz NOT NULL DEFAULT now(),
    deliveries integer NOT NULL DEFAULT 0,
    receipt uuid,
    died_at timestamptz,
    reason text)
    WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX photo_events_to_take ON photo_events (visible_at, id) WHERE died_at IS NULL;
CREATE INDEX photo_events_dead ON photo_events (died_at, id) WHERE died_at IS NOT NULL;
"""
QUEUE = (Migration(_FIRST, oldest_program=1),)

_TAKE = """
WITH free AS MATERIALIZED (
    SELECT id FROM photo_events WHERE died_at IS NULL AND visible_at <= now() AND deliveries < ?
    ORDER BY visible_at, id LIMIT ? FOR UPDATE SKIP LOCKED)
UPDATE photo_events AS one SET visible_at = now() + make_interval(secs => ?), deliveries = deliveries + 1,
    receipt = gen_random_uuid()
FROM free WHERE one.id = free.id
RETURNING one.id, body, CAST(receipt AS text) AS receipt, deliveries,
    CAST(extract(epoch FROM sent_at) AS double precision) AS sent_at
"""
_GIVE_UP = """
UPDATE photo_events SET died_at = now(), reason = ? WHERE id IN (
    SELECT id FROM photo_events WHERE died_at IS NULL AND visible_at <= now() AND deliveries >= ?
    LIMIT ? FOR UPDATE SKIP LOCKED)
"""
_FORGET = """
DELETE FROM photo_events WHERE id IN (
    SELECT id FROM photo_events WHERE died_at < now() - make_interval(days => ?) LIMIT ? FOR UPDATE SKIP LOCKED)
"""
_OURS = "id = ? AND receipt = CAST(? AS uuid) AND died_at IS NULL"


class DeadMessage(NamedTuple):
    """A message that nobody takes any more, and why."""

    id: int
    body: str
    reason: str
    deliveries: int
    died_at: float
    """Seconds since 1970."""


class QueueStats(NamedTuple):
    """How many messages may be taken, are with a bridge or pause, and are dead; and how long the oldest has waited."""

    waiting: int
    kept: int
    dead: int
    oldest_s: float


class PostgresQueue:
    """Messages to put, to take, to keep, to give back and to settle. Safe to call from several threads."""

    def __init__(self, database: PostgresDatabase, most_deliveries: int = MOST_DELIVERIES) -> None:
        migrate(database, "queue", QUEUE)
        self._database, self._most_deliveries, self._swept_at = database, most_deliveries, float("-inf")

    @property
    def place(self) -> str:
        """Name the database that it lies in."""
        return self._database.place

    def check(self) -> None:
        """Look at the table."""
        self._database.read("SELECT id FROM photo_events LIMIT 1")

    def put(self, body: str) -> None:
        """Add a message, which must not hold NUL; durable once this returns."""
        self._database.execute("INSERT INTO photo_events (body) VALUES (?)", body)

    def receive(self, most: int, wait_s: int, visibility_s: int) -> Sequence[Message]:
        """Wait for messages, a look every `POLL_S`, and return up to `MOST`; nobody else gets them meanwhile."""
        self._sweep()
        end = time.monotonic() + wait_s
        while not (found := self._taken(most, visibility_s)) and (left_s := end - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left_s))
        return found

    def extend(self, message: Message, visibility_s: int) -> bool:
        """Keep a message from others for so long from now, 0 to give it back; False where it is no longer ours."""
        sql = f"UPDATE photo_events SET visible_at = now() + make_interval(secs => ?) WHERE {_OURS}"  # noqa: S608  ours
        return self._database.execute(sql, visibility_s, int(message.id), message.receipt) == 1

    def delete(self, message: Message) -> None:
        """Settle a message; one that is gone, or somebody else's by now, is fine."""
        sql = f"DELETE FROM photo_events WHERE {_OURS}"  # noqa: S608  ours
        self._database.execute(sql, int(message.id), message.receipt)

    def bury(self, message: Message, reason: str) -> bool:
        """Let nobody take a message any more, and keep it with its reason."""
        sql = f"UPDATE photo_events SET died_at = now(), reason = ? WHERE {_OURS}"  # noqa: S608  ours
        self._database.execute(sql, shortened(reason), int(message.id), message.receipt)
        return True

    def dead(self, limit: int) -> Sequence[DeadMessage]:
        """Return the dead messages, the latest first."""
        sql = """SELECT id, body, reason, deliveries, CAST(extract(epoch FROM died_at) AS double precision) AS died_at
            FROM photo_events WHERE died_at IS NOT NULL ORDER BY died_at DESC, id DESC LIMIT ?"""
        return [DeadMessage(**row) for row in self._database.read(sql, limit)]

    def redrive(self, number: int | None = None) -> int:
        """Let a dead message, or all of them, be taken as if they were new; return how many."""
        anew = "SET died_at = NULL, reason = NULL, deliveries = 0, visible_at = now(), receipt = NULL"
        sql = f"UPDATE photo_events {anew} WHERE died_at IS NOT NULL AND id = coalesce(?, id)"
        return self._database.execute(sql, number)

    def waiting(self) -> int:
        """Count the messages that wait for a bridge."""
        return self.stats().waiting

    def stats(self) -> QueueStats:
        """Count the messages."""
        sql = """SELECT count(*) FILTER (WHERE died_at IS NULL AND visible_at <= now()) AS waiting,
            count(*) FILTER (WHERE died_at IS NULL AND visible_at > now()) AS kept,
            count(*) FILTER (WHERE died_at IS NOT NULL) AS dead,
            CAST(coalesce(extract(epoch FROM now() - min(sent_at) FILTER (WHERE died_at IS NULL)), 0)
                AS double precision) AS oldest_s FROM photo_events"""
        return QueueStats(**self._database.read(sql)[0])

    def _taken(self, most: int, visibility_s: int) -> Sequence[Message]:
        rows = self._database.read(_TAKE, self._most_deliveries, min(most, MOST), visibility_s)
        return [Message(**{**row, "id": str(row["id"])}) for row in rows]

    def _sweep(self) -> None:
        """Give up what was delivered too often in vain, and remove what has been dead for long; once a minute."""
        if time.monotonic() - self._swept_at < _SWEEP_S:
            return
        self._swept_at = time.monotonic()
        why = f"given up after {self._most_deliveries} deliveries: photos, ledger or Prefect did not answer for long"
        self._database.execute(_GIVE_UP, why, self._most_deliveries, _MOST_SWEPT)
        self._database.execute(_FORGET, DEAD_DAYS, _MOST_SWEPT)
