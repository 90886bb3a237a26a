"""Two runs of photos meet after every number of calls of both: no promise breaks, whatever becomes of one of them.

See `test_protocol.py` for the schedules that hypothesis looks for, and what both are made of.
"""

from __future__ import annotations

import pytest

from tests.protocol.erasing import upload_again
from tests.protocol.meetings import Calls, Fate, UnderWay, dies, everywhere, fails, lives, loses_a_reply, meet_once
from tests.protocol.scheduled import Run
from tests.protocol.scheduler import World


def sleeps(world: World, run: Run) -> None:
    """Sleep through its lease, while another run takes over and ends; then wake."""
    world.expire(run)
    world.start(run.user_id, run.name, process=1).end()


def starts_again(world: World, run: Run) -> None:
    """Be started again by Prefect, while the earlier attempt lives on."""
    world.start(run.user_id, run.name, owner=run.owner).end()


FATES = (lives, dies, fails, loses_a_reply, sleeps, starts_again)


WHOLE = [pytest.param(fate, 1 if fate is lives else 5, marks=pytest.mark.slow) for fate in FATES]


@pytest.mark.parametrize(("fate", "stride"), [*((fate, 25) for fate in FATES), *WHOLE])
@pytest.mark.parametrize("lagging", [False, True])
@pytest.mark.parametrize(("flow", "unclear"), [(False, False), (True, False), (False, True)])
def test_two_may_meet_anywhere(lagging: bool, flow: bool, unclear: bool, fate: Fate, stride: int) -> None:
    """Show that two users with one face never both keep it, and no other promise breaks, wherever their runs meet.

    The first run makes `first` store calls, then the other `second` calls. Then the first meets its fate and goes on to
    its end, and after it the other. The faces match, or are poor and like each other (`unclear`). All pairs of numbers
    are tried where `stride` is 1, for both orders of the claims.
    """

    def meeting(older_first: bool, calls: Calls) -> UnderWay:
        with World(lagging, one_sided=calls[0] % 2 == 1, unclear=unclear) as world:
            return meet(world, older_first, calls, flow, fate)

    everywhere(meeting, stride)


@pytest.mark.parametrize(("fate", "stride"), [*((fate, 25) for fate in FATES), *WHOLE])
@pytest.mark.parametrize("lagging", [False, True])
def test_a_photo_uploaded_again_may_meet_the_one_that_replaces_it_anywhere(
    lagging: bool, fate: Fate, stride: int
) -> None:
    """Show that of A, B and A again the last stays, and no promise breaks, wherever the runs of B and A again meet."""

    def meeting(replaced_first: bool, calls: Calls) -> UnderWay:
        with World(lagging, dated=True) as world:
            world.start("user_a", "ann-0").end()
            pair = world.start("user_a", "ann-1", 1), upload_again(world, "user_a", "ann-0")
            return meet_once(world, *(pair if replaced_first else pair[::-1]), calls, fate)

    everywhere(meeting, stride)


@pytest.mark.parametrize(("fate", "stride"), [*((fate, 25) for fate in FATES), *WHOLE])
@pytest.mark.parametrize("lagging", [False, True])
def test_two_photos_of_one_user_may_meet_anywhere(lagging: bool, fate: Fate, stride: int) -> None:
    """Show that neither of two photos of one person makes the other a stranger's, wherever their runs meet."""

    def meeting(older_first: bool, calls: Calls) -> UnderWay:
        with World(lagging, dated=True) as world:
            pair = world.start("user_a", "ann-0"), world.start("user_a", "ann-1", 1)
            return meet_once(world, *(pair if older_first else pair[::-1]), calls, fate)

    everywhere(meeting, stride)


def meet(world: World, older_is_first: bool, calls: Calls, flow: bool, fate: Fate) -> UnderWay:
    """Let two meet after so many calls, and hold the promises; returns which had not ended by then."""
    pair = world.start("user_a", "ann-0", flow=flow), world.start("user_b", "ann-0", 1, flow=flow)
    for run in pair:
        run.step()  # the claim, which says who is the older
    one, other = pair if older_is_first else pair[::-1]
    return meet_once(world, one, other, calls, fate)
