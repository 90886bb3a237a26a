"""Who gets the places of the bridge's window."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from deployments.bridge.places import Places


class Crowd:
    """Photos that want places; each is told apart by a name, in order of arrival."""

    def __init__(self, window: int) -> None:
        self.places = Places(window)
        self.inside: list[tuple[str, str, bool]] = []
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def comes(self, user_id: str, name: str = "", again: bool = False) -> None:
        name = name or f"{user_id}{len(self._tasks)}"
        self._leave[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._stay(user_id, name, again))
        await settled()

    async def leaves(self, name: str) -> None:
        """Give the place back in the ordinary way."""
        self._leave[name].set()
        await settled()

    async def ends(self, *names: str) -> None:
        """Cancel some at once, wherever they are."""
        for name in names:
            self._tasks[name].cancel()
        await asyncio.gather(*(self._tasks[name] for name in names), return_exceptions=True)

    async def all_end(self) -> None:
        await self.ends(*self._tasks)

    @property
    def names(self) -> list[str]:
        return list(self._tasks)

    async def _stay(self, user_id: str, name: str, again: bool) -> None:
        async with self.places.place(user_id, again):
            self.inside.append((user_id, name, again))
            try:
                await self._leave[name].wait()
            finally:
                self.inside.remove((user_id, name, again))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def with_crowd(window: int, act: Callable[[Crowd], Awaitable[None]]) -> None:
    async def run() -> None:
        crowd = Crowd(window)
        await act(crowd)
        await crowd.all_end()
        assert crowd.places.held == 0

    asyncio.run(run())


def test_a_user_gets_a_quarter_and_leaves_the_rest_to_others() -> None:
    async def act(crowd: Crowd) -> None:
        for _ in range(9):
            await crowd.comes("ann")
        assert [user for user, _, _ in crowd.inside] == ["ann", "ann"]

        await crowd.comes("bob")
        assert [user for user, _, _ in crowd.inside] == ["ann", "ann", "bob"]

    with_crowd(8, act)


def test_a_free_place_goes_to_the_user_who_holds_the_fewest() -> None:
    async def act(crowd: Crowd) -> None:
        for user in "abcd":
            for number in range(3):
                await crowd.comes(user, f"{user}{number}")
        await crowd.comes("e", "e0")
        await crowd.leaves("a0")

        assert ("e", "e0", False) in crowd.inside

    with_crowd(8, act)


def test_what_is_stuck_leaves_half_of_the_places_to_what_is_new() -> None:
    async def act(crowd: Crowd) -> None:
        for user in "abcdefgh":
            await crowd.comes(user, again=True)
        assert len(crowd.inside) == 4
        assert crowd.places.room() == 4

        for user in "ijklm":
            await crowd.comes(user)
        assert [user for user, _, _ in crowd.inside] == list("abcdijkl")

    with_crowd(8, act)


def test_one_photo_is_taken_ahead_where_only_users_with_their_share_wait() -> None:
    async def act(crowd: Crowd) -> None:
        for user in "abcd" * 3:
            await crowd.comes(user)
        assert (crowd.places.held, crowd.places.room()) == (4, 1)

        await crowd.comes("e")
        assert crowd.places.room() == 0

    with_crowd(4, act)


@given(
    window=st.integers(1, 9),
    acts=st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3), st.integers(0, 40)), max_size=40),
)
def test_places_are_bounded_shared_and_never_lost(window: int, acts: list[tuple[str, bool, int, int]]) -> None:
    async def act(crowd: Crowd) -> None:
        for user, again, what, which in acts:
            if what < 2 or not crowd.names:
                await crowd.comes(user, again=again)
            elif what == 2:
                await crowd.leaves(crowd.names[which % len(crowd.names)])
            else:
                await crowd.ends(*crowd.names[which % len(crowd.names) :][:2])
            users = [found for found, _, _ in crowd.inside]
            assert crowd.places.held == len(users) <= window
            assert all(users.count(found) <= max(1, window // 4) for found in users)
            assert sum(was for _, _, was in crowd.inside) <= max(1, window // 2)
        for name in crowd.names:
            await crowd.leaves(name)
        assert crowd.places.held == 0
        assert crowd.places.room() == window

    with_crowd(window, act)


def test_no_more_than_so_many_places_go_to_photos_that_had_one_before() -> None:
    async def work() -> tuple[int, int]:
        crowd = Crowd(20)
        crowd.places = Places(20, share=20, again=2)
        for number in range(6):
            await crowd.comes(f"stuck{number}", again=True)
        await crowd.comes("new")
        inside = [again for _, _, again in crowd.inside]
        await crowd.all_end()
        return inside.count(True), inside.count(False)

    assert asyncio.run(work()) == (2, 1)
