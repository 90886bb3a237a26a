"""The process of `selfiegate worker`: signals, memory, stuck steps, and an end that is bounded."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import math
import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AsyncExitStack, suppress

from prefect.context import AsyncClientContext, SyncClientContext
from prefect.settings import (
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_WORKER_QUERY_SECONDS,
    temporary_settings,
)
from prometheus_client import Gauge

from deployments import logs
from deployments.warm_worker import WarmWorker
from selfiegate.errors import BackendUnavailable
from selfiegate.runtime import runtime
from selfiegate.stuck import stuck, stuck_for_good, watched

_WAKE_S = 0.5
"""How often the main thread wakes: a signal's handler runs there, and the signal itself does not always wake it.

Of 150 processes whose main thread waited without a timeout while others worked, three never saw their SIGTERM.
"""

_LAST_S = 45.0
"""How long threads get to end after the patience; with the default patience less than compose's `stop_grace_period`."""

_LIBC = ctypes.CDLL(None)
_M_ARENA_MAX = -8
"""Of glibc's malloc.h. By default each thread keeps the largest photo it ever held, in one of eight arenas a core.

800 photos of 0.06 to 1 megapixel, six at once: with two arenas 401 MB from the 200th on, as fast; else 474, and later.
"""
_TRIM_S = 60.0
"""How often what is free goes back to the system: else a worker grows by a megabyte a minute for no use."""

_DEFAULTS = {
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # an event and a thread a run; who needs heartbeats sets a frequency
}
"""What Prefect's own defaults are replaced by; the operator's settings stay."""

_DEVICE = Gauge("selfiegate_worker_device", "1 for what this worker's models run on", ["device"])
"""Shown where Prefect shows its client's metrics: PREFECT_CLIENT_METRICS_ENABLED, PREFECT_CLIENT_METRICS_PORT."""

_log = logging.getLogger(__name__)


def serve(pool: str, name: str | None, limit: int, patience_s: float, health: bool = True) -> None:
    """Work until SIGTERM or SIGINT, then drain; a second signal ends it at once.

    Where a step is stuck the worker drains by itself, and ends with status 1: whoever keeps workers starts another.
    The loop runs in a thread of its own: Prefect's engine takes SIGTERM for itself where it runs in the main one.
    """
    with suppress(AttributeError):  # another C library, and another way to keep memory
        _LIBC.mallopt(_M_ARENA_MAX, 2)
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            os._exit(1)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    with ThreadPoolExecutor(1, "worker") as thread:
        work = thread.submit(asyncio.run, _work_until(asked, pool, name, limit, patience_s, health))
        _keep_watch(work, asked, patience_s)
        work.result()


def _keep_watch(work: Future[None], asked: threading.Event, patience_s: float) -> None:
    """Wait for the loop to end; see to memory, stuck steps, and threads that do not end."""
    trimmed, ends_at = time.monotonic(), math.inf
    while not work.done():
        wait([work], _WAKE_S)
        if not asked.is_set() and (found := stuck_for_good()):
            _log.critical("%s did not come back: this worker takes no more runs, and ends", ", ".join(found))
            asked.set()
        if asked.is_set():
            ends_at = min(ends_at, time.monotonic() + patience_s + _LAST_S)
        if time.monotonic() > ends_at:
            _log.critical("threads of this worker do not end: it is ended; `reconcile` finishes what they had begun")
            os._exit(1)
        if time.monotonic() > trimmed + _TRIM_S:
            trimmed = time.monotonic()
            with suppress(AttributeError):
                _LIBC.malloc_trim(0)


async def _work_until(
    asked: threading.Event, pool: str, name: str | None, limit: int, patience_s: float, health: bool
) -> None:
    # Each run may wait in two threads at once; the default would be six for all of them.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2 * limit + 4, "steps"))
    rt = await asyncio.to_thread(runtime)  # models load, and settings are found wrong, before any run is taken
    _DEVICE.labels(rt.faces.device).set(1)
    pulse = asyncio.create_task(_pulse(rt.settings.stuck_after_s))
    logs.drop_ends_of_tasks()
    async with AsyncExitStack() as stack:
        stack.enter_context(temporary_settings(set_defaults=_DEFAULTS))
        await _share_clients(stack)
        worker = WarmWorker(work_pool_name=pool, name=name, limit=limit)
        stack.enter_context(temporary_settings({PREFECT_WORKER_QUERY_SECONDS: 1}))  # it polls more seldom by itself
        work = asyncio.create_task(worker.start(with_healthcheck=health, printer=_log.info))
        waking = asyncio.create_task(worker.poll_when_scheduled())
        stopping = asyncio.create_task(asyncio.to_thread(asked.wait))
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        unasked = not asked.is_set()
        asked.set()
        if not work.done():
            _log.info("finishing the runs under way")
            await worker.drain(patience_s)
            if stuck():  # its thread never ends, and this process would wait for it
                _log.critical("ended with a stuck step; `reconcile` finishes what it had begun")
                os._exit(1)
        pulse.cancel()
        waking.cancel()
        work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            if unasked:
                raise BackendUnavailable("the worker was stopped by something in it") from None
        except Exception as error:  # Prefect's, after minutes of attempts
            raise BackendUnavailable(f"the worker gives up: {type(error).__name__}: {error}") from error


async def _share_clients(stack: AsyncExitStack) -> None:
    """Let worker and runs share their clients of Prefect's API; otherwise Prefect makes three for each run.

    A client takes 50 ms, most of it for reading certificates. The server may be away now: its version is compared with
    the first run.
    """
    with temporary_settings({PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False}):
        stack.enter_context(SyncClientContext())
        await stack.enter_async_context(AsyncClientContext())


async def _pulse(limit_s: float) -> None:
    """Be a call that ends each second, so that a loop which blocks for good counts as stuck."""
    while True:
        with watched("the event loop", limit_s):
            await asyncio.sleep(1)
