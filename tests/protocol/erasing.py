"""Users who ask to be forgotten, in a `World`: erasures as runs, and what must hold after them.

A run takes `selfiegate.privacy.sequence.forget_user`, the order of steps that the flow runs too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from selfiegate.errors import BackendMisconfigured
from selfiegate.privacy import erasures
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime
from tests.protocol.scheduled import Run
from tests.protocol.scheduler import World

REFUSABLE = ("gallery.remove", "faces.remove", "thumbnails.remove")


def refuse() -> None:
    """Be a store whose role may not remove anything."""
    raise BackendMisconfigured("AccessDenied")


class Erasing(Run):
    """One attempt at an erasure."""

    erases = flow = True

    def __init__(self, world: World, user_id: str, rt: Runtime, owner: str, carry_on: int | None) -> None:
        super().__init__(world, user_id, rt, owner)
        self._carry_on, self.carries_on = carry_on, carry_on is not None

    def __repr__(self) -> str:
        return f"#{self._number} (forget {self.user_id})"

    def point(self, call: str, args: Sequence[Any], work: Callable[[], Any]) -> Any:
        """Do the call, which stores refuse while the world has them do so."""
        refused = call in REFUSABLE and self._world.refusing_until > self._world.micros()
        return super().point(call, args, refuse if refused else work)

    def _work(self) -> None:
        work = forget_user(self._rt, self._take, self.user_id, self.owner, False, self._carry_on, sleep=slept)
        self._world.log(f"{self} ends: {asyncio.run(work).removed} removed")


async def slept(seconds: float) -> None:
    """Sleep by the world's clock."""
    time.sleep(seconds)


def forget(world: World, user_id: str, owner: str = "", process: int = 0) -> Erasing:
    """Begin an erasure as of now, or an attempt at one once more."""
    return world.begin(Erasing(world, user_id, world.runtimes[process], owner, None))


def carry_on(world: World, user_id: str) -> Erasing | None:
    """Begin to carry on a user's erasure as `reconcile` does, where one is unfinished; its lease ends now."""
    erasure = world.erasures.get(user_id)
    if erasure is None or erasure.finished_at is not None:
        return None
    world.expire_erasure(user_id)
    return world.begin(Erasing(world, user_id, world.runtimes[1], "", erasure.asked_at))


def come_back(world: World, user_id: str, name: str) -> Run:
    """Begin a run of a photo that a user uploads after having asked to be forgotten."""
    if world.watch.forgets(user_id, world.orders.get((user_id, name), "~")):
        return upload_again(world, user_id, name)
    return world.start(user_id, name)


def upload_again(world: World, user_id: str, name: str, process: int = 0) -> Run:
    """Begin a run of a photo that a user uploads once more, just as it was."""
    if world.watch.forgets(user_id, world.orders.get((user_id, name), "~")):
        world.watch.back_with_the_same.add(user_id)
    world.upload(user_id, name)
    return world.start(user_id, name, process)


def carry_on_all(world: World) -> None:
    """Carry on what was interrupted, once it is known that it was, as `flows.reconcile` does."""
    if world.erasures.unfinished():
        world.let_pass(2 * 86_400)
    for erasure in erasures.unattended(world.rt):
        run = carry_on(world, erasure.user_id)
        assert run
        run.end()
    assert not world.erasures.unfinished(), "an erasure is not found by reconcile"


def assert_forgotten(world: World) -> None:
    """Hold that nothing from before a user's wish is held, and nothing from after it lost."""
    watch = world.watch
    for (user_id, name), photo in world.uploads.items():
        row, profile = world.ledger.get(photo, user_id), world.profiles.get(user_id)
        if watch.forgets(user_id, world.orders[user_id, name]):
            assert row is None, f"{name} of {user_id} has a row, and is to be forgotten"
            assert not profile or profile.photo != photo, f"{name} of {user_id} is a profile, and is to be forgotten"
            continue
        assert row, f"{name} of {user_id} is lost"
        assert row.verdict, f"{name} of {user_id} has no verdict"
    if not watch.ever_disturbed:
        assert_none_is_refused_for_what_is_forgotten(world)
    for user_id in watch.wishes:
        assert_receipt(world, user_id)


def assert_none_is_refused_for_what_is_forgotten(world: World) -> None:
    """Hold that who came back is not refused for another face than one that came back, too."""
    for user_id in world.watch.wishes:
        rows = world.ledger.claims_of(user_id)
        people = {row.photo.key.rpartition("/")[2].split("-")[0] for row in rows}
        for row in rows:
            codes = [reason.code for reason in row.verdict.reasons] if row.verdict else []
            assert "different_person" not in codes or len(people) > 1, f"{row.photo.key} is refused for nothing"


def assert_receipt(world: World, user_id: str) -> None:
    """Hold that a receipt counts each thing that an erasure removed, and nothing twice."""
    watch, receipt = world.watch, world.erasures.get(user_id)
    assert receipt
    assert receipt.finished_at is not None
    assert receipt.asked_at == watch.wishes[user_id]
    assert receipt.found == ()
    for kind in ("ledger row", "face", "thumbnail", "profile"):
        least = sum(1 for owner, what, _ in watch.erased if (owner, what) == (user_id, kind))
        count, most = receipt.removed.get(kind, 0), watch.came[user_id, kind]
        assert least <= count <= most, f"{count} {kind} of {user_id} on the receipt, not {least} to {most}"
    assert all(count > 0 for count in receipt.removed.values())
