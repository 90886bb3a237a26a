"""A move is killed at each of its writes, and at any instant; started again, it ends as one that nobody disturbed."""

from __future__ import annotations

import os
import random
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.moving.move import Move
from selfiegate.moving.places import place_of, source_of
from selfiegate.settings import Settings
from tests.chaos.galleries import in_a_process
from tests.moving import audited, drop_connections, held, installed, let_go, start
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.system, pytest.mark.promise]

WRITES = ("fence", "set", "empty", "put", "tie")
CALLS = 12
"""Writes of a move of so few rows, and some more."""
INSTANTS = 6


class Doomed:
    """A collaborator; with it the process is killed before or after one of its writes, counted over all of them."""

    left = 0

    def __init__(self, real: Any, after: bool) -> None:
        self._real, self._after = real, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name in ("rows", "faces"):
            return Doomed(real, self._after)
        return self._counted(real) if name in WRITES else real

    def _counted(self, real: Any) -> Any:
        def call(*args: Any) -> Any:
            Doomed.left -= 1
            if Doomed.left == 0 and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args)
            if Doomed.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def move_and_die(here: Settings, there: Settings, call: int, after: bool) -> None:
    Doomed.left = call
    source, target = (Doomed(place, after) for place in (source_of(here), place_of(there)))
    Move(source, target, lambda place: audited(place._real)).run()  # type: ignore[arg-type, attr-defined]


def move_for(here: Settings, there: Settings, seconds: float) -> None:
    """Let the kernel end the process after so many seconds of its own time; 0: never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    with suppress(WrongInput):  # it had ended
        Move(source_of(here), place_of(there), audited).run()


def used(settings: Settings) -> bool:
    """Say whether other commands start on records, and find users there."""
    try:
        records = start(settings)
    except BackendMisconfigured:
        return False
    return bool(records.profiles.page(limit=1).items)


def assert_one_at_most_is_used(here: Settings, there: Settings) -> None:
    both = used(here), used(there)
    let_go(here.folder)
    drop_connections(there)
    assert sum(both) <= 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("moves") / "home")


def sides(made: Path, home: Path, postgres: PostgresServer, back: bool) -> tuple[Settings, Settings]:
    """Return both sides of a move of a fresh installation, there or back again."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(made, home)
    here = Settings(home=home)
    there = Settings(home=home, database=postgres.database("killed"))
    if back:
        assert in_a_process(move_for, here, there, 0) == 0
    return (there, here) if back else (here, there)


@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.slow), True], ids=["before", "after"])
def test_a_move_that_is_killed_at_any_write_goes_on(
    made: Path, tmp_path: Path, postgres: PostgresServer, after: bool, back: bool
) -> None:
    expected, killed = held(Settings(home=made)), 0
    for call in range(1, CALLS):
        source, target = sides(made, tmp_path / "home", postgres, back)
        killed += in_a_process(move_and_die, source, target, call, after) == -signal.SIGKILL
        embedded, shared = (target, source) if back else (source, target)
        assert_one_at_most_is_used(embedded, shared)
        in_a_process(move_for, source, target, 0)  # it may have ended before

        assert (used(source), used(target)) == (False, True), call
        assert held(target) == expected, call
        let_go(embedded.folder)
        drop_connections(shared)

    assert killed >= CALLS - 2


@pytest.mark.slow
def test_a_move_that_is_killed_at_any_instant_goes_on(made: Path, tmp_path: Path, postgres: PostgresServer) -> None:
    dice = random.Random(17)  # noqa: S311  no secret
    expected, ended = held(Settings(home=made)), list[int | None]()
    for turn in range(INSTANTS):
        source, target = sides(made, tmp_path / "home", postgres, back=turn % 2 == 1)
        embedded, shared = (source, target) if turn % 2 == 0 else (target, source)
        for _ in range(3):
            ended.append(in_a_process(move_for, source, target, dice.uniform(0.001, 0.04)))
            assert_one_at_most_is_used(embedded, shared)
        in_a_process(move_for, source, target, 0)

        assert (used(source), used(target)) == (False, True)
        assert held(target) == expected
        let_go(embedded.folder)
        drop_connections(shared)

    assert ended.count(-signal.SIGPROF) >= INSTANTS
