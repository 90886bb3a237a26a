"""Users race for faces while their processes are killed and their stores fail: what remains is what was promised.

A few minutes' worth here; `CHAOS_ROUNDS` (`make chaos`) asks for more, with other dice each time.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.galleries import LOSSES, Loss
from tests.chaos.play import CAST, play, strikes
from tests.chaos.rounds import BOTH, CALLS, FILES, Tally
from tests.chaos.worker import Fate, Strike, Where

pytestmark = [pytest.mark.system, pytest.mark.promise]

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "0"))
"""More rounds of each kind, at random calls and instants."""


@pytest.mark.parametrize(
    "fate",
    [
        pytest.param(fate, marks=[pytest.mark.slow] * (fate not in ("reply lost", "disk full")))
        for fate in FILES
        if fate != "kill after"
    ],
)
def test_whatever_befalls_each_call_the_files_keep_the_promises(memory: Path, fate: Fate) -> None:
    tally, broken = Tally(), {}
    for at in range(CALLS if fate == "kill before" else 5):
        if found := play(Where(memory / str(at)), at, strikes(at, fate), tally):
            broken[at] = found
    print(f"{fate}: {tally}")

    assert not broken
    assert sum(tally.fates.values()) > tally.rounds


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_befalls_the_gallery_the_files_keep_the_promises(memory: Path, loss: Loss) -> None:
    tally, dice, where = Tally(), random.Random(1), Where(memory / "home")  # noqa: S311  no secret
    nothing = [None] * len(CAST)
    broken = {
        at: found for at in range(5) if (found := play(where, at, nothing, tally, loss=(loss, dice.uniform(0, 0.5))))
    }
    print(tally)

    assert not broken


@pytest.mark.parametrize("turns", [4, pytest.param(15, marks=pytest.mark.slow)])
def test_killed_at_any_instant_the_files_keep_the_promises(memory: Path, turns: int) -> None:
    tally, dice = Tally(), random.Random(1)  # noqa: S311  no secret
    nothing = [None] * len(CAST)
    broken = {at: found for at in range(turns) if (found := play(Where(memory / str(at)), at, nothing, tally, dice))}
    print(tally)

    assert not broken


@pytest.mark.slow
@pytest.mark.parametrize("fate", [fate for fate in BOTH if fate != "kill after"])
def test_whatever_befalls_each_call_aws_keeps_the_promises(aws: Any, memory: Path, fate: Fate) -> None:
    tally, where = Tally(), Where(memory, aws)
    broken = {
        at: found
        for at in range(0, 5, 1 if fate == "kill before" else 2)
        if (found := play(where, at, strikes(at, fate), tally))
    }
    print(f"{fate}, AWS: {tally}")

    assert not broken
    assert sum(tally.fates.values()) > tally.rounds


@pytest.mark.skipif(not ROUNDS, reason="CHAOS_ROUNDS asks for it")
@pytest.mark.parametrize("on", ["files", "aws"])
def test_the_long_run(request: pytest.FixtureRequest, memory: Path, on: str) -> None:
    """Strike at random: other calls, other fates, other instants each time; the seed is printed."""
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))  # noqa: S311  no secret
    dice, tally, broken = random.Random(seed), Tally(), {}  # noqa: S311
    cloud = Where(memory, request.getfixturevalue("aws")) if on == "aws" else None
    for turn in range(ROUNDS if on == "files" else ROUNDS // 5):
        where = cloud or Where(memory / str(turn))
        fates: tuple[Fate | None, ...] = (None, *(FILES if on == "files" else BOTH))
        blows = [Strike(dice.randint(1, CALLS), fate) if (fate := dice.choice(fates)) else None for _ in CAST]
        at_any_instant = dice if dice.random() < 0.25 else None
        loss = (dice.choice(LOSSES), dice.uniform(0, 0.4)) if on == "files" and dice.random() < 0.2 else None
        plan = [None] * len(CAST) if at_any_instant else blows
        if found := play(where, turn, plan, tally, at_any_instant, loss):
            broken[turn] = (plan, loss, found)
            print(f"seed {seed}, round {turn}: {plan}, {loss}: {found}")
        if turn % 25 == 24:
            print(f"seed {seed}, {on}: {tally}")
    print(f"seed {seed}, {on}: {tally}")

    assert not broken
