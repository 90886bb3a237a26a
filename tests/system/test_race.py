"""Eight processes, one face, eight users: exactly one is accepted, every time."""

from __future__ import annotations

import asyncio
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL

from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.model import PhotoRef
from selfiegate.runtime import Runtime
from tests.chaos.racing import assert_one_is_accepted_in_every_round
from tests.present import present
from tests.runtimes import scripted_runtime

pytestmark = [pytest.mark.system, pytest.mark.promise]


def upload(rt: Runtime, home: Path, turn: int, user: int) -> PhotoRef:
    """Write one person's selfie for one user; each differs from the others in size, so none is a copy."""
    path = home / f"{turn}-{user}.png"
    path.write_bytes(scripted_photo(f"person-{turn}", size=(320, 240 + user)))
    return rt.photos.find(str(path))


def race_through_the_steps(home: Path, user: int, rounds: int, barrier: Barrier, results: Any) -> None:
    rt = scripted_runtime(home)
    for turn in range(rounds):
        photo = upload(rt, home, turn, user)
        barrier.wait()
        claim = finish(rt, claim_photo(rt, photo, f"user_{user}_{turn}", f"run {user} {turn}"))
        results.put((turn, user, photo, claim.status))


def race_through_the_flow(home: Path, user: int, rounds: int, barrier: Barrier, results: Any) -> None:
    from flows.process_photo import process_photo
    from selfiegate.runtime import using

    async def race() -> None:
        with using(scripted_runtime(home)) as rt:
            for turn in range(rounds):
                photo = upload(rt, home, turn, user)
                await asyncio.to_thread(barrier.wait)
                verdict = await process_photo(photo, f"user_{user}_{turn}")
                results.put((turn, user, photo, present(verdict).status))

    asyncio.run(race())


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_the_steps_accept_one_of_eight_in_every_round(tmp_path: Path, rounds: int) -> None:
    assert_one_is_accepted_in_every_round(race_through_the_steps, tmp_path, rounds, lambda: scripted_runtime(tmp_path))


@pytest.mark.slow
def test_the_flow_accepts_one_of_eight_in_every_round(
    tmp_path: Path, prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    assert_one_is_accepted_in_every_round(race_through_the_flow, tmp_path, 3, lambda: scripted_runtime(tmp_path))
