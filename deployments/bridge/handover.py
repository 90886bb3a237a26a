"""Photos to Prefect, each in turns until a run has claimed it.

Neither a sent event nor the run that it starts is durable: Prefect's server may die in between. The ledger's row is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum

from deployments.bridge.health import Meters
from deployments.bridge.lanes import Emit, Lanes, Sending
from deployments.bridge.overtakes import OvertakeTracker
from deployments.bridge.pace import Outage, Pace
from deployments.bridge.unclaimed import Unclaimed, Wait
from selfiegate.enrolment.uploads import is_later
from selfiegate.errors import BackendUnavailable, SelfiegateError, UnreadableRow
from selfiegate.records import Records
from selfiegate.setting_groups import BridgeSettings
from selfiegate.steps import in_thread
from selfiegate.untrusted_text import plain

_log = logging.getLogger(__name__)


class Standing(Enum):
    """What the records say of a photo."""

    SETTLED = 1
    """Nothing is left to hand over: a run has the photo, or its user asked to be forgotten after the upload."""
    FORGETTING = 2
    """No run may claim the photo until its user has been forgotten."""
    OPEN = 3


class GiveBack(Exception):
    """A message can be kept no longer, and is to be seen again after `delay_s` at the earliest."""

    def __init__(self, why: str, delay_s: float) -> None:
        super().__init__(why)
        self.delay_s = delay_s


class Handover:
    """Gives photos turns: a place in the window, events to Prefect, and looks at the ledger.

    A turn ends after `turn_s`. A photo that nobody claimed meanwhile gives its place to others, is parked for a pause
    that doubles up to `park_s`, and gets another turn. A photo whose user is being forgotten is parked without a turn.
    """

    def __init__(self, settings: BridgeSettings, records: Records, emit: Emit, meters: Meters, pace: Pace) -> None:
        self._settings, self._records, self._meters = settings, records, meters
        self._pace, self.unclaimed, self.places = pace, meters.unclaimed, meters.places
        self._lanes = Lanes(settings, emit, lambda: self.places.held)
        self._overtakes = OvertakeTracker(many=max(1, settings.places // 2))
        self._looking = asyncio.Semaphore(settings.window)  # of the threads, some are left for photos with a place
        self._ledger_outage = Outage("the ledger", pace.first_look_s, pace.longest_look_s)
        self._prefect_outage = Outage("Prefect", pace.first_look_s, pace.longest_outage_s)

    async def see_claimed(self, photo: Unclaimed) -> None:
        """Send a photo's event, and again where it was lost, until a run has claimed the photo.

        Raises `GiveBack` where the photo would have to wait beside too many others.
        """
        with self.unclaimed.holding(photo):
            if self.places.is_at_share(photo.request.user_id):
                self._see_room(photo)
            standing = await self._turn(photo)
            while standing is not Standing.SETTLED:
                await self._park(photo, standing)
                async with self._looking:
                    standing = await self._look(photo)
                if standing is Standing.OPEN:
                    standing = await self._turn(photo)
        self._meters.claimed.inc()

    def standing(self, photo: Unclaimed) -> Standing:
        """Return what the records say of a photo; blocks, and may raise `BackendUnavailable`.

        A row that an erasure removes, or has to remove, says nothing of an upload after the user's request.
        """
        one = photo.request
        try:
            row = self._records.ledger.get(one.photo, one.user_id)
            erasure = self._records.erasures.get(one.user_id)  # after the row: who sees none then has an older row
        except UnreadableRow as unreadable:  # of the photo: `reconcile` lists it; of an erasure: a run says so
            return Standing.SETTLED if unreadable.name else Standing.OPEN
        stays = row and not (erasure and (erasure.finished_at is None or erasure.covers(row)))
        if row and stays and not is_later(one.upload_order, row):
            return Standing.SETTLED
        if erasure and photo.upload_rank and erasure.covers_upload(photo.upload_rank):
            return Standing.SETTLED
        return Standing.FORGETTING if erasure and erasure.finished_at is None else Standing.OPEN

    async def _turn(self, photo: Unclaimed) -> Standing:
        photo.waits_for = Wait.PLACE
        async with self.places.place(photo.request.user_id, again=photo.parked > 0):
            photo.waits_for, photo.since = Wait.TURN, photo.since or time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.turn_s):
                    return await self._hand_over(photo)
            return Standing.OPEN

    async def _park(self, photo: Unclaimed, standing: Standing) -> None:
        if standing is Standing.FORGETTING:
            photo.waits_for, photo.since = Wait.ERASURE, None
            why = "its user is being forgotten"
        else:
            photo.waits_for, why = Wait.CLAIM, "no run claimed it in its turn"
        self._see_room(photo)
        if not photo.parked:
            one = photo.request
            _log.warning("%s of %s is parked: %s", plain(one.photo.uri), plain(one.user_id), why)
        photo.parked += 1
        await asyncio.sleep(min(self._pace.pause_s(photo.deliveries + photo.parked - 1), self._settings.park_s))

    def _see_room(self, photo: Unclaimed) -> None:
        if self.unclaimed.messages > self._settings.places + self._settings.parked:
            pause_s = self._pace.pause_s(photo.deliveries)
            raise GiveBack("too many others wait (SELFIEGATE_BRIDGE__PARKED)", pause_s)

    async def _hand_over(self, photo: Unclaimed) -> Standing:
        failed, standing = 0, await self._look(photo)
        while standing is Standing.OPEN:
            try:
                sending = await self._lanes.send(photo)
            except BackendUnavailable as error:
                await asyncio.sleep(self._prefect_outage.goes_on(error, failed))
                failed += 1
                standing = await self._look(photo)
                continue
            self._prefect_outage.ends()
            failed = 0
            patience_s = self._patience_s(photo.emitted)
            self._count(photo, sending)
            standing = await self._settled_or_lost(photo, sending, patience_s)
        return standing

    def _patience_s(self, emitted: int) -> float:
        first_s = self._settings.patience_s
        return min(first_s * 2.0 ** min(emitted, 30), max(first_s, self._pace.longest_patience_s))

    def _count(self, photo: Unclaimed, sending: Sending) -> None:
        self._meters.emitted.inc()
        self._meters.shared.inc(len(sending.photos) > 1)
        if photo.emitted:
            self._meters.emitted_again.inc()
            one = photo.request
            _log.warning("no run claimed %s of %s: its event was sent again", plain(one.photo.uri), plain(one.user_id))
        photo.emitted += 1

    async def _settled_or_lost(self, photo: Unclaimed, sending: Sending, patience_s: float) -> Standing:
        """Look at the records at growing intervals, until the photo is not open any more or its event seems lost.

        Once a run has claimed another photo of the same event, at once: it claims all of them.
        """
        end, pause = time.monotonic() + patience_s, self._pace.first_look_s
        place, standing, seen = self._overtakes.begin(), Standing.OPEN, False
        try:
            while standing is Standing.OPEN and not (
                time.monotonic() >= end and self._overtakes.is_lost(place, patience_s)
            ):
                seen = await sending.pause(pause, seen)
                standing = await self._look(photo)
                pause = min(2 * pause, self._pace.longest_look_s, max(end - time.monotonic(), self._pace.first_look_s))
            sending.claimed.set()
            photo.overtaken |= standing is Standing.OPEN and self._overtakes.is_overtaken(place)
        finally:
            self._overtakes.end(place, standing is Standing.SETTLED)
        return standing

    async def _look(self, photo: Unclaimed) -> Standing:
        """Ask the records until they answer: their silence is no reason to send events again.

        A turn bounds this, and for a parked photo the time for which its message is kept.
        """
        attempt = 0
        while True:
            try:
                standing = await in_thread(self.standing, photo)
            except SelfiegateError as error:
                await asyncio.sleep(self._ledger_outage.goes_on(error, attempt))
                attempt += 1
            else:
                self._ledger_outage.ends()
                return standing


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Return the errors of a group, and of the groups in it."""
    for each in group.exceptions:
        yield from leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
