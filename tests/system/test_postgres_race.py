"""Eight processes on four homes that share nothing but PostgreSQL and thumbnails, and a server that is killed."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect.settings import PREFECT_API_URL

from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import BackendUnavailable
from selfiegate.model import Claim, PhotoRef
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime, using
from selfiegate.steps import inline
from tests.chaos.check import read_postgres
from tests.chaos.racing import PROCESSES, assert_one_is_accepted_in_every_round
from tests.postgres import PATIENCE_S, PostgresServer
from tests.present import present
from tests.runtimes import ScriptedRuntime, runtime_on_postgres

pytestmark = [pytest.mark.system, pytest.mark.promise]

HOMES = 4
ROUNDS = 200 if "CHAOS" in os.environ else 20


class Place(NamedTuple):
    """Where a race is held: a folder for the homes, and a database for records and faces."""

    folder: Path
    url: str

    def runtime(self, home: int) -> ScriptedRuntime:
        """Open a home's runtime; thumbnails are in one place, as in a bucket."""
        return runtime_on_postgres(self.folder / f"home-{home}", self.url, self.folder / "thumbnails")


def upload(rt: Runtime, turn: int, user: int) -> PhotoRef:
    path = rt.settings.home / f"{turn}-{user}.png"
    path.write_bytes(scripted_photo(f"person-{turn}", size=(320, 240 + user)))
    return rt.photos.find(str(path))


def patiently(rt: ScriptedRuntime, photo: PhotoRef, user_id: str, owner: str) -> Claim:
    """Take the steps again while the database is away, as the flow's retries do."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            claim = claim_photo(rt, photo, user_id, owner)
            return claim if claim.verdict else finish(rt, claim)
        except BackendUnavailable:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def race(place: Place, user: int, rounds: int, barrier: Barrier, results: Any) -> None:
    rt = place.runtime(user % HOMES)
    for turn in range(rounds):
        photo = upload(rt, turn, user)
        barrier.wait()
        claim = patiently(rt, photo, f"user_{user}_{turn}", f"run {user} {turn}")
        results.put((turn, user, photo, claim.status))


def race_through_the_flow(place: Place, user: int, rounds: int, barrier: Barrier, results: Any) -> None:
    from flows.process_photo import process_photo

    async def race() -> None:
        with using(place.runtime(user % HOMES)) as rt:
            for turn in range(rounds):
                photo = upload(rt, turn, user)
                await asyncio.to_thread(barrier.wait)
                verdict = await process_photo(photo, f"user_{user}_{turn}")
                results.put((turn, user, photo, present(verdict).status))

    asyncio.run(race())


@pytest.mark.parametrize("rounds", [3, pytest.param(ROUNDS, marks=pytest.mark.slow)])
def test_eight_processes_on_four_homes_accept_one_in_every_round(
    postgres: PostgresServer, tmp_path: Path, rounds: int
) -> None:
    """The winners' next photos are taken on other homes, and what is forgotten on one is gone from all."""
    place = Place(tmp_path, postgres.database("race"))
    winners = assert_one_is_accepted_in_every_round(race, place, rounds, partial(place.runtime, 0))
    homes = [place.runtime(home) for home in range(HOMES)]
    for turn, user in winners.items():
        rt, user_id = homes[(user + 1) % HOMES], f"user_{user}_{turn}"
        path = rt.settings.home / f"next of {user_id}.png"
        path.write_bytes(scripted_photo(f"person-{turn}", size=(400, 300)))
        assert patiently(rt, rt.photos.find(str(path)), user_id, f"next of {user_id}").status == "accepted"
    assert homes[0].faces.stats().faces == rounds
    for turn in range(rounds):
        for user in range(PROCESSES):
            rt, user_id = homes[(user + 2) % HOMES], f"user_{user}_{turn}"
            asyncio.run(forget_user(rt, inline(rt, attempts=1), user_id, f"forget {user_id}"))

    left = read_postgres(place.url, tmp_path)
    assert (left.rows, left.profiles, left.faces, left.thumbnails) == ([], {}, {}, set())


@pytest.mark.slow
def test_the_flow_on_four_homes_accepts_one_in_every_round(
    postgres: PostgresServer, tmp_path: Path, prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    place = Place(tmp_path, postgres.database("flow"))

    rounds = 20 if "CHAOS" in os.environ else 3
    assert_one_is_accepted_in_every_round(race_through_the_flow, place, rounds, partial(place.runtime, 0))


def test_a_server_that_is_killed_in_every_round_lets_one_through_in_every_round(tmp_path: Path) -> None:
    rounds, server = 4, PostgresServer()
    place, over, kills = Place(tmp_path, server.database("killed")), threading.Event(), list[int]()

    def kill() -> None:
        """Once in every round but the first, in which the stores are opened, and each time a little later in it."""
        for turn in range(1, rounds):
            while not any(tmp_path.glob(f"home-*/{turn}-*.png")):
                if over.wait(0.01):
                    return
            time.sleep(0.05 * (turn % 20))
            server.kill()
            kills.append(turn)
            server.start()

    def opened() -> ScriptedRuntime:
        over.set()
        killer.join(PATIENCE_S)
        return place.runtime(0)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert_one_is_accepted_in_every_round(race, place, rounds, opened)
    finally:
        over.set()
        killer.join(PATIENCE_S)
        server.stop()

    assert kills == [*range(1, rounds)]
