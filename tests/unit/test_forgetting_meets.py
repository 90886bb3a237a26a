"""An erasure meets a run of its user's photo after any number of calls of both, whatever becomes of either.

The runs take `selfiegate.enrolment.sequence.process_photo` and `selfiegate.privacy.sequence.forget_user`, the orders of
steps that the flows run too.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import pytest

from tests.protocol.erasing import Erasing, carry_on, come_back, forget
from tests.protocol.promises import assert_kept_for_now, assert_kept_in_the_end
from tests.protocol.scheduled import Run
from tests.protocol.scheduler import World

LONG = os.environ.get("CHAOS") == "1"
Fate = Callable[[World, Run, Erasing], None]


def both_live(world: World, run: Run, erasing: Erasing) -> None:
    """Go on, the photo first."""


def the_photo_outlasts_it(world: World, run: Run, erasing: Erasing) -> None:
    """Sleep through all of the erasure, and go on then."""
    erasing.end()


def the_photo_outlasts_it_and_dies(world: World, run: Run, erasing: Erasing) -> None:
    """Sleep through all of the erasure, make one more call, and die."""
    erasing.end()
    run.step()
    run.kill()


def the_photo_dies_in_its_lease(world: World, run: Run, erasing: Erasing) -> None:
    """Do one more call when all was removed once, and die."""
    erasing.to("sleep")
    run.step()
    run.kill()


def the_photo_comes_twice(world: World, run: Run, erasing: Erasing) -> None:
    """Be told of once more, and be interrupted between the claim and the look at the wish."""
    again = world.start(run.user_id, run.name, process=1)
    again.to("ledger.claim")
    again.step()
    again.kill()


def the_user_uploads_meanwhile(world: World, run: Run, erasing: Erasing) -> None:
    """Upload another photo, which comes far where the wish is not stored yet."""
    come_back(world, run.user_id, "ann-1").to("profiles.put")


def the_erasure_dies(world: World, run: Run, erasing: Erasing) -> None:
    """Be killed before the next call, and carried on by another run up to the wait between the sweeps."""
    erasing.kill()
    if carried := carry_on(world, run.user_id):
        carried.to("sleep")


def the_erasure_dies_while_it_waits(world: World, run: Run, erasing: Erasing) -> None:
    """Be carried on: the wait is not over for that, and the photo does one more call after it, and dies."""
    erasing.to("sleep")
    erasing.kill()
    if carried := carry_on(world, run.user_id):
        carried.end()
    run.step()
    run.kill()


def the_erasure_is_taken_over(world: World, run: Run, erasing: Erasing) -> None:
    """Be ordered once more, while the first lives on; the user is back before that wakes."""
    forget(world, run.user_id).end()
    come_back(world, run.user_id, "ann-1").end()


def the_erasure_sleeps_past_its_lease(world: World, run: Run, erasing: Erasing) -> None:
    """Be carried on by another run, whose user is back before the first wakes; the photo goes on in between."""
    if carried := carry_on(world, run.user_id):
        carried.to("sleep")
        run.step()
        carried.end()
    come_back(world, run.user_id, "ann-1").end()


def the_erasure_is_left_alone(world: World, run: Run, erasing: Erasing) -> None:
    """Live on beside two who would carry it on."""
    before = world.erasures.get(run.user_id)
    world.let_pass(1.5 * world.rt.settings.lease_s)
    if before and not erasing.over:
        world.begin(Erasing(world, run.user_id, world.runtimes[0], "", before.asked_at)).end()
        erasing.end()
        after = world.erasures.get(run.user_id)
        assert after
        assert after.run == erasing.owner, "a live erasure is taken over"


def the_erasure_fails(world: World, run: Run, erasing: Erasing) -> None:
    """Get no answer to the next store call, which did nothing."""
    if erasing.next != "sleep":
        erasing.step("fail")


def the_erasure_loses_a_reply(world: World, run: Run, erasing: Erasing) -> None:
    """Get no answer to the next store call, which did its work."""
    if erasing.next != "sleep":
        erasing.step("lose")


FATES = (
    both_live,
    the_photo_outlasts_it,
    the_photo_outlasts_it_and_dies,
    the_photo_dies_in_its_lease,
    the_photo_comes_twice,
    the_user_uploads_meanwhile,
    the_erasure_dies,
    the_erasure_dies_while_it_waits,
    the_erasure_is_taken_over,
    the_erasure_sleeps_past_its_lease,
    the_erasure_is_left_alone,
    the_erasure_fails,
    the_erasure_loses_a_reply,
)


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("lagging", [False, True])
def test_an_erasure_may_meet_a_photo_anywhere(lagging: bool, fate: Fate) -> None:
    """Show that an erasure leaves nothing of its user, wherever it meets a run of the user's photo.

    The photo's run makes `first` store calls, then the erasure `second` calls. Then the fate decides what becomes of
    either. In the end another user brings the same face, and the forgotten user comes back with another photo.
    """
    step, stride = (1, 1) if LONG else (2, 9)
    for first in itertools.count(step=step):
        for second in itertools.count(first // step % stride, stride):
            with World(lagging, one_sided=first % 4 == 0, dated=True) as world:
                under_way = meet(world, (first, second), fate)
            if not under_way[1]:
                break
        if not under_way[0]:
            break


def meet(world: World, calls: tuple[int, int], fate: Fate) -> tuple[bool, bool]:
    """Let the two meet after so many calls, and hold the promises; returns which had not ended by then."""
    run = world.start("user_a", "ann-0", flow=calls[1] % 2 == 1)
    for _ in range(calls[0]):
        run.step()
    erasing = forget(world, "user_a", process=1)
    for _ in range(calls[1]):
        erasing.step()
    under_way = not run.over, not erasing.over
    try:
        fate(world, run, erasing)
        rival = world.start("user_b", "ann-0")
        for one in (run, rival, erasing):
            while not one.over:
                one.step()
                assert_kept_for_now(world)
        come_back(world, "user_a", "bob-0").end()
        assert_kept_in_the_end(world)
    except AssertionError as error:
        error.add_note("\n".join(world.journal))
        raise
    return under_way
