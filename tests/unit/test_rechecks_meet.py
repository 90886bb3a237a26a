"""A late look at a face of two users meets whatever else its users do, after any number of calls of both."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable

import pytest

from selfiegate.enrolment.sequence import process_photo
from selfiegate.rechecks import contest_late, look_again
from tests.protocol.erasing import forget
from tests.protocol.promises import assert_kept_in_the_end, reconcile
from tests.protocol.scheduled import PhotoRun, Run
from tests.protocol.scheduler import World

LONG = os.environ.get("CHAOS") == "1"


class LateLook(PhotoRun):
    """Looks at what is due, and runs the photo again that loses, as `reconcile` does."""

    def _work(self) -> None:
        for double in look_again(self._rt, 100):
            loser, done = contest_late(self._rt, double)
            self._world.log(f"{self} {double.row.user_id} meets {double.match.user_id}: {done}")
            if loser:
                assert loser.user_id == self.user_id, "the older enrolment is contested"
                again = process_photo(self._rt, self._take, loser.photo, loser.user_id, self.owner, loser.upload_rank)
                self._world.log(f"{self} ends: {asyncio.run(again).status}")


def late_look(world: World, process: int = 0) -> Run:
    """Begin a late look, which user_b's photo is to lose by."""
    return world.begin(LateLook(world, "user_b", "ann-0", world.runtimes[process], "", False, 0))


def the_winner_is_forgotten(world: World) -> Run:
    return forget(world, "user_a", process=1)


def the_loser_is_forgotten(world: World) -> Run:
    return forget(world, "user_b", process=1)


def the_loser_uploads_anew(world: World) -> Run:
    return world.start("user_b", "ann-1", process=1)


def the_winner_uploads_anew(world: World) -> Run:
    return world.start("user_a", "ann-1", process=1)


def the_photo_comes_again(world: World) -> Run:
    return world.start("user_b", "ann-0", process=1)


def a_third_user_comes(world: World) -> Run:
    return world.start("user_c", "ann-0", process=1)


def somebody_else_looks(world: World) -> Run:
    return late_look(world, process=1)


MEETS = (
    the_winner_is_forgotten,
    the_loser_is_forgotten,
    the_loser_uploads_anew,
    the_winner_uploads_anew,
    the_photo_comes_again,
    a_third_user_comes,
    somebody_else_looks,
)
ENDS = ("lives", "dies", "fails", "loses a reply", "sleeps")


@pytest.mark.parametrize("meets", MEETS)
def test_a_late_look_may_meet_anything_anywhere(meets: Callable[[World], Run]) -> None:
    """Show that one of two users with one face keeps it, wherever the look is met and whatever becomes of it."""
    stride = 1 if LONG else 7
    for first in itertools.count():
        for second in itertools.count(first % stride, stride):
            with World(lagging=True, dated=True) as world:
                under_way = meet(world, (first, second), meets, ENDS[(first + second // stride) % len(ENDS)])
            if not under_way[1]:
                break
        if not under_way[0]:
            break


def meet(world: World, calls: tuple[int, int], meets: Callable[[World], Run], end: str) -> tuple[bool, bool]:
    """Let the two meet after so many calls, and hold the promises; returns which had not ended by then."""
    let_both_through(world)
    late = late_look(world)
    for _ in range(calls[0]):
        late.step()
    other = meets(world)
    for _ in range(calls[1]):
        other.step()
    under_way = not late.over, not other.over
    try:
        finish(world, late, other, end)
        reconcile_late(world)
        assert_kept_in_the_end(world)
    except AssertionError as error:
        error.add_note("\n".join(world.journal))
        raise
    return under_way


def let_both_through(world: World) -> None:
    """Accept two users with one face, and let the time pass after which searches find both."""
    world.gallery.blind = True
    for user_id in ("user_a", "user_b"):
        world.start(user_id, "ann-0").end()
    world.gallery.blind = False
    world.gallery.catch_up()
    world.let_pass(700)


def finish(world: World, late: Run, other: Run, end: str) -> None:
    """Let the look end as told, and then the other."""
    match end:
        case "dies":
            late.kill()
        case "fails":
            late.step("fail")
        case "loses a reply":
            late.step("lose")
        case "sleeps":
            other.end()
    late.end()
    other.end()


def reconcile_late(world: World) -> None:
    """Look again, as each `reconcile` does, until nothing is due; first for those whose erasure was under way."""
    for _ in range(3):
        reconcile(world)
        world.let_pass(86_401)
        late_look(world).end()
