"""Two lanes from the bridge to Prefect: an event, and so a run, a photo; or one for many photos that wait.

A run costs Prefect more than a photo costs the models. So where photos wait, those that follow go together.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from deployments.bridge.unclaimed import Unclaimed
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.setting_groups import BridgeSettings

Emit = Callable[[Sequence[PhotoRequest]], Awaitable[None]]
"""Sends one event of one or more photos; raises `BackendUnavailable` where it is to be tried again."""

GATHER_S = 0.3
"""For how long an event waits for more photos: less than a worker takes until it begins a run."""
UNCLAIMED = 2
"""Events of many photos that no run has begun on; meanwhile the next one grows."""
_LINGER_S = 2.0
"""For how long photos go together after a run has begun on many: else the first few of those that follow go alone."""
_LONGEST = 200_000
"""Bytes of an event's photos; Prefect takes parameters of a run up to 512 KiB."""


class Sending:
    """One event; its photos are claimed together."""

    def __init__(self) -> None:
        self.photos: dict[Unclaimed, int] = {}
        self.claimed = asyncio.Event()
        """Set once a run holds one of them."""
        self.full = asyncio.Event()
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def pause(self, seconds: float, seen: bool) -> bool:
        """Wait so long, or until a photo of the event is claimed if that was not `seen`; return whether one is."""
        if seen:
            await asyncio.sleep(seconds)
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.claimed.wait()
        return self.claimed.is_set()


class Lanes:
    """Sends photos alone or together."""

    def __init__(self, settings: BridgeSettings, emit: Emit, waiting: Callable[[], int]) -> None:
        """`waiting` counts the photos that were handed over, or are about to be, and that no run holds."""
        self._settings, self._emit, self._waiting = settings, emit, waiting
        self._gathering: Sending | None = None
        self._free = asyncio.Semaphore(UNCLAIMED)
        self._tasks = set[asyncio.Task[None]]()
        self._open_until = 0.0

    async def send(self, photo: Unclaimed) -> Sending:
        """Send a photo's event; raises `BackendUnavailable` where that failed, for all photos of the event."""
        if not self._goes_express(photo):
            await self._emit([photo.request])
            return Sending()
        sending = self._join(photo)
        try:
            await asyncio.shield(sending.sent)
        except asyncio.CancelledError:
            sending.photos.pop(photo, None)  # if it is not sent yet, it will not be
            raise
        return sending

    def _goes_express(self, photo: Unclaimed) -> bool:
        """A photo that others overtook, or that was parked, goes alone: it may keep others from being claimed."""
        if self._settings.express == "never" or photo.parked or photo.overtaken:
            return False
        is_open = self._settings.express == "always" or time.monotonic() < self._open_until
        return is_open or self._waiting() > self._settings.express_from

    def _join(self, photo: Unclaimed) -> Sending:
        size = len(json.dumps(photo.request.model_dump(mode="json")))
        sending = self._gathering
        if sending and sum(sending.photos.values()) + size > _LONGEST:
            sending.full.set()
        if sending is None or sending.full.is_set():
            sending = self._gathering = Sending()
            task = asyncio.create_task(self._carry(sending))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        sending.photos[photo] = size
        if len(sending.photos) >= self._settings.express_photos:
            sending.full.set()
        return sending

    async def _carry(self, sending: Sending) -> None:
        """Gather photos, send them, and hold the next ones back until a run has begun on these."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await sending.full.wait()
        async with self._free:
            sending.full.set()  # nobody joins any more
            try:
                if sending.photos:
                    await self._emit([photo.request for photo in sending.photos])
            except Exception as error:
                sending.sent.set_exception(error)
                return
            sending.sent.set_result(None)
            if len(sending.photos) > 1:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.patience_s):
                        await sending.claimed.wait()
                self._open_until = time.monotonic() + _LINGER_S
