"""How long the bridge waits for what, and how it says that something does not answer."""

from __future__ import annotations

import logging
from typing import NamedTuple

from selfiegate.untrusted_text import plain

_log = logging.getLogger(__name__)


class Pace(NamedTuple):
    """How long the bridge waits for what."""

    first_look_s: float = 0.25
    longest_look_s: float = 5.0
    longest_patience_s: float = 300.0
    longest_outage_s: float = 30.0
    poll_s: int = 5
    """One receive, and so the longest that stopping takes; SQS's own bound is 20."""
    visibility_s: int = 60
    """For how long a message is kept from other bridges at first; doubles to `park_s` while it is kept."""
    kept_s: float = 39_600.0
    """How long one delivery of a message is kept at most; SQS's own bound is 12 h."""
    first_park_s: float = 5.0
    longest_park_s: float = 36_000.0
    """For messages that wait in the queue; those that the bridge keeps wait for `park_s` at most."""
    ask_s: float = 20.0
    """How often the queue is asked at least, so that its silence is seen."""

    def pause_s(self, times: int) -> float:
        """Return how long to leave a message alone that was tried so often in vain: doubles each time."""
        return min(self.first_park_s * 2.0 ** min(times - 1, 30), self.longest_park_s)


DEFAULT_PACE = Pace()


class Outage:
    """Something that may not answer: says so once, and once that it answers again."""

    def __init__(self, what: str, first_s: float, longest_s: float) -> None:
        self._what, self._first_s, self._longest_s, self._told = what, first_s, longest_s, False

    def goes_on(self, error: Exception, attempt: int) -> float:
        """Return how long to wait before the next attempt (the first is 0): twice as long each time."""
        if not self._told:
            _log.warning("%s does not answer, and is tried again: %s", self._what, plain(str(error))[:300])
        self._told = True
        return min(self._first_s * 2.0 ** min(attempt, 30), self._longest_s)

    def ends(self) -> None:
        """Say so with the next failure."""
        if self._told:
            _log.info("%s answers again", self._what)
        self._told = False
