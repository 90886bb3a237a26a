"""From a queue of photo events to Prefect, without losing one.

Neither a sent event nor the run that it starts is durable: Prefect's server may die in between. What is durable is the
message in the queue and the row in the ledger. So a message is deleted only once the ledger holds all its photos;
until then it is kept from other bridges, and the event is sent again where no run claims the photo in time.
Doubled events and events out of order are harmless: a photo's row is claimed once, and orders photos by upload.

Of what waits, only a window is handed to Prefect at a time: a backlog stays in the queue. A photo that no run claims
in its turn is parked: it waits beside the window, with others for as long as the settings allow, else in the queue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from deployments.bridge.handover import GiveBack, Handover, Standing, leaves
from deployments.bridge.health import Meters, health_of
from deployments.bridge.lanes import Emit
from deployments.bridge.pace import DEFAULT_PACE, Outage, Pace
from deployments.bridge.reading import Reading, read
from deployments.bridge.unclaimed import Unclaimed, Wait
from selfiegate.errors import SelfiegateError
from selfiegate.event_queue import EventQueue, Message
from selfiegate.ports import PhotoStore
from selfiegate.records import Records
from selfiegate.settings import Settings
from selfiegate.steps import in_thread
from selfiegate.untrusted_text import plain

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""Messages that are left to the redrive policy, each told and counted once; they come back in turn."""


@dataclass
class _Delivery:
    message: Message
    reading: Reading | None = None
    photos: Sequence[Unclaimed] = ()
    handing_over: bool = False
    """Its photos wait for places, or have them; else it is being read or settled."""

    @property
    def is_parked(self) -> bool:
        return bool(self.photos) and not any(photo.waits_for in (Wait.PLACE, Wait.TURN) for photo in self.photos)


class _Taken(Exception):
    """A message in flight was given to somebody else."""


