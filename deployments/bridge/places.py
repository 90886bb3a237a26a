"""The places of the bridge's window, shared among users."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple


class _Wish(NamedTuple):
    number: int
    user_id: str
    again: bool
    granted: asyncio.Future[None]


class Places:
    """A number of places, of which no user holds more than a share; by default a quarter, or one.

    A free place goes to the user who holds the fewest, and among these to the photo that waits longest. Photos that
    had a place before get at most `again` places, by default half of them, or one: what is stuck does not keep out what
    is new.
    """

    def __init__(self, window: int, share: int = 0, again: int = 0) -> None:
        self._window, self.share = window, share or max(1, window // 4)
        self._most_again = again or max(1, window // 2)
        self._held, self._held_again, self._number = Counter[str](), 0, 0
        self._wishes: dict[tuple[str, bool], deque[_Wish]] = {}
        self.changed = asyncio.Event()
        """Set whenever `room` may have grown."""

    @property
    def held(self) -> int:
        """Count the places that are taken."""
        return self._held.total()

    def is_at_share(self, user_id: str) -> bool:
        """Say whether a user has to wait, whatever is free."""
        return self._held[user_id] >= self.share

    def room(self) -> int:
        """Count how many more photos are worth taking from the queue: one more than can have a place.

        That one may be of a user who holds fewer places than the others.
        """
        return max(self._window - self.held, 0 if any(not head.again for head in self._takers()) else 1)

    def close(self) -> None:
        """Give no place to anybody any more."""
        self._window = 0

    @asynccontextmanager
    async def place(self, user_id: str, again: bool) -> AsyncIterator[None]:
        """Hold a place; `again` says that the photo had one before."""
        await self._take(user_id, again)
        try:
            yield
        finally:
            self._give(user_id, again)

    async def _take(self, user_id: str, again: bool) -> None:
        self._number += 1
        wish = _Wish(self._number, user_id, again, asyncio.get_running_loop().create_future())
        self._wishes.setdefault((user_id, again), deque()).append(wish)
        self._grant()
        try:
            await wish.granted
        except asyncio.CancelledError:
            self._forget(wish)
            if not wish.granted.cancelled():  # it was granted at the same moment
                self._give(user_id, again)
            raise

    def _give(self, user_id: str, again: bool) -> None:
        self._held[user_id] -= 1
        self._held += Counter()  # without the users who hold none
        self._held_again -= again
        self._grant()

    def _grant(self) -> None:
        while self.held < self._window and (heads := self._takers()):
            wish = min(heads, key=lambda head: (self._held[head.user_id], head.number))
            self._forget(wish)
            if not wish.granted.cancelled():
                self._held[wish.user_id] += 1
                self._held_again += wish.again
                wish.granted.set_result(None)
        self.changed.set()

    def _takers(self) -> list[_Wish]:
        """Return the first wish of each user and kind that a free place could go to."""
        return [
            wishes[0]
            for (user_id, again), wishes in self._wishes.items()
            if not self.is_at_share(user_id) and not (again and self._held_again >= self._most_again)
        ]

    def _forget(self, wish: _Wish) -> None:
        wishes = self._wishes.get((wish.user_id, wish.again), deque())
        if wish in wishes:
            wishes.remove(wish)
        if not wishes:
            self._wishes.pop((wish.user_id, wish.again), None)
