"""A backfill that is killed, cancelled, doubled, fed with broken files, or runs beside uploads keeps its promises."""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import os
import random
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.backfill import backfill
from flows.process_photo import process_photo
from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.runtime import Runtime, using
from selfiegate.settings import Settings
from tasks import accounts
from tests.flowruns import LOOP
from tests.runtimes import assert_consistent, scripted_runtime


def _backfill(home: Path, files: Sequence[str], size: int) -> None:
    """Go through all photos, chunk by chunk, in a process of its own."""
    rt = scripted_runtime(home, Settings(home=home, lease_s=0.5))
    left = [Entry(uri=file, user_id=Path(file).stem) for file in files]
    while left:
        again = []
        for at in range(0, len(left), size):
            chunk = Chunk(rt, f"process {os.getpid()}", ThreadPoolExecutor(2), None)
            again += chunk.run(left[at : at + size])[1]
        left = [entry for entry, _ in again]
        time.sleep(0.1 if left else 0)


def _crowd(folder: Path, count: int) -> list[str]:
    """Write photos of half as many people, each person twice and far apart."""
    folder.mkdir()
    for n in range(count):
        (folder / f"{n:04}.png").write_bytes(scripted_photo(f"person {n % (count // 2)}" + "~" * (n >= count // 2)))
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.mark.system
def test_killed_at_random_moments_and_resumed_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    files, draw = _crowd(tmp_path / "crowd", 240), random.Random(0)  # noqa: S311  no secret
    for attempt in range(10):
        process = mp.get_context("spawn").Process(target=_backfill, args=(tmp_path / "home", files, 16))
        process.start()
        time.sleep(0.9 + draw.uniform(0, 0.5) + 0.05 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    _backfill(tmp_path / "home", files, 16)
    _backfill(tmp_path / "calm", files, 16)
    disturbed, calm = (scripted_runtime(tmp_path / name) for name in ("home", "calm"))

    for file in files:
        photo = disturbed.photos.find(file)
        rows = [rt.ledger.get(photo, Path(file).stem) for rt in (disturbed, calm)]
        assert rows[0].verdict.status == rows[1].verdict.status
    for rt in (disturbed, calm):
        assert_consistent(rt, *((rt.photos.find(file), Path(file).stem) for file in files))
        assert rt.faces.stats().faces == 120


@pytest.mark.system
def test_two_backfills_of_one_folder_at_once_accept_each_face_once(tmp_path: Path) -> None:
    files = _crowd(tmp_path / "crowd", 160)
    context = mp.get_context("spawn")
    processes = [context.Process(target=_backfill, args=(tmp_path / "home", files, size)) for size in (8, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    rt = scripted_runtime(tmp_path / "home")

    assert rt.faces.stats().faces == 80
    assert_consistent(rt, *((rt.photos.find(file), Path(file).stem) for file in files))


@pytest.mark.system
@pytest.mark.usefixtures("prefect_api")
def test_beside_uploads_each_face_is_accepted_once_and_every_photo_has_a_verdict(tmp_path: Path) -> None:
    files = _crowd(tmp_path / "crowd", 120)
    rt = scripted_runtime(tmp_path / "home", Settings(home=tmp_path / "home", lease_s=2))
    uploads = random.Random(1).sample(files, 40)  # noqa: S311  no secret

    async def uploaded() -> None:
        for at in range(0, len(uploads), 8):
            await asyncio.gather(
                *(process_photo(rt.photos.find(file), Path(file).stem, return_state=True) for file in uploads[at:][:8])
            )

    process = mp.get_context("spawn").Process(target=_backfill, args=(tmp_path / "home", files, 2))
    process.start()
    with using(rt):
        LOOP.run(uploaded())
    process.join(120)

    assert process.exitcode == 0
    photos = [(rt.photos.find(file), Path(file).stem) for file in files]
    assert all(rt.ledger.get(*photo).verdict for photo in photos)
    assert rt.faces.stats().faces == 60
    assert_consistent(rt, *photos)


@pytest.mark.usefixtures("prefect_api")
def test_a_cancelled_one_stops_after_the_chunks_under_way_and_is_resumed(tmp_path: Path) -> None:
    files, rt = _crowd(tmp_path / "crowd", 60), scripted_runtime(tmp_path / "home")
    photos = [(rt.photos.find(file), Path(file).stem) for file in files]

    async def cancelled_early() -> int:
        run = asyncio.ensure_future(backfill(str(tmp_path / "crowd"), "{user_id}.png", chunk=4))
        accounts.watchers.append(lambda done, total: run.cancel())
        try:
            with pytest.raises(asyncio.CancelledError):
                await run
        finally:
            accounts.watchers.clear()
        await asyncio.sleep(0.3)
        return sum(rt.ledger.get(*photo) is not None for photo in photos)

    with using(rt):
        begun = LOOP.run(cancelled_early())
    assert 4 <= begun <= 16  # the first chunk, and the three that were under way
    assert_consistent(rt, *photos)  # nothing is half done

    found = _run(rt, tmp_path / "crowd")
    assert (found["skipped"], found["accepted"]) == (begun, 30 - begun)
    assert_consistent(rt, *photos)


@pytest.mark.usefixtures("prefect_api")
def test_of_a_folder_with_broken_files_these_are_listed_by_reason_and_the_others_done(tmp_path: Path) -> None:
    files, rt = _crowd(tmp_path / "crowd", 400), scripted_runtime(tmp_path / "home")
    small = tmp_path / "small.gif"
    Image.new("RGB", (320, 240)).save(small)
    whole = scripted_photo("nobody else")
    broken = [b"", b"text", whole[: len(whole) // 2], small.read_bytes(), scripted_photo("tiny", size=(79, 300))]
    for n, file in enumerate(files[::20]):
        Path(file).write_bytes(broken[n % 5])

    found = _run(rt, tmp_path / "crowd", tolerate=0.0)

    assert (found["photos"], found["failed"], found["accepted"] + found["rejected"]) == (400, 0, 400)
    assert found["reasons"] == {
        "face_already_enrolled": found["reasons"]["face_already_enrolled"],
        "unreadable_photo": 8,
        "unsupported_format": 8,
        "photo_too_small": 4,
    }
    assert found["accepted"] == 190 == rt.faces.stats().faces  # of ten people both photos are broken


def _run(rt: Runtime, folder: Path, **parameters: Any) -> dict[str, Any]:
    async def once() -> Any:
        found = await backfill(str(folder), "{user_id}.png", **parameters)
        await asyncio.sleep(0.3)  # see tests.flowruns
        return found

    with using(rt):
        return LOOP.run(once())
