"""Photos to Prefect, each until a run has claimed it.

Neither a sent event nor the run that it starts is durable: Prefect's server may die in between. The ledger's row is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from deployments.bridge.health import Meters
from selfiegate.enrolment.uploads import is_later
from selfiegate.errors import BackendUnavailable, SelfiegateError, UnreadableRow
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.privacy.erasures import is_forgotten
from selfiegate.records import Records
from selfiegate.settings import BridgeSettings
from selfiegate.steps import in_thread
from selfiegate.untrusted_text import plain

_log = logging.getLogger(__name__)

Emit = Callable[[PhotoRequest], Awaitable[None]]
"""Sends a photo's event; raises `BackendUnavailable` where it is to be tried again."""


class Pace(NamedTuple):
    """How long the bridge waits for what."""

    first_look_s: float = 0.25
    longest_look_s: float = 5.0
    longest_patience_s: float = 300.0
    longest_outage_s: float = 30.0
    poll_s: int = 5
    """One receive, and so the longest that stopping takes; SQS's own bound is 20."""
    visibility_s: int = 60


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
        return self._overtaken[place] >= self._many or time.monotonic() - self._moved_at >= patience_s


class Handover:
    """Sends photos' events and looks whether the ledger holds them; at most `window` photos at a time."""

    def __init__(self, settings: BridgeSettings, records: Records, emit: Emit, meters: Meters, pace: Pace) -> None:
        self._patience_s, self._records, self._emit, self._meters = settings.patience_s, records, emit, meters
        self._pace, self._room = pace, asyncio.Semaphore(settings.window)
        self._overtakes = OvertakeTracker(many=max(1, settings.window // 2))
        self._ledger_outage = Outage("the ledger", pace.first_look_s, pace.longest_look_s)
        self._prefect_outage = Outage("Prefect", pace.first_look_s, pace.longest_outage_s)

    async def see_claimed(self, one: PhotoRequest) -> None:
        """Send a photo's event, and again where it was lost, until a run has claimed the photo."""
        async with self._room:
            sent, failed, patience_s = 0, 0, self._patience_s
            claimed = await self._is_claimed(one)
            while not claimed:
                try:
                    await self._emit(one)
                except BackendUnavailable as error:
                    await asyncio.sleep(self._prefect_outage.goes_on(error, failed))
                    failed += 1
                    claimed = await self._is_claimed(one)
                    continue
                self._prefect_outage.ends()
                failed = 0
                self._count(one, again=sent > 0)
                claimed = await self._is_claimed_or_lost(one, patience_s)
                sent, patience_s = sent + 1, min(2 * patience_s, self._pace.longest_patience_s)
            self._meters.claimed.inc()

    def _count(self, one: PhotoRequest, again: bool) -> None:
        self._meters.emitted.inc()
        if again:
            self._meters.emitted_again.inc()
            _log.warning("no run claimed %s of %s: its event was sent again", plain(one.photo.uri), plain(one.user_id))

    async def _is_claimed_or_lost(self, one: PhotoRequest, patience_s: float) -> bool:
        """Look at the ledger at growing intervals, until the photo is claimed or its event seems lost."""
        end, pause = time.monotonic() + patience_s, self._pace.first_look_s
        place, claimed = self._overtakes.begin(), False
        try:
            while not claimed and not (time.monotonic() >= end and self._overtakes.is_lost(place, patience_s)):
                await asyncio.sleep(pause)
                claimed = await self._is_claimed(one)
                pause = min(2 * pause, self._pace.longest_look_s, max(end - time.monotonic(), self._pace.first_look_s))
        finally:
            self._overtakes.end(place, claimed)
        return claimed

    async def _is_claimed(self, one: PhotoRequest) -> bool:
        """Ask the ledger until it answers: its silence is no reason to send events again."""
        attempt = 0
        while True:
            try:
                known = await in_thread(self._is_known, one)
            except SelfiegateError as error:
                await asyncio.sleep(self._ledger_outage.goes_on(error, attempt))
                attempt += 1
            else:
                self._ledger_outage.ends()
                return known

    def _is_known(self, one: PhotoRequest) -> bool:
        """Say whether there is nothing left to hand over: a run has the photo, or its user asked to be forgotten."""
        try:
            row = self._records.ledger.get(one.photo, one.user_id)
            held = row is not None and not is_later(one.upload_order, row)
            return held or is_forgotten(self._records.erasures, one.user_id, one.upload_order)
        except UnreadableRow as unreadable:  # of the photo: `reconcile` lists it; of an erasure: a run says so
            return unreadable.name != ""
