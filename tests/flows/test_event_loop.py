"""A store that does not answer holds up the runs that need the store, never the event loop and so all other runs."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task

from flows.backfill import backfill
from flows.forget_user import forget_user
from flows.process_photo import process_photo
from flows.reconcile import reconcile
from selfiegate.backends.scripted import scripted_photo
from selfiegate.errors import BackendMisconfigured
from selfiegate.model import PhotoRef
from selfiegate.runtime import Runtime, using
from selfiegate.settings import Settings
from selfiegate.stores.dynamodb_erasures import DynamoErasures
from selfiegate.stores.dynamodb_ledger import DynamoLedger
from selfiegate.stores.dynamodb_profiles import DynamoProfiles
from tasks.cluster import cluster
from tests.aws.local import create, settings
from tests.aws.proxy import DELAY_S, Proxy
from tests.flowruns import LOOP
from tests.runtimes import Failing, Meanwhile, replacing, scripted_runtime

pytestmark = pytest.mark.usefixtures("prefect_api")

HELD_S = DELAY_S
"""How long a store does not answer: less than its callers' patience, and far more than a busy machine's hiccups."""

BEAT_S = 0.02

Flow = Callable[[Path], Awaitable[object]]


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    (tmp_path / "photos").mkdir()
    for name in ("ann", "ben"):
        (tmp_path / "photos" / f"{name}.png").write_bytes(scripted_photo(name))
    with using(scripted_runtime(tmp_path / "home", Settings(home=tmp_path / "home", lease_s=3))) as runtime:
        yield runtime


def ann(folder: Path) -> PhotoRef:
    return scripted_runtime(folder / "elsewhere").photos.find(str(folder / "photos" / "ann.png"))


def lock(database: Path) -> None:
    """Let another process's write last: a thread of ours holds the file's write lock for a while."""
    held = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held.set()
            time.sleep(HELD_S)
            other.execute("ROLLBACK")

    threading.Thread(target=hold).start()
    assert held.wait(60)


def worst_lag(work: Awaitable[object]) -> float:
    """Return for how many seconds at most the loop did not come back to a coroutine while it did this work.

    Seconds are beats of a thread beside the loop: a machine without time for us holds up both, and tells of no fault.
    """
    beats, over = 0, threading.Event()

    def beat() -> None:
        nonlocal beats
        while not over.wait(BEAT_S):
            beats += 1

    async def watch() -> int:
        task, worst = asyncio.ensure_future(work), 0
        while not task.done():
            before = beats
            await asyncio.sleep(BEAT_S)
            worst = max(worst, beats - before)
        await asyncio.sleep(0.3)  # see tests.flowruns
        return worst

    beside = threading.Thread(target=beat)
    beside.start()
    try:
        return BEAT_S * LOOP.run(watch())
    finally:
        over.set()
        beside.join()


async def one_photo(folder: Path) -> object:
    return await process_photo(ann(folder), "ann", return_state=True)


async def all_photos(folder: Path) -> object:
    return await backfill(str(folder / "photos"), "{user_id}.png", notify=True, return_state=True)


async def dead_photos(folder: Path) -> object:
    return await reconcile(audit=True, return_state=True)


async def erasure(folder: Path) -> object:
    return await forget_user("ben", return_state=True)


@pytest.mark.parametrize("flow", [one_photo, all_photos, dead_photos, erasure])
@pytest.mark.parametrize("database", ["records.db", "gallery.db"])
def test_a_locked_database_leaves_the_loop_alone(rt: Runtime, tmp_path: Path, flow: Flow, database: str) -> None:
    rt.ledger.claim(ann(tmp_path), "ann", "a dead run", -60)
    rt.faces.enrol(rt.photos.find(str(tmp_path / "photos" / "ben.png")), "ben")
    lock(rt.settings.folder / database)

    assert worst_lag(flow(tmp_path)) < HELD_S / 2


@task
async def double(number: int) -> int:
    return 2 * number


@flow
async def on_a_cluster() -> int:
    async with cluster(None, 1) as submit:
        return int(await submit(double, {"number": 21}))


def test_a_cluster_that_starts_and_stops_leaves_the_loop_alone() -> None:
    answers = list[int]()

    async def run() -> None:
        answers.append(await on_a_cluster())

    lag = worst_lag(run())

    assert answers == [42]
    assert lag < 1.0  # it takes seconds


def failing(rt: Any, fault: Callable[[], object]) -> Any:
    """Return a runtime whose run fails in a step, right after a store went away."""
    detect = Meanwhile(rt.faces, "detect", after=False, what=fault)
    return replacing(rt, "faces", Failing(detect, "detect", 1, after=True, error=BackendMisconfigured("no model")))


def test_a_run_that_fails_gives_its_claim_up_beside_the_loop(rt: Runtime, tmp_path: Path) -> None:
    records, photo = rt.settings.folder / "records.db", ann(tmp_path)
    with using(failing(rt, lambda: lock(records))):
        assert worst_lag(one_photo(tmp_path)) < HELD_S / 2

    assert rt.ledger.claim(photo, "ann", "another run", 60).owner == "another run"


def test_so_does_a_run_that_is_cancelled(rt: Runtime, tmp_path: Path) -> None:
    records, photo = rt.settings.folder / "records.db", ann(tmp_path)

    async def cancelled() -> None:
        begun, loop = asyncio.Event(), asyncio.get_running_loop()

        def begin() -> None:
            lock(records)
            loop.call_soon_threadsafe(begun.set)

        with using(replacing(rt, "faces", Meanwhile(rt.faces, "detect", after=False, what=begin))):
            run = asyncio.ensure_future(one_photo(tmp_path))
            await begun.wait()
            run.cancel()
            await asyncio.wait([run])

    assert worst_lag(cancelled()) < HELD_S / 2
    assert rt.ledger.claim(photo, "ann", "another run", 60).owner == "another run"


@pytest.fixture
def remote(rt: Runtime, moto: str) -> Iterator[tuple[Runtime, Proxy]]:
    import requests

    requests.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    create(settings(moto))
    proxy = Proxy(moto)
    aws = settings(proxy.url)
    records = {"ledger": DynamoLedger(aws), "profiles": DynamoProfiles(aws), "erasures": DynamoErasures(aws)}
    yield replace(rt, **records), proxy  # type: ignore[arg-type]
    proxy.close()


@pytest.mark.parametrize("operation", ["dynamodb:UpdateItem", "dynamodb:GetItem"])
def test_a_table_that_does_not_answer_leaves_the_loop_alone(
    remote: tuple[Runtime, Proxy], tmp_path: Path, operation: str
) -> None:
    rt, proxy = remote
    proxy.fail(operation, "delay", 2)
    with using(rt):
        assert worst_lag(one_photo(tmp_path)) < HELD_S / 2

    assert proxy.left == 0


def test_a_run_that_fails_gives_its_claim_up_beside_the_loop_in_dynamodb_too(
    remote: tuple[Runtime, Proxy], tmp_path: Path
) -> None:
    rt, proxy = remote
    with using(failing(rt, lambda: proxy.fail("dynamodb:UpdateItem", "delay", 1))):
        assert worst_lag(one_photo(tmp_path)) < HELD_S / 2

    assert proxy.left == 0
