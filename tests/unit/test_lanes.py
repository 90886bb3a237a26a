"""Which photos share an event, and so a run, on their way from the bridge to Prefect."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from deployments.bridge import lanes
from deployments.bridge.lanes import UNCLAIMED, Lanes
from deployments.bridge.unclaimed import Unclaimed
from selfiegate.errors import BackendUnavailable
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.model import PhotoRef
from selfiegate.setting_groups import BridgeSettings


class Street:
    """Lanes whose events are written down; `waiting` photos hold places."""

    def __init__(self, waiting: int = 0, **settings: Any) -> None:
        self.events: list[list[str]] = []
        self.waiting, self.fails = waiting, 0
        self.lanes = Lanes(BridgeSettings(**{"express_photos": 3, **settings}), self.emit, lambda: self.waiting)

    async def emit(self, photos: Sequence[PhotoRequest]) -> None:
        if self.fails:
            self.fails -= 1
            raise BackendUnavailable("connection refused")
        self.events.append([one.user_id for one in photos])

    async def send(self, *photos: Unclaimed) -> list[lanes.Sending]:
        return await asyncio.gather(*(self.lanes.send(one) for one in photos))


def photo(name: str, key: str = "a.jpg", **more: Any) -> Unclaimed:
    ref = PhotoRef(bucket="photos", key=f"{name}/{key}", version="1")
    return Unclaimed(PhotoRequest(photo=ref, user_id=name), **more)


def photos(names: str) -> list[Unclaimed]:
    return [photo(name) for name in names]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


def test_a_photo_alone_is_sent_at_once_and_has_a_run_of_its_own() -> None:
    async def work() -> Street:
        street = Street(waiting=4, express_from=4)
        async with asyncio.timeout(lanes.GATHER_S / 2):
            await street.send(*photos("ab"))
        return street

    assert run(work()).events == [["a"], ["b"]]


def test_photos_beside_many_unclaimed_ones_share_events() -> None:
    async def work() -> Street:
        street = Street(waiting=5, express_from=4)
        await street.send(*photos("abcde"))
        return street

    assert run(work()).events == [["a", "b", "c"], ["d", "e"]]


@pytest.mark.parametrize(("express", "events"), [("never", [["a"], ["b"]]), ("always", [["a", "b"]])])
def test_a_setting_keeps_to_one_lane(express: str, events: list[list[str]]) -> None:
    async def work() -> Street:
        street = Street(waiting=0 if express == "always" else 100, express=express)
        await street.send(*photos("ab"))
        return street

    assert run(work()).events == events


def test_a_photo_that_others_overtook_or_that_was_parked_goes_alone() -> None:
    async def work() -> Street:
        street = Street(express="always")
        await street.send(
            photo("passed", overtaken=True), photo("parked", parked=1), photo("again", emitted=3), *photos("ab")
        )
        return street

    assert run(work()).events == [["passed"], ["parked"], ["again", "a", "b"]]


def test_an_event_stays_below_what_prefect_takes() -> None:
    """Of 80 keys of a thousand letters that JSON writes in six each."""

    async def work() -> Street:
        street = Street(express="always", express_photos=80, patience_s=0.1)
        await street.send(*(photo(str(n), "é" * 1000) for n in range(80)))
        return street

    sizes = [len(event) for event in run(work()).events]
    assert sum(sizes) == 80
    assert 2 <= len(sizes) < 80


def test_where_an_event_fails_all_its_photos_fail_and_may_be_sent_again() -> None:
    async def work() -> tuple[Street, list[Any]]:
        street = Street(express="always")
        street.fails = 1
        found = await asyncio.gather(*(street.lanes.send(one) for one in photos("ab")), return_exceptions=True)
        await street.send(*photos("ab"))
        return street, found

    street, found = run(work())
    assert [type(one) for one in found] == [BackendUnavailable] * 2
    assert street.events == [["a", "b"]]


def test_a_photo_that_is_given_up_meanwhile_is_not_sent() -> None:
    async def work() -> Street:
        street = Street(express="always")
        going = [asyncio.create_task(street.lanes.send(one)) for one in photos("abc"[:2])]
        await asyncio.sleep(lanes.GATHER_S / 3)
        going[0].cancel()
        await asyncio.wait(going)
        return street

    assert run(work()).events == [["b"]]


def test_events_that_no_run_begins_on_hold_the_next_ones_back_and_these_grow() -> None:
    async def work() -> tuple[Street, int]:
        street = Street(express="always", express_photos=10, patience_s=300)
        sent = [(await street.send(*photos(f"{n}{n + 5}")))[0] for n in range(UNCLAIMED)]
        waiting = [asyncio.create_task(street.lanes.send(photo("c")))]
        await asyncio.sleep(2 * lanes.GATHER_S)
        waiting.append(asyncio.create_task(street.lanes.send(photo("d"))))
        await asyncio.sleep(0.05)
        before = len(street.events)
        sent[0].claimed.set()
        await asyncio.gather(*waiting)
        return street, before

    street, before = run(work())
    assert before == UNCLAIMED
    assert street.events[before:] == [["c", "d"]]


def test_an_event_that_no_run_ever_begins_on_holds_the_next_ones_back_no_longer_than_the_patience() -> None:
    async def work() -> Street:
        street = Street(express="always", patience_s=0.1)
        for n in range(UNCLAIMED + 1):
            await street.send(*photos(f"{n}{n + 5}"))
        return street

    assert len(run(work()).events) == UNCLAIMED + 1


def test_once_a_run_has_begun_those_that_follow_still_go_together() -> None:
    async def work() -> Street:
        street = Street(waiting=5, express_from=4)
        (first, _) = await street.send(*photos("ab"))
        street.waiting = 0
        first.claimed.set()
        await asyncio.sleep(0.05)
        await street.send(*photos("cd"))
        return street

    assert run(work()).events == [["a", "b"], ["c", "d"]]


def test_the_photos_of_an_event_are_looked_at_as_soon_as_one_of_them_is_claimed() -> None:
    async def work() -> list[bool]:
        street = Street(express="always")
        (sending, _) = await street.send(*photos("ab"))
        pausing = asyncio.create_task(sending.pause(60, seen=False))
        await asyncio.sleep(0)
        sending.claimed.set()
        return [await pausing, await sending.pause(0, seen=True)]

    assert run(work()) == [True, True]
