"""Eight processes on four homes that share nothing but PostgreSQL and thumbnails, and a server that is killed."""

from __future__ import annotations

import threading
import time
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import BackendUnavailable
from selfiegate.model import Claim, PhotoRef
from tests.chaos.racing import assert_one_is_accepted_in_every_round
from tests.postgres import PATIENCE_S, PostgresServer
from tests.runtimes import ScriptedRuntime, runtime_on_postgres

pytestmark = [pytest.mark.system, pytest.mark.promise]

HOMES = 4


class Place(NamedTuple):
    """Where a race is held: a folder for the homes, and a database for records and faces."""

    folder: Path
    url: str

    def runtime(self, home: int) -> ScriptedRuntime:
        """Open a home's runtime; thumbnails are in one place, as in a bucket."""
        return runtime_on_postgres(self.folder / f"home-{home}", self.url, self.folder / "thumbnails")


def upload(rt: ScriptedRuntime, turn: int, user: int) -> PhotoRef:
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


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_eight_processes_on_four_homes_accept_one_in_every_round(
    postgres: PostgresServer, tmp_path: Path, rounds: int
) -> None:
    place = Place(tmp_path, postgres.database("race"))

    assert_one_is_accepted_in_every_round(race, place, rounds, partial(place.runtime, 0))


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
