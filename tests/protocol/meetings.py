"""Two runs meet after every number of store calls of both, and one of them meets its fate there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

from tests.protocol.promises import assert_kept_for_now, assert_kept_in_the_end
from tests.protocol.scheduled import Run
from tests.protocol.scheduler import World

WRITES_OF_A_LOSS = (
    ("ledger", "look_later"),
    ("profiles", "remove"),
    ("faces", "remove"),
    ("thumbnails", "remove"),
    ("ledger", "lose"),
)
"""The stores' calls by which a user loses a face late, in their order."""

LONG = os.environ.get("CHAOS") == "1"

Fate = Callable[[World, Run], None]
Calls = tuple[int, int]
"""How many calls of each run come first."""
UnderWay = tuple[bool, bool]
"""Which of the two had not ended by then."""


def lives(world: World, run: Run) -> None:
    """Go on later."""


def dies(world: World, run: Run) -> None:
    """Be killed before the next store call."""
    run.kill()


def fails(world: World, run: Run) -> None:
    """Get no answer to the next store call, which did nothing."""
    run.step("fail")


def loses_a_reply(world: World, run: Run) -> None:
    """Get no answer to the next store call, which did its work."""
    run.step("lose")


def everywhere(meeting: Callable[[bool, Calls], UnderWay], stride: int) -> None:
    """Let two runs meet after every number of calls of both, in both orders; each `stride`-th number of the second.

    `meeting` tells which of the two had not ended by then.
    """
    stride = 1 if LONG else stride
    for in_order in (True, False):
        for first in itertools.count():
            for second in itertools.count(first % stride, stride):
                under_way = meeting(in_order, (first, second))
                if not under_way[1]:
                    break
            if not under_way[0]:
                break


def meet_once(
    world: World,
    one: Run,
    other: Run,
    calls: Calls,
    fate: Fate,
    at_each_call: Callable[[World], None] = assert_kept_for_now,
    in_the_end: Callable[[World], None] = assert_kept_in_the_end,
) -> UnderWay:
    """Let two that have begun meet after so many calls, and hold the promises; returns which had not ended by then."""
    for run, count in ((one, calls[0]), (other, calls[1])):
        for _ in range(count):
            run.step()
    under_way = not one.over, not other.over
    try:
        fate(world, one)
        for run in (one, other):
            while not run.over:
                run.step()
                at_each_call(world)
        in_the_end(world)
    except AssertionError as error:
        error.add_note("\n".join(world.journal))
        raise
    return under_way
