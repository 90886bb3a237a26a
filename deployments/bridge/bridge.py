"""From a queue of photo events to Prefect, without losing one.

Neither a sent event nor the run that it starts is durable: Prefect's server may die in between. What is durable is the
message in the queue and the row in the ledger. So a message is deleted only once the ledger holds all its photos;
until then it is kept from other bridges, and the event is sent again where no run claims the photo in time.
Doubled events and events out of order are harmless: a photo's row is claimed once, and orders photos by upload.

Of what waits, only a window is handed to Prefect at a time: a backlog stays in the queue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from deployments.bridge.handover import DEFAULT_PACE, Emit, Handover, Outage, Pace
from deployments.bridge.health import Meters
from selfiegate.aws.sqs_queue import Message, Queue
from selfiegate.errors import BackendUnavailable, SelfiegateError, WrongInput
from selfiegate.ingestion.messages import read_event
from selfiegate.ingestion.photo_requests import PhotoRequest, photo_request
from selfiegate.ports import PhotoStore
from selfiegate.records import Records
from selfiegate.settings import Settings
from selfiegate.steps import in_thread
from selfiegate.untrusted_text import plain

_log = logging.getLogger(__name__)

_STALE_S = 60.0
"""A bridge whose queue has not answered for so long is not healthy."""
_REMEMBERED = 10_000
"""Messages that are left to the redrive policy, each told and counted once; they come back in turn."""


class Reading(NamedTuple):
    """What a message says: photos, what is wrong with it, and what could not be looked up now."""

    photo_requests: Sequence[PhotoRequest] = ()
    wrong: Sequence[str] = ()
    later: Sequence[str] = ()


@dataclass
class _Delivery:
    message: Message
    reading: Reading | None = None


class _Taken(Exception):
    """A message in flight was given to somebody else."""


class Bridge:
    """Hands the photos of a queue to `emit`, each until a run has claimed it.

    `emit` may raise `BackendUnavailable`; the photo is then tried again.
    """

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        photos: PhotoStore,
        records: Records,
        emit: Emit,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        self._settings, self._queue, self._photos, self._records = settings, queue, photos, records
        self._pace, self._window = pace, settings.bridge.window
        self._in_flight: dict[asyncio.Task[None], _Delivery] = {}
        self._stopping = asyncio.Event()
        self._answered_at: float | None = None
        self._queue_outage = Outage("the queue", pace.first_look_s, pace.longest_outage_s)
        self._left = deque[str](maxlen=_REMEMBERED)
        self._silences = 0
        self.meters = Meters(lambda: len(self._in_flight), self._oldest_s)
        self._handover = Handover(settings.bridge, records, emit, self.meters, pace)

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    def health(self) -> dict[str, Any]:
        """Say whether the queue answered lately, and how many messages are in flight."""
        silent_s = None if self._answered_at is None else round(time.monotonic() - self._answered_at, 1)
        healthy = silent_s is not None and silent_s < _STALE_S
        return {"healthy": healthy, "queue_answered_s_ago": silent_s, "in_flight": len(self._in_flight)}

    async def run(self) -> None:
        """Hand over photos until `stop` is called; then give back at once what no run has claimed."""
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            while not stopped.done():
                if len(self._in_flight) >= self._window:
                    await asyncio.wait([stopped, *self._in_flight], return_when=asyncio.FIRST_COMPLETED)
                    continue
                for message in await self._received():
                    self._begin(_Delivery(message))
        finally:
            stopped.cancel()
            await self._give_back()

    async def _received(self) -> Sequence[Message]:
        room = self._window - len(self._in_flight)
        try:
            found = await in_thread(self._queue.receive, room, self._pace.poll_s, self._pace.visibility_s)
        except SelfiegateError as error:
            self._silences += 1
            with suppress(TimeoutError):
                pause_s = self._queue_outage.goes_on(error, self._silences)
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            return []
        self._queue_outage.ends()
        self._silences = 0
        self._answered_at = time.monotonic()
        self.meters.received.inc(len(found))
        return found

    def _begin(self, delivery: _Delivery) -> None:
        task = asyncio.create_task(self._carry(delivery))
        self._in_flight[task] = delivery
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        delivery = self._in_flight.pop(task)
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
        except* SelfiegateError as errors:
            _log.warning("message %s is left in the queue: %s", message.id, plain(str(errors.exceptions[0])))

    async def _extend_visibility(self, message: Message) -> None:
        """Keep a message from others, with time for two attempts that fail."""
        while True:
            await asyncio.sleep(self._pace.visibility_s / 3)
            try:
                kept = await in_thread(self._queue.extend, message, self._pace.visibility_s)
            except SelfiegateError as error:
                _log.warning("message %s is not kept: %s", message.id, plain(str(error)))
                continue
            if not kept:
                raise _Taken
            self._answered_at = time.monotonic()

    async def _settle(self, delivery: _Delivery) -> None:
        message = delivery.message
        reading = delivery.reading = await in_thread(read, self._settings, self._photos, message.body)
        async with asyncio.TaskGroup() as group:
            for one in reading.photo_requests:
                group.create_task(self._handover.see_claimed(one))
        if reading.later:
            raise BackendUnavailable("; ".join(reading.later))
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
        """Stop what is in flight, and let another bridge have it at once."""
        left = dict(self._in_flight)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.gather(*(self._return(delivery) for task, delivery in left.items() if task.cancelled()))

    async def _return(self, delivery: _Delivery) -> None:
        try:
            if await in_thread(self._is_done, delivery.reading):
                await in_thread(self._queue.delete, delivery.message)
            else:
                await in_thread(self._queue.extend, delivery.message, 0)
        except SelfiegateError as error:
            _log.warning("message %s comes back later: %s", delivery.message.id, plain(str(error)))

    def _is_done(self, reading: Reading | None) -> bool:
        if reading is None or reading.wrong or reading.later:
            return False
        return all(self._records.ledger.get(one.photo, one.user_id) is not None for one in reading.photo_requests)

    def _oldest_s(self) -> float:
        sent = [delivery.message.sent_at for delivery in list(self._in_flight.values())]  # read by another thread
        return max(0.0, time.time() - min(sent)) if sent else 0.0


def read(settings: Settings, photos: PhotoStore, body: str) -> Reading:
    """Read each photo of a message by itself: a wrong one does not keep back the others."""
    event = read_event(body)
    photo_requests, wrong, later = [], event.wrong, []
    for upload in event.uploads:
        try:
            photo_requests.append(photo_request(settings, photos, upload))
        except WrongInput as error:
            wrong.append(str(error))
        except SelfiegateError as error:
            later.append(str(error))
    return Reading([one for one in photo_requests if one], wrong, later)
