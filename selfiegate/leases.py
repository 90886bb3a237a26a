"""What a run holds for a time, and goes on holding while it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar

from selfiegate.errors import SelfiegateError
from selfiegate.runtime import Runtime
from selfiegate.steps import Take
from selfiegate.stuck import stuck

Held = TypeVar("Held")

_log = logging.getLogger(__name__)


class Lease(Generic[Held]):
    """Renews what is `held` until it ends; who is done with a part takes that out.

    A thread of its own renews, though every other thread is busy. A process with a stuck call renews nothing: what it
    holds is soon free for others.
    """

    def __init__(self, held: Sequence[Held], renew: Callable[[Sequence[Held], float], object], lease_s: float) -> None:
        """`renew` lets all that is held end so many seconds from now; 0 gives it up."""
        self.held, self._renew, self._lease_s = held, renew, lease_s
        self._turn, self._ended = threading.Lock(), threading.Event()
        threading.Thread(target=self._keep, name="lease", daemon=True).start()

    def stop(self) -> None:
        """Renew no more; what is held ends by itself."""
        self._ended.set()

    def give_up(self) -> None:
        """Renew no more, and end what is held at once. Blocks, as a renewal under way does: not for an event loop."""
        self.stop()
        with self._turn:
            if self.held:
                self._let_end_in(0)

    def _keep(self) -> None:
        while not self._ended.wait(self._lease_s / 3):
            with self._turn:
                if not self._ended.is_set() and not stuck():
                    self._let_end_in(self._lease_s)

    def _let_end_in(self, seconds: float) -> None:
        try:
            self._renew(self.held, seconds)
        except SelfiegateError as error:  # the lease then ends by itself
            _log.warning("leases are not renewed: %s", error)


@contextmanager
def kept(lease: Lease[Held]) -> Iterator[Lease[Held]]:
    """Keep a lease while the block runs, and give up at once what is held in the end. Blocks."""
    try:
        yield lease
    finally:
        lease.give_up()


@asynccontextmanager
async def kept_by(take: Take, lease: Lease[Held]) -> AsyncIterator[Lease[Held]]:
    """Do the same beside an event loop: what blocks is taken as a step is."""
    try:
        yield lease
    finally:
        lease.stop()
        if lease.held:
            await take(give_up, lease)


def give_up(rt: Runtime, lease: Lease[Any]) -> None:
    """Give up what a lease still holds, as a step."""
    lease.give_up()
