"""A backfill that is killed, cancelled, doubled, fed with broken files, or runs beside uploads keeps its promises."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.backfill import backfill
from flows.process_photo import process_photo
from selfiegate.backends.scripted import scripted_photo
from selfiegate.runtime import Runtime, using
from selfiegate.settings import Settings
from tasks import progress
from tests.backfilling import PATIENCE_S, crowd, take, taking
from tests.flowruns import LOOP
from tests.present import present
from tests.runtimes import assert_consistent, scripted_runtime


def assert_each_person_once(rt: Runtime, files: Sequence[str]) -> None:
    """One of each person's two photos is accepted, every photo has a verdict, and the stores agree."""
    photos = [(rt.photos.find(file), Path(file).stem) for file in files]
    accepted = [present(rt.ledger.get(*photo)).status == "accepted" for photo in photos]
    people = len(files) // 2

    assert all(present(rt.ledger.get(*photo)).verdict for photo in photos)
    assert [n for n in range(people) if accepted[n] + accepted[n + people] != 1] == []
    assert_consistent(rt, *photos)


@pytest.mark.slow
@pytest.mark.system
def test_killed_at_random_moments_and_resumed_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    files, draw, half_done = crowd(tmp_path / "crowd", 240), random.Random(0), 0  # noqa: S311  no secret
    disturbed, calm = (scripted_runtime(tmp_path / name) for name in ("home", "calm"))
    for _ in range(10):
        with taking(tmp_path / "home", files, 16) as process:
            time.sleep(draw.uniform(0.02, 0.25))
            os.kill(present(process.pid), signal.SIGKILL)
        half_done += bool(disturbed.ledger.unfinished(before=2**62))
    take(tmp_path / "home", files, 16)
    take(tmp_path / "calm", files, 16)

    assert half_done > 0
    for file in files:
        photo = disturbed.photos.find(file)
        verdicts = [present(rt.ledger.get(photo, Path(file).stem)).verdict for rt in (disturbed, calm)]
        assert present(verdicts[0]).status == present(verdicts[1]).status
    assert_each_person_once(disturbed, files)
    assert_each_person_once(calm, files)


@pytest.mark.system
def test_two_backfills_of_one_folder_at_once_accept_each_face_once(tmp_path: Path) -> None:
    files = crowd(tmp_path / "crowd", 160)
    with taking(tmp_path / "home", files, 8) as one, taking(tmp_path / "home", files[::-1], 20) as other:
        for process in (one, other):
            process.join(PATIENCE_S)
            assert process.exitcode == 0

    assert_each_person_once(scripted_runtime(tmp_path / "home"), files)


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.usefixtures("prefect_api")
def test_beside_uploads_each_face_is_accepted_once_and_every_photo_has_a_verdict(tmp_path: Path) -> None:
    files = crowd(tmp_path / "crowd", 600)
    rt = scripted_runtime(tmp_path / "home", Settings(home=tmp_path / "home", lease_s=2))
    uploads = random.Random(1).sample(files[300:], 40)  # noqa: S311  no secret

    async def uploaded() -> list[str]:
        runs = (process_photo(rt.photos.find(file), Path(file).stem, return_state=True) for file in uploads)
        return [present(state.name) for state in await asyncio.gather(*runs)]

    with using(rt), taking(tmp_path / "home", files, 2) as process:
        names = LOOP.run(uploaded())
        process.join(PATIENCE_S)
        assert process.exitcode == 0

    assert set(names) <= {"Accepted", "Rejected", "InProgress"}
    owners = {present(rt.ledger.get(rt.photos.find(file), Path(file).stem)).owner for file in files}
    assert len(owners) > 2  # one of the backfill, one of each run
    assert_each_person_once(rt, files)


@pytest.mark.usefixtures("prefect_api")
def test_a_cancelled_one_stops_after_the_chunks_under_way_and_is_resumed(tmp_path: Path) -> None:
    files, rt = crowd(tmp_path / "crowd", 60), scripted_runtime(tmp_path / "home")
    photos = [(rt.photos.find(file), Path(file).stem) for file in files]

    async def cancelled_early() -> int:
        run = asyncio.ensure_future(backfill(str(tmp_path / "crowd"), "{user_id}.png", chunk=4))

        def cancel(done: int, total: int) -> None:
            run.cancel()

        progress.watchers.append(cancel)
        try:
            with pytest.raises(asyncio.CancelledError):
                await run
        finally:
            progress.watchers.clear()
        for _ in range(600):  # chunks end in threads: a minute, on a machine that is busy with others
            await asyncio.sleep(0.1)
            claims = [claim for photo in photos if (claim := rt.ledger.get(*photo))]
            if all(claim.verdict for claim in claims):
                break
        return len(claims)

    with using(rt):
        begun = LOOP.run(cancelled_early())
    assert 4 <= begun <= 16  # the first chunk, and the three that were under way
    assert_consistent(rt, *photos)  # nothing is half done

    found = _run(rt, tmp_path / "crowd")
    assert (found["skipped"], found["accepted"]) == (begun, 30 - begun)
    assert_consistent(rt, *photos)


@pytest.mark.usefixtures("prefect_api")
def test_of_a_folder_with_broken_files_these_are_listed_by_reason_and_the_others_done(tmp_path: Path) -> None:
    files, rt = crowd(tmp_path / "crowd", 400), scripted_runtime(tmp_path / "home")
    small = tmp_path / "small.gif"
    Image.new("RGB", (320, 240)).save(small)
    whole = scripted_photo("nobody else")
    broken = [b"", b"text", whole[: len(whole) // 2], small.read_bytes(), scripted_photo("tiny", size=(79, 300))]
    for n, file in enumerate(files[::20]):
        Path(file).write_bytes(broken[n % 5])

    found = _run(rt, tmp_path / "crowd", tolerate=0.0)

    assert (found["photos"], found["failed"], found["accepted"] + found["rejected"]) == (400, 0, 400)
    assert found["reasons"] == {
        "face_already_enrolled": 190,
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
