"""Calls that do not come back: a driver, a disk or a server that hangs for good.

A thread cannot be stopped. So a process with a stuck call is replaced: the process renews no lease any more
(`leases`), takes no new work, and ends. Another process then takes over what it held.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

_LOOK_S = 1.0
_SURE_S = 3.0
"""Between two looks: to a process that was stopped and woken, every call seems too old until it has gone on."""


class Call:
    """A call under way; stuck when there is no sign of life for `limit_s` seconds."""

    def __init__(self, name: str, limit_s: float, outer: Call | None = None) -> None:
        self.name, self._limit_s, self._outer = name, limit_s, outer
        self.alive()

    def alive(self) -> None:
        """Give a sign of life, of the call around it, too: from whichever thread."""
        self._until = time.monotonic() + self._limit_s
        if self._outer:
            self._outer.alive()

    @property
    def is_stuck(self) -> bool:
        """Say whether the last sign of life is too old."""
        return time.monotonic() > self._until


_under_way = set[Call]()
_here = threading.local()


@contextmanager
def watched(name: str, limit_s: float) -> Iterator[Call]:
    """Watch what the block calls. A call within a call of the same thread is a sign of life of both."""
    outer = getattr(_here, "call", None)
    call = Call(name, limit_s, outer)
    _under_way.add(call)
    _here.call = call
    try:
        yield call
    finally:
        _here.call = outer
        _under_way.discard(call)
        alive()


def alive() -> None:
    """Give a sign of life of this thread's call: a step that is long, but made of short parts, is not stuck."""
    if call := getattr(_here, "call", None):
        call.alive()


def stuck() -> Sequence[str]:
    """Return the names of this process's stuck calls."""
    return [call.name for call in tuple(_under_way) if call.is_stuck]


def stuck_for_good() -> Sequence[str]:
    """Return the names of the calls that are stuck at both of two looks, some seconds apart."""
    late = [call for call in tuple(_under_way) if call.is_stuck]
    if late:
        time.sleep(_SURE_S)
    return [call.name for call in late if call in _under_way and call.is_stuck]


@lru_cache(1)
def end_process_when_stuck(say: Callable[[str], object]) -> None:
    """End this process with status 1 once a call is stuck for good; for processes that do one thing alone."""

    def look() -> None:
        while not (found := stuck_for_good()):
            time.sleep(_LOOK_S)
        say(f"{', '.join(found)} did not come back, so this process ends; `reconcile` finishes what it had begun")
        os._exit(1)

    threading.Thread(target=look, name="stuck", daemon=True).start()
