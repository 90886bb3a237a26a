"""A late look at a face of two users meets whatever else these users do, after any number of calls of both."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.protocol.erasing import forget, upload_again
from tests.protocol.meetings import Calls, Fate, UnderWay, dies, everywhere, fails, lives, loses_a_reply, meet_once
from tests.protocol.promises import assert_kept_in_the_end, person
from tests.protocol.scheduled import Run
from tests.protocol.scheduler import World

Meets = Callable[[World], Run]


def the_winner_is_forgotten(world: World) -> Run:
    return forget(world, "user_a", process=1)


def the_loser_is_forgotten(world: World) -> Run:
    return forget(world, "user_b", process=1)


def the_loser_uploads_anew(world: World) -> Run:
    return world.start("user_b", "ann-1", process=1)


def the_winner_uploads_anew(world: World) -> Run:
    return world.start("user_a", "ann-1", process=1)


def the_photo_runs_again(world: World) -> Run:
    return world.start("user_b", "ann-0", process=1)


def the_photo_is_uploaded_again(world: World) -> Run:
    return upload_again(world, "user_b", "ann-0", process=1)


def a_third_user_comes(world: World) -> Run:
    return world.start("user_c", "ann-0", process=1)


def another_process_looks(world: World) -> Run:
    return world.look(process=1)


USERS_MEET = (the_winner_is_forgotten, the_loser_is_forgotten, the_loser_uploads_anew, the_winner_uploads_anew)
RUNS_MEET = (the_photo_runs_again, the_photo_is_uploaded_again, a_third_user_comes, another_process_looks)


def sleeps(world: World, run: Run) -> None:
    """Sleep until the other has ended, and all that is unfinished is run again; then wake."""
    for other in [one for one in world.live if one is not run]:
        other.end()
    world.look(process=1).end()


FATES = (lives, dies, fails, loses_a_reply, sleeps)
WHOLE = [pytest.param(fate, 1, marks=pytest.mark.slow) for fate in FATES]


FATES_AND_STRIDES = [*((fate, 25) for fate in FATES), *WHOLE]


def a_late_look_meets(meets: Meets, fate: Fate, stride: int) -> None:
    """Show that one of two users with one face keeps it, and that nothing is left of the other."""

    def meeting(look_is_first: bool, calls: Calls) -> UnderWay:
        with World(lagging=True, dated=True) as world:
            world.let_both_through("user_a", "user_b")
            pair = world.look(), meets(world)
            one, other = pair if look_is_first else pair[::-1]
            return meet_once(world, one, other, calls, fate, doubled_for_now, one_has_the_face)

    everywhere(meeting, stride)


def doubled_for_now(world: World) -> None:
    """Ask nothing: two users have one face until the look has ended."""


def one_has_the_face(world: World) -> None:
    """Show that the promises hold, and that nobody lost the face to nobody."""
    assert_kept_in_the_end(world)
    held = [profile.user_id for profile in world.profiles.all() if person(profile.photo.key) == "ann"]
    assert len(held) == 1 or world.watch.wishes, f"{held} have the face"
