"""An erasure that takes longer than its lease: processes that reconcile beside it, kill it, stop it and wake it late.

Its stores are real files; the gallery takes its time over each removal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.sequence import process_photo
from selfiegate.privacy.export import export_user
from selfiegate.records import Erasure
from selfiegate.runtime import Runtime
from selfiegate.steps import inline
from tests.chaos.erasures import FIRST, USER, Slow, enrol_many, forget, reconcile
from tests.chaos.rounds import context, is_stopped
from tests.present import present

pytestmark = [pytest.mark.system, pytest.mark.promise]

FACES = 40
PATIENCE_S = 240.0


@pytest.fixture
def where(tmp_path: Path) -> Slow:
    enrol_many(Slow(tmp_path), FACES)
    return Slow(tmp_path, seconds=0.4)


@contextmanager
def process(target: Callable[..., None], *args: object) -> Iterator[BaseProcess]:
    started = context.Process(target=target, args=args, daemon=True)
    started.start()
    try:
        yield started
    finally:
        started.kill()
        started.join()


@contextmanager
def reconciles(where: Slow) -> Iterator[None]:
    """Let two processes look for dead erasures once a second."""
    with ExitStack() as stack:
        for name in ("one", "another"):
            stack.enter_context(process(reconcile, where, name))
        yield


def wait(until: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < give_up, "it does not come to that"
        time.sleep(0.02)


def stops_between_writes(process: BaseProcess, home: Path) -> bool:
    """Stop a process, and let it go on where it holds a write lock: SQLite then keeps all others out until it ends."""
    os.kill(present(process.pid), signal.SIGSTOP)
    wait(lambda: is_stopped(process))
    for name in ("records.db", "gallery.db"):
        with closing(sqlite3.connect(home / name, timeout=0, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(present(process.pid), signal.SIGCONT)
                return False
    return True


def erasure_of(rt: Runtime) -> Erasure:
    return present(rt.erasures.get(USER))


def receipt(rt: Runtime) -> Erasure:
    wait(lambda: erasure_of(rt).finished_at is not None)
    return erasure_of(rt)


def is_at_work(rt: Runtime) -> bool:
    """Say whether an erasure has removed some faces, and not all."""
    return 0 < len(rt.faces.faces_of(USER)) < FACES - 3


def assert_nothing_is_held(rt: Runtime) -> None:
    found = export_user(rt, USER)
    assert (found["profile"], found["faces"], found["thumbnails"], found["photos"]) == (None, [], {}, [])


def test_an_erasure_longer_than_its_lease_is_not_taken_over_while_it_lives(where: Slow) -> None:
    rt = where.open()
    with process(forget, where), reconciles(where):
        wait(lambda: is_at_work(rt))
        done = receipt(rt)

    assert present(done.finished_at) - done.asked_at > 2 * where.lease_s * 1e6
    assert (done.run, done.attempt) == (FIRST, 1)
    assert done.removed == {"face": FACES, "ledger row": FACES}
    assert_nothing_is_held(rt)


def test_an_erasure_that_is_killed_is_taken_over_and_goes_on(where: Slow) -> None:
    rt = where.open()
    with process(forget, where) as killed:
        wait(lambda: is_at_work(rt))
        os.kill(present(killed.pid), signal.SIGKILL)
    left = len(rt.faces.faces_of(USER))
    with reconciles(where):
        done = receipt(rt)

    assert left > 0
    assert (done.run != FIRST, done.attempt) == (True, 2)
    assert done.removed == {"face": FACES, "ledger row": FACES}
    assert_nothing_is_held(rt)


def test_an_erasure_that_is_stopped_for_longer_than_its_lease_does_no_harm_when_it_wakes(where: Slow) -> None:
    rt = where.open()
    with process(forget, where) as stopped:
        wait(lambda: is_at_work(rt))
        wait(lambda: stops_between_writes(stopped, where.home))
        with reconciles(where):
            done = receipt(rt)
        back = where.home / "back.png"
        back.write_bytes(scripted_photo("person 3"))
        row = asyncio.run(process_photo(rt, inline(rt), rt.photos.find(str(back)), USER, "back"))
        held = export_user(rt, USER)
        os.kill(present(stopped.pid), signal.SIGCONT)
        stopped.join(PATIENCE_S)

        assert stopped.exitcode == 0
    assert (done.run != FIRST, done.attempt) == (True, 2)
    assert row.status == "accepted"
    assert export_user(rt, USER) == held
    assert len(held["faces"]) == 1


def test_an_erasure_whose_originals_are_locked_is_tried_again_and_can_end_without_them(tmp_path: Path) -> None:
    where = Slow(tmp_path, lease_s=0.5, locked=True)
    enrol_many(Slow(tmp_path), 3)
    rt = where.open()
    with process(forget, where, True) as first, reconciles(where):
        first.join(PATIENCE_S)
        wait(lambda: erasure_of(rt).attempt > 3 and erasure_of(rt).problem != "")
        assert_nothing_is_held(rt)
        with process(forget, where, False, True) as last:
            last.join(PATIENCE_S)
            done = receipt(rt)

    assert (done.photos, done.kept_originals, done.originals, done.problem) == (False, 3, (), "")
    assert len(list((tmp_path / "photos" / USER).iterdir())) == 3
    assert_nothing_is_held(rt)


def test_an_erasure_that_lists_a_large_collection_goes_on_from_its_page(
    tmp_path: Path, aws: AwsSettings, scripted_rekognition: Any
) -> None:
    where, pages = Slow(tmp_path, lease_s=3, aws=aws.model_copy(update={"thumbnail_bucket": None})), 20
    rt, files = where.open(), [tmp_path / f"{n}.png" for n in range(pages)]
    for n, file in enumerate(files):  # the last is the user's, and no row names it
        file.write_bytes(scripted_photo(f"person {n}"))
        rt.faces.enrol(rt.photos.find(str(file)), USER if n == pages - 1 else f"other {n}")
    scripted_rekognition.switches.list_most(1)
    scripted_rekognition.switches.slow(0.5, "ListFaces")
    scripted_rekognition.journal.clear()
    with reconciles(where), process(forget, where) as killed:
        wait(lambda: scripted_rekognition.calls["ListFaces"] > pages / 2)
        before = erasure_of(rt)
        os.kill(present(killed.pid), signal.SIGKILL)
        done = receipt(rt)

    assert (before.run, before.attempt) == (FIRST, 1)
    assert (done.run != FIRST, done.attempt, done.removed) == (True, 2, {"face": 1})
    assert scripted_rekognition.calls["ListFaces"] <= pages + 1
    assert rt.faces.stats().faces == pages - 1
