"""Installations to be moved, and what they hold, read from the files and tables themselves."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from selfiegate.audit import Orphan, orphans
from selfiegate.cli.move import settings_at
from selfiegate.databases import open_records
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.home_use import used_alone
from selfiegate.model import Contest, LateLoss, PhotoRef
from selfiegate.moving.move import Move, Moved
from selfiegate.moving.places import Place, place_of, source_of
from selfiegate.privacy.sequence import forget_user
from selfiegate.records import Records
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.home_folders import outcome, photo_of
from tests.postgres import PATIENCE_S
from tests.present import present
from tests.runtimes import scripted_over, scripted_runtime

T = TypeVar("T")
PEOPLE = ("ann", "bob", "carl", "dora")
KINDS = ("claims", "profiles", "erasures", "audit_bookmark", "faces")
SELECTS = {kind: f"SELECT * FROM {kind}" for kind in KINDS}  # noqa: S608  constants


def installed(home: Path) -> Path:
    """Make a home with users, one of whom replaced a photo and one of whom is forgotten, and rows of every kind."""
    rt = scripted_runtime(home)
    for person in (*PEOPLE, "eve", "ann2"):
        assert outcome(rt, photo_of(home, person), person.strip("2")) == "accepted"
    assert outcome(rt, photo_of(home, "bob7"), "mallory") == "rejected"
    asyncio.run(forget_user(rt, inline(rt), "eve", "forget-run"))
    write_rows_of_every_kind(rt)
    del rt
    let_go(home)
    return home


def write_rows_of_every_kind(rt: Runtime) -> None:
    """Leave claims as runs that died leave them, one that loses its face late, and where an audit stopped."""
    for n, user_id in enumerate(("pending", "accepting", "contested", "untold")):
        photo = PhotoRef(bucket="photos", key=f"{user_id}.png", version=f"v{n}")
        row = rt.ledger.claim(photo, user_id, "dead run", lease_s=-n, notify=n != 0)
        match user_id:
            case "accepting":
                rt.ledger.accept(row)
            case "contested":
                rt.ledger.contest(row, Contest(user_id="ann", photo=photo, score=0.5))
            case "untold":
                rt.ledger.end_notice(row, present(rt.ledger.begin_notice(row, lease_s=-1)), sent=False, told=["log"])
    ann = next(row for row in rt.ledger.claims_of("bob") if row.status == "accepted")
    loss = LateLoss(user_id="ann", winner_face_id="face", score=0.9, face_id="lost", attempt=99)
    assert rt.ledger.look_later(ann, 5 * 10**15, loss)
    rt.ledger.keep_audit_bookmark('{"stage":"profiles","after":"bob"}')


def audited(place: Place) -> set[Orphan]:
    """Audit one side with the scripted analyser in the place of the models."""
    gallery = place.open_gallery("scripted")
    return set(orphans(scripted_over(place.settings.folder, place.settings, place.records, gallery)))


def move(
    settings: Settings, to: str, leave_behind: int = 0, watch: Callable[[int, int], None] = lambda *_: None
) -> Moved:
    """Be the command; `watch` is told of the copying."""
    let_go(settings.folder)
    return Move(source_of(settings), place_of(settings_at(settings, to)), audited, watch).run(leave_behind)


def start(settings: Settings) -> Records:
    """Open records as any command does."""
    return again(partial(open_records, settings))


def again(call: Callable[[], T]) -> T:
    """Do as retries do where a connection of before was ended; a pool may hold some."""
    for _ in range(20):
        with suppress(BackendUnavailable):
            return call()
    return call()


def let_go(home: Path) -> None:
    """Close what earlier runtimes of a test have open, as their processes would by ending; threads take a moment."""
    for _ in range(40 if home.exists() else 0):
        gc.collect()
        with suppress(BackendMisconfigured):
            used_alone(home).close()
            return
        time.sleep(0.05)


def held(settings: Settings) -> dict[str, set[tuple[Any, ...]]]:
    """Return all rows and faces, value by value."""
    if settings.records == "postgres":
        with psycopg.connect(settings.database_url) as connection:
            connection.adapters.register_loader("json", psycopg.types.string.TextLoader)
            return {kind: set(connection.execute(sql.encode()).fetchall()) for kind, sql in SELECTS.items()}
    found = {}
    for kind in KINDS:
        path = settings.folder / ("gallery.db" if kind == "faces" else "records.db")
        with closing(sqlite3.connect(path)) as file:
            file.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
            found[kind] = set(file.execute(SELECTS[kind]).fetchall())
    return found


def drop_connections(settings: Settings, of: str = "selfiegate") -> None:
    """End what runtimes of the test have open, as their processes would by ending; it takes the server a moment."""
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    give_up = time.monotonic() + PATIENCE_S
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        while connection.execute(sql, (of,)).fetchall():
            assert time.monotonic() < give_up
            time.sleep(0.02)


def end_moves(settings: Settings) -> None:
    """End what moves of the test have open, their lock included."""
    drop_connections(settings, "selfiegate move")