class Bridge:
    """Hands the photos of a queue to `emit`, each until a run has claimed it.

    `emit` may raise `BackendUnavailable`; the photo is then tried again.
    """

    def __init__(
        self,
        settings: Settings,
        queue: EventQueue,
        photos: PhotoStore,
        records: Records,
        emit: Emit,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        self._settings, self._queue, self._photos = settings, queue, photos
        self._pace = pace
        self._in_flight: dict[asyncio.Task[None], _Delivery] = {}
        self._stopping = asyncio.Event()
        self._answered_at: float | None = None
        self._queue_outage = Outage("the queue", pace.first_look_s, pace.longest_outage_s)
        self._left = deque[str](maxlen=_REMEMBERED)
        self._silences = 0
        self.meters = Meters(settings.bridge)
        self._handover = Handover(settings.bridge, records, emit, self.meters, pace)

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    def health(self) -> dict[str, Any]:
        """Say whether the queue answered lately and photos get through, and how many are in flight."""
        silent_s = None if self._answered_at is None else round(time.monotonic() - self._answered_at, 1)
        found = health_of(self._settings.bridge, self.meters.unclaimed, silent_s)
        return {**found, "queue_answered_s_ago": silent_s, "in_flight": self.meters.places.held}

    async def run(self) -> None:
        """Hand over photos until `stop` is called; then give back at once what no run has claimed."""
        stopped = asyncio.create_task(self._stopping.wait())
        counting = asyncio.create_task(self.meters.count_backlog(self._queue, self._pace.ask_s))
        try:
            while not stopped.done():
                if (room := self._room()) <= 0:
                    await self._until_room(stopped)
                    continue
                for message in await self._received(room):
                    self._begin(_Delivery(message))
        finally:
            stopped.cancel()
            counting.cancel()
            await self._give_back()

    def _room(self) -> int:
        """Count the messages to take: parked ones do not matter, those without a place yet do."""
        busy = sum(not delivery.handing_over for delivery in self._in_flight.values())
        return self.meters.places.room() - busy

    async def _until_room(self, stopped: asyncio.Task[Any]) -> None:
        self.meters.places.changed.clear()
        changed = asyncio.create_task(self.meters.places.changed.wait())
        done, _ = await asyncio.wait([stopped, changed], timeout=self._pace.ask_s, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        if not done:
            await self._answered(self._queue.check)

    async def _received(self, room: int) -> Sequence[Message]:
        found = await self._answered(self._queue.receive, room, self._pace.poll_s, self._pace.visibility_s) or ()
        self.meters.received.inc(len(found))
        return found

    async def _answered(self, ask: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Return the queue's answer; None where there is none, after a pause."""
        try:
            found = await in_thread(ask, *args, **kwargs)
        except SelfiegateError as error:
            self._silences += 1
            with suppress(TimeoutError):
                pause_s = self._queue_outage.goes_on(error, self._silences)
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            return None
        self._queue_outage.ends()
        self._silences = 0
        self._answered_at = time.monotonic()
        return found

    def _begin(self, delivery: _Delivery) -> None:
        task = asyncio.create_task(self._carry(delivery))
        self._in_flight[task] = delivery
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        delivery = self._in_flight.pop(task)
        self.meters.places.changed.set()
        if not task.cancelled() and (error := task.exception()):
            _log.error("message %s is left in the queue", delivery.message.id, exc_info=error)

    async def _carry(self, delivery: _Delivery) -> None:
        """Take one message to its end; where that fails, it comes back by itself."""
        message = delivery.message
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._extend_visibility(message))
                await self._settle(delivery)
                keeper.cancel()
        except* _Taken:
            _log.warning("message %s is somebody else's by now", message.id)
        except* GiveBack as found:
            await self._return_later(message, found)
        except* SelfiegateError as errors:
            _log.warning("message %s is left in the queue: %s", message.id, plain(str(errors.exceptions[0])))

    async def _return_later(self, message: Message, found: BaseExceptionGroup[GiveBack]) -> None:
        why = next(each for each in leaves(found) if isinstance(each, GiveBack))
        _log.info("message %s is given back for %.0f s: %s", message.id, why.delay_s, why)
        self.meters.given_back.inc()
        try:
            await in_thread(self._queue.extend, message, int(why.delay_s))
        except SelfiegateError as error:
            _log.warning("message %s comes back earlier: %s", message.id, plain(str(error)))

    async def _extend_visibility(self, message: Message) -> None:
        """Keep a message from others, with time for two attempts that fail: the longer it waits, the fewer calls."""
        kept_s, end = self._pace.visibility_s, time.monotonic() + self._pace.kept_s
        while True:
            await asyncio.sleep(kept_s / 3)
            longer_s = max(kept_s, min(2 * kept_s, int(self._settings.bridge.park_s)))
            if time.monotonic() + longer_s > end:
                raise GiveBack(f"no delivery of a message is kept for longer than {self._pace.kept_s / 3600:.0f} h", 0)
            try:
                kept = await in_thread(self._queue.extend, message, longer_s)
            except SelfiegateError as error:
                _log.warning("message %s is not kept: %s", message.id, plain(str(error)))
                continue
            if not kept:
                raise _Taken
            self._answered_at, kept_s = time.monotonic(), longer_s

    async def _settle(self, delivery: _Delivery) -> None:
        message = delivery.message
        reading = delivery.reading = await in_thread(read, self._settings, self._photos, message.body)
        told = (message.id, message.sent_at, message.deliveries)
        delivery.photos = [Unclaimed(one, *told) for one in reading.photo_requests]
        delivery.handing_over = True
        async with asyncio.TaskGroup() as group:
            for photo in delivery.photos:
                group.create_task(self._handover.see_claimed(photo))
        delivery.handing_over = False
        if reading.later:
            raise GiveBack("; ".join(reading.later), self._pace.pause_s(message.deliveries))
        if reading.wrong:
            await self._dead_letter(message, "; ".join(reading.wrong))
        else:
            await in_thread(self._queue.delete, message)

    async def _dead_letter(self, message: Message, reason: str) -> None:
        if await in_thread(self._queue.bury, message, reason):
            _log.warning("message %s is dead: %s", message.id, plain(reason)[:300])
            self.meters.dead.inc()
        elif message.id not in self._left:
            _log.warning("message %s is left to the queue's redrive policy: %s", message.id, plain(reason)[:300])
            self.meters.dead.inc()
            self._left.append(message.id)

    async def _give_back(self) -> None:
        """Stop all, and let another bridge have at once what is not parked."""
        self.meters.places.close()
        left = dict(self._in_flight)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.gather(*(self._return(delivery) for task, delivery in left.items() if task.cancelled()))

    async def _return(self, delivery: _Delivery) -> None:
        try:
            if await in_thread(self._is_done, delivery):
                await in_thread(self._queue.delete, delivery.message)
            elif not delivery.is_parked:
                await in_thread(self._queue.extend, delivery.message, 0)
        except SelfiegateError as error:
            _log.warning("message %s comes back later: %s", delivery.message.id, plain(str(error)))

    def _is_done(self, delivery: _Delivery) -> bool:
        reading = delivery.reading
        if reading is None or reading.wrong or reading.later:
            return False
        return all(self._handover.standing(photo) is Standing.SETTLED for photo in delivery.photos)
