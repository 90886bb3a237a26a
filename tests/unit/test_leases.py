"""A run that hangs for good loses its photo to another run; what it holds is renewed only while it lives."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import SelfiegateError
from selfiegate.leases import Lease
from selfiegate.model import Claim, PhotoRef
from selfiegate.runtime import Runtime
from selfiegate.setting_groups import Retries
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.stuck import alive, stuck, watched
from selfiegate.unfinished import unfinished
from tests.runtimes import Hanging, assert_consistent, scripted_runtime

PATIENCE_S = 120
"""A bound on hangs of the test itself."""

Works = Callable[[Runtime, PhotoRef], object]


def by_itself(rt: Runtime, photo: PhotoRef) -> None:
    asyncio.run(process_photo(rt, inline(rt), photo, "ann", "the run that hangs"))


def in_a_chunk(rt: Runtime, photo: PhotoRef) -> None:
    with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(2) as io:
        Chunk(rt, "the run that hangs", vision, io, local=True).run([Entry(uri=photo.uri, user_id="ann")])


@pytest.fixture
def hasty(tmp_path: Path) -> Settings:
    retries = Retries(step_timeout_s=0.5, attempts=1)
    return Settings(home=tmp_path / "home", lease_s=0.6, retries=retries, store_patience_s=1.0)


@pytest.fixture
def photo(tmp_path: Path, hasty: Settings) -> PhotoRef:
    (tmp_path / "ann.png").write_bytes(scripted_photo("ann"))
    return scripted_runtime(hasty.folder, hasty).photos.find(str(tmp_path / "ann.png"))


def until(true: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.fixture(params=[("faces", "detect"), ("thumbnails", "put")], ids=lambda part: part[0])
def hanging(request: pytest.FixtureRequest, hasty: Settings) -> Iterator[Runtime]:
    part, method = request.param
    rt = scripted_runtime(hasty.folder, hasty)
    hangs = Hanging(getattr(rt, part), method)
    parts: dict[str, object] = {part: hangs}
    yield replace(rt, **parts)  # type: ignore[arg-type]
    hangs.over.set()
    until(lambda: not stuck())


@pytest.mark.parametrize("works", [by_itself, in_a_chunk])
def test_a_step_that_never_returns_loses_its_photo_to_another_run(
    hasty: Settings, hanging: Runtime, photo: PhotoRef, works: Works
) -> None:
    def work() -> None:
        with pytest.raises(SelfiegateError):
            works(hanging, photo)

    threading.Thread(target=work, daemon=True).start()
    other = scripted_runtime(hasty.folder, Settings(home=hasty.home))
    until(lambda: unfinished(other, 10))
    row = asyncio.run(process_photo(other, inline(other), photo, "ann", "another run"))

    assert row.status == "accepted"
    assert row.attempt == 2
    assert_consistent(other, (photo, "ann"))


def test_a_sign_of_life_of_an_inner_call_from_another_thread_is_one_of_the_outer_call_too() -> None:
    with watched("a run of many photos", 0.5) as outer, watched("its chunk", 0.5) as inner:
        for _ in range(8):
            time.sleep(0.1)
            thread = threading.Thread(target=inner.alive)
            thread.start()
            thread.join()
        assert not outer.is_stuck
        time.sleep(0.6)
        assert outer.is_stuck


def test_a_long_step_of_short_parts_is_not_stuck() -> None:
    began = time.monotonic()
    with watched("a sweep", 2.0):
        while time.monotonic() < began + 3:
            alive()
            assert not stuck()
            time.sleep(0.02)


def test_a_step_within_a_step_is_a_sign_of_life_of_both() -> None:
    began = time.monotonic()
    with watched("a photo", 2.0) as outer:
        while time.monotonic() < began + 3:
            with watched("its step", 2.0):
                pass
            assert not outer.is_stuck
            time.sleep(0.02)


def test_what_is_held_is_given_up_after_a_renewal_that_is_under_way() -> None:
    """Else the renewal lands last, and nobody can take over before it ends."""
    renewed, slow, ends = list[float](), threading.Event(), threading.Event()

    def renew(held: object, seconds: float) -> None:
        if seconds:
            slow.set()
            ends.wait(PATIENCE_S)
        renewed.append(seconds)

    lease = Lease[Claim]([], renew, 0.03)
    assert slow.wait(PATIENCE_S)
    lease.held = [None]  # type: ignore[list-item]
    giving_up = threading.Thread(target=lease.give_up)
    giving_up.start()
    ends.set()
    giving_up.join(PATIENCE_S)

    assert renewed == [0.03, 0]
