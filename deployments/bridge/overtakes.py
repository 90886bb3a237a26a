"""Tells lost events from those that wait their turn."""

from __future__ import annotations

import time


class OvertakeTracker:
    """Which photos were handed over before which, to tell a lost event from one that waits its turn.

    Prefect starts runs in about the order of their events. So a photo that many later ones have overtaken was
    lost, and so was one that nothing has followed for long; a mere backlog looks like neither, and events sent
    into it again would only lengthen it.
    """

    def __init__(self, many: int) -> None:
        self._many, self._next, self._moved_at = many, 0, time.monotonic()
        self._overtaken: dict[int, int] = {}

    def begin(self) -> int:
        """Take the next place."""
        self._next += 1
        self._overtaken[self._next] = 0
        return self._next

    def end(self, place: int, claimed: bool) -> None:
        """Give a place up; one that was claimed has overtaken all before it."""
        del self._overtaken[place]
        if claimed:
            self._moved_at = time.monotonic()
            for earlier in self._overtaken:
                self._overtaken[earlier] += earlier < place

    def is_lost(self, place: int, patience_s: float) -> bool:
        """Say whether a place was overtaken, or nothing has moved for so long; ask when so long has passed."""
        return self.is_overtaken(place) or time.monotonic() - self._moved_at >= patience_s

    def is_overtaken(self, place: int) -> bool:
        """Say whether many later photos were claimed before it."""
        return self._overtaken[place] >= self._many
