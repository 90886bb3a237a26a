"""Hears on Prefect's event stream that a run may be taken, so that the worker need not wait for its next poll."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from uuid import UUID

from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter, EventResourceFilter
from prefect.events.schemas.events import ResourceSpecification

_OPENING_S = 15.0
"""How long connecting may take; Prefect's own subscriber sets no bound."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
"""Between two attempts; doubles until a stream has stayed open for the longest pause."""

_log = logging.getLogger(__name__)


class ScheduledRuns:
    """Calls `wake` for each run of a work pool that becomes scheduled, new or to be run again.

    Events may be lost, and come twice: they are a reason to poll, no more. `pool` returns the pool's id, or raises
    `RuntimeError` while the id is not known.
    """

    def __init__(self, pool: Callable[[], UUID], wake: Callable[[], None]) -> None:
        self._pool, self._wake = pool, wake
        self.is_open = False
        """Whether events come; where they do not, polls must."""

    async def listen(self) -> None:
        """Listen until cancelled; a stream that breaks or cannot be opened is opened again after a growing pause."""
        pause_s, told = _FIRST_PAUSE_S, False
        while True:
            began = time.monotonic()
            try:
                await self._listen_once()
                why = "closed by the server"
            except Exception as error:  # of sockets, HTTP and the handshake, whose errors have no common base
                why = f"{type(error).__name__}: {error}"
            finally:
                self.is_open = False
            if time.monotonic() - began > _LONGEST_PAUSE_S:
                pause_s, told = _FIRST_PAUSE_S, False
            if not told:
                _log.info("no events of scheduled runs, so runs are polled for each second: %s", why)
            told = True
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _listen_once(self) -> None:
        events = get_events_subscriber(_scheduled_in(self._pool()), reconnection_attempts=0)
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(_OPENING_S):
                await stack.enter_async_context(events)
            self.is_open = True
            _log.info("events of scheduled runs come")
            self._wake()  # for what was scheduled while no stream was open
            async for _ in events:
                self._wake()


def _scheduled_in(pool_id: UUID) -> EventFilter:
    """Filter for flow runs that turn Scheduled, Late, AwaitingRetry or Resuming; all are of type SCHEDULED."""
    return EventFilter(
        event=EventNameFilter(prefix=["prefect.flow-run."]),
        resource=EventResourceFilter(labels=ResourceSpecification({"prefect.state-type": ["SCHEDULED"]})),
        any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{pool_id}"]),
    )
