"""Rounds of users racing for faces in processes of their own, which are killed, stopped, and given stores that fail.

No process imports Prefect: each is forked from a server that has imported the rest. What the stores hold after a round
is judged by `tests.chaos.check`, which shares no code with the product.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg

from tests.chaos import check
from tests.chaos.worker import STRUCK, Fate, Photo, Strike, Where, hung, mend, shared_session, work

BOTH: tuple[Fate, ...] = ("kill before", "kill after", "no answer", "reply lost", "stop")
FILES: tuple[Fate, ...] = (*BOTH, "busy", "disk full", "hang")
CALLS = 28
"""Calls to stores of a run that is accepted, and some more."""
PATIENCE_S = 120.0
context = mp.get_context("forkserver")
context.set_forkserver_preload(["tests.chaos.warm", "pytest"])  # a child imports its parent's main


@dataclass
class Tally:
    """What was done to the workers."""

    rounds: int = 0
    workers: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kills = sum(count for fate, count in self.fates.items() if fate.startswith("kill"))
        faults = {fate: count for fate, count in sorted(self.fates.items()) if not fate.startswith("kill")}
        done = f"{self.rounds} rounds, {self.workers} runs, {kills} killed, faults {faults}"
        return f"{done}, repaired by audits {dict(self.repaired)}"


def race(
    where: Where,
    photos: Sequence[Photo],
    strikes: Sequence[Strike | None],
    tally: Tally,
    dice: random.Random | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Let each photo be run by a process of its own, all at once; with `dice` each is killed at any instant.

    `meanwhile` is called while they run.
    """
    workers = [
        context.Process(target=work, args=(where, [photo], strike), daemon=True)
        for photo, strike in zip(photos, strikes, strict=True)
    ]
    for worker in workers:
        worker.start()
    for worker in workers if dice else ():
        time.sleep(dice.uniform(0, 0.06) if dice else 0)
        worker.kill()
    meanwhile()
    give_up = time.monotonic() + PATIENCE_S
    while running := [worker for worker in workers if worker.is_alive() and not is_stuck(where, worker)]:
        assert time.monotonic() < give_up, "a worker hangs"
        running[0].join(0.01)
    pass_time(where)
    if stopped := [worker for worker in workers if worker.is_alive()]:
        wake_late(where, photos, stopped)
    tally.rounds += 1
    tally.workers += len(workers)
    for worker, strike in zip(workers, strikes, strict=True):
        assert worker.exitcode in (0, STRUCK, -signal.SIGKILL), f"a worker ended with {worker.exitcode}"
        if worker.exitcode != 0:
            tally.fates[strike.fate if strike else "kill at any instant"] += 1


def wake_late(where: Where, photos: Sequence[Photo], stopped: Sequence[BaseProcess]) -> None:
    """Let another process take over from those that sleep, and wake them when it is at it, or done."""
    other = context.Process(target=work, args=(where, photos), daemon=True)
    other.start()
    time.sleep(random.uniform(0, 0.2))  # noqa: S311  no secret
    for worker in stopped:
        os.kill(worker.pid or 0, signal.SIGCONT if is_stopped(worker) else signal.SIGKILL)  # what hangs is replaced
    for worker in (*stopped, other):
        ended(worker)
    pass_time(where)


def settle(where: Where, photos: Sequence[Photo], tally: Tally) -> None:
    """Finish what the round left behind, in a process that nothing befalls."""
    mine, theirs = context.Pipe(duplex=False)
    mender = context.Process(target=mend, args=(where, photos, theirs), daemon=True)
    mender.start()
    theirs.close()
    tally.repaired.update(mine.recv())
    ended(mender)
    assert mender.exitcode == 0


def ended(process: BaseProcess) -> None:
    process.join(timeout=PATIENCE_S)
    if process.is_alive():
        process.kill()
        raise AssertionError("a worker hangs")


def is_stuck(where: Where, process: BaseProcess) -> bool:
    """Say whether a process is stopped, or one of its calls never returns."""
    return is_stopped(process) or hung(where.home, process.pid).exists()


def is_stopped(process: BaseProcess) -> bool:
    """Say whether a process is stopped by a signal."""
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].startswith("T")
    except OSError:
        return False


def pass_time(where: Where) -> None:
    """Let all leases end, as if time had passed."""
    if where.database:
        with psycopg.connect(where.database) as connection:
            if connection.execute("SELECT to_regclass('claims')").fetchone() != (None,):
                connection.execute("UPDATE claims SET lease_until = 0")
        return
    if where.aws is None:
        with contextlib.closing(sqlite3.connect(where.home / "records.db", timeout=30)) as db, db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'claims'").fetchall():  # else all died before it
                db.execute("UPDATE claims SET lease_until = 0")
        return
    table = shared_session().resource("dynamodb", endpoint_url=where.aws.endpoint_url).Table(where.aws.ledger_table)
    for row in check.scanned(table):
        if not row.get("lease_until"):
            continue
        key = {name: row[name] for name in ("user_id", "photo_id")}
        table.update_item(Key=key, UpdateExpression="SET lease_until = :t", ExpressionAttributeValues={":t": 0})
