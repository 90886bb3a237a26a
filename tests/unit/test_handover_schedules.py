"""Any mix of users, lost events, outages and erasures: the handover's promises hold, and all photos get through."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.bridge.handover import Handover
from deployments.bridge.health import Meters
from deployments.bridge.pace import Pace
from deployments.bridge.unclaimed import Unclaimed, Wait
from selfiegate.clock import now_us
from selfiegate.errors import BackendUnavailable
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.model import PhotoRef
from selfiegate.records import Erasure, Records
from selfiegate.runtime import memory_runtime
from selfiegate.setting_groups import BridgeSettings

USERS = ("ann", "bob", "cleo", "dan")
QUICK = Pace(first_look_s=0.002, longest_look_s=0.01, longest_outage_s=0.01, first_park_s=0.005)
Fate = Literal["claimed", "lost", "refused"]
Express = Literal["auto", "always", "never"]


class World:
    """Photos, and what becomes of each of their events in turn; at last each is claimed."""

    def __init__(self, window: int, express: Express, photos: list[tuple[str, list[Fate]]], erased: set[str]) -> None:
        self.rt, self.erased = memory_runtime(), erased
        bridge = self.bridge = BridgeSettings(
            window=window, patience_s=0.01, turn_s=0.1, park_s=0.1, express=express, express_from=2, express_photos=3
        )
        records = Records(self.rt.ledger, self.rt.profiles, self.rt.erasures, self.rt.known_gallery)
        self.handover = Handover(bridge, records, self.emit, Meters(bridge), QUICK)
        self.photos = [Unclaimed(request(user, number), str(number)) for number, (user, _) in enumerate(photos)]
        self.fates = {one.request.photo: iter(fates) for one, (_, fates) in zip(self.photos, photos, strict=True)}
        self.emitted = Counter[str]()

    async def emit(self, photos: Sequence[PhotoRequest]) -> None:
        """Be Prefect and the run; look at the promises, for it is now that a place is used."""
        held = Counter(photo.request.user_id for photo in self.photos if photo.waits_for is Wait.TURN)
        assert self.handover.places.held <= self.bridge.places
        assert len(photos) <= (1 if self.bridge.express == "never" else 3)
        for one in photos:
            assert held[one.user_id] <= self.bridge.share
            assert one.user_id not in self.erased
            self.emitted[one.user_id] += 1
        fates = [next(self.fates[one.photo], "claimed") for one in photos]
        if "refused" in fates:
            raise BackendUnavailable("connection refused")
        for one, fate in zip(photos, fates, strict=True):
            if fate == "claimed":
                self.rt.ledger.claim(one.photo, one.user_id, "run", 60)

    async def run(self) -> None:
        begun = {user: self.begin_erasure(user) for user in self.erased}
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            tasks = {one: group.create_task(self.see(one)) for one in self.photos}
            free = [task for one, task in tasks.items() if one.request.user_id not in self.erased]
            await asyncio.gather(*free)  # while the others are stuck
            for user, erasure in begun.items():
                self.erased.discard(user)
                ended = erasure.model_copy(update={"finished_at": now_us(), "revision": 2})
                self.rt.erasures.put(ended, replacing=erasure)

    async def see(self, one: Unclaimed) -> None:
        await self.handover.see_claimed(one)
        one.waits_for = Wait.CLAIM  # it holds no place any more

    def begin_erasure(self, user: str) -> Erasure:
        erasure = Erasure(user_id=user, asked_at=now_us(), run="run", photos=False)
        self.rt.erasures.put(erasure, replacing=None)
        return erasure


def request(user: str, number: int) -> PhotoRequest:
    return PhotoRequest(photo=PhotoRef(bucket="photos", key=f"{user}/{number}.jpg", version="1"), user_id=user)


FATES = st.lists(st.sampled_from(["claimed", "lost", "refused"]), max_size=4)


@settings(max_examples=25, deadline=None)
@given(
    window=st.integers(1, 9),
    express=st.sampled_from(["auto", "always", "never"]),
    photos=st.lists(st.tuples(st.sampled_from(USERS), FATES), max_size=16),
    erased=st.sets(st.sampled_from(USERS), max_size=2),
)
def test_all_photos_get_through_and_none_blocks(
    window: int, express: Express, photos: list[tuple[str, list[Fate]]], erased: set[str]
) -> None:
    world = World(window, express, photos, set(erased))
    asyncio.run(world.run())

    assert all(world.rt.ledger.get(one.request.photo, one.request.user_id) for one in world.photos)
    assert world.handover.places.held == 0
    assert world.handover.unclaimed.messages == 0
