"""Runs the bridge from the queue to Prefect: signals, HTTP server, exit code. `bridge.py` says how it works."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

from deployments import logs
from selfiegate.databases import open_queue, open_records
from selfiegate.errors import BackendUnavailable
from selfiegate.runtime import open_photos
from selfiegate.settings import Settings

_log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Run the bridge until SIGTERM or SIGINT; a second one ends the process at once.

    Raises `BackendMisconfigured` where queue, ledger, port or Prefect's API are not set or not there for us.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    from deployments.bridge.bridge import Bridge
    from deployments.bridge.health import served  # after `quiet_prefect`, which has to come before Prefect
    from deployments.bridge.intake import CLOSED, PATIENCE_S, Intake
    from deployments.bridge.photo_events import PrefectEvents, possible

    # As many look at photos with a place; others look at parked ones, and keep messages.
    threads = settings.bridge.places + 2 * settings.bridge.window + 2
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads, "bridge"))
    queue, token = open_queue(settings), settings.bridge.token
    intake = Intake(open_queue(settings, PATIENCE_S).put, token.get_secret_value()) if token else CLOSED
    async with PrefectEvents() as events:
        logs.log_to_stderr()
        settings = settings.model_copy(update={"bridge": await possible(settings.bridge)})
        bridge = Bridge(settings, queue, open_photos(settings), open_records(settings), events.emit)
        with suppress(BackendUnavailable):  # it will be there
            queue.check()
        with ExitStack() as stack:
            if settings.bridge.port:
                where = (settings.bridge.host, settings.bridge.port)
                stack.enter_context(served(*where, bridge.meters, bridge.health, intake))
            _on_signals(bridge.stop)
            _log.info("taking photo events from %s", queue.place)
            await bridge.run()
    _log.info("stopped; what no run had claimed is in the queue")


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def first() -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(one)
            signal.signal(one, signal.SIG_DFL)
        stop()

    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, first)
