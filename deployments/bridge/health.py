"""What the bridge counts, its health, and its intake, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app

from deployments.bridge.http_server import listening
from deployments.bridge.intake import CLOSED, Intake
from deployments.bridge.places import Places
from deployments.bridge.unclaimed import PARKED, UnclaimedPhotos, Wait
from selfiegate.event_queue import EventQueue
from selfiegate.setting_groups import BridgeSettings
from selfiegate.steps import in_thread

_STALE_S = 60.0
"""A bridge whose queue has not answered for so long is not healthy."""


class Meters:
    """The bridge's metrics, in a registry of their own; each begins with `selfiegate_bridge_`."""

    def __init__(self, settings: BridgeSettings) -> None:
        self.registry, self.unclaimed = CollectorRegistry(), UnclaimedPhotos()
        self.places = Places(settings.places, settings.share, max(1, settings.window // 2))
        self.received = self._counter("received", "Messages taken from the queue")
        self.emitted = self._counter("emitted", "Photos whose event was sent to Prefect, alone or with others")
        self.emitted_again = self._counter(
            "emitted_again", "Photos whose event was sent again: no run had claimed them"
        )
        self.shared = self._counter("shared", "Photos whose event told of others, too: of the express lane")
        self.claimed = self._counter("claimed", "Photos that the ledger holds")
        self.dead = self._counter("dead", "Messages that cannot be understood")
        self.given_back = self._counter("given_back", "Messages that could be kept no longer")
        self.asked = Counter(
            "selfiegate_bridge_asked", "Requests to /events, by their answer", ["status"], registry=self.registry
        )
        self._gauge("in_flight", "Photos that hold a place in the window", lambda: self.places.held)
        self.backlog = Gauge("selfiegate_bridge_backlog", "Messages that wait in the queue", registry=self.registry)
        oldest_s, waiting = self.unclaimed.oldest_s, (Wait.PLACE, Wait.TURN, Wait.CLAIM)
        self._gauge("oldest_unclaimed_seconds", "Age of the oldest, erasures aside", lambda: oldest_s(*waiting))
        self._gauge("oldest_parked_seconds", "Age of the oldest that is parked", lambda: oldest_s(*PARKED))
        parked = Gauge("selfiegate_bridge_parked", "Photos without a place", ["waits_for"], registry=self.registry)
        for wait in PARKED:
            parked.labels(wait).set_function(partial(self.unclaimed.count, wait))

    async def count_backlog(self, queue: EventQueue, every_s: float) -> None:
        """Count what waits in the queue, over and over."""
        while True:
            with suppress(Exception):  # whoever receives from the queue says so
                self.backlog.set(await in_thread(queue.waiting))
            await asyncio.sleep(every_s)

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(f"selfiegate_bridge_{name}", what, registry=self.registry)

    def _gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        Gauge(f"selfiegate_bridge_{name}", what, registry=self.registry).set_function(value)


def health_of(settings: BridgeSettings, unclaimed: UnclaimedPhotos, silent_s: float | None) -> dict[str, Any]:
    """Say whether the queue answers and photos get through, and in words why not.

    Photos of users who are being forgotten are `degraded`, not unhealthy: no bridge could hand them over, so another
    process in this one's place would mend nothing.
    """
    reasons, waited_s = [], unclaimed.longest_unclaimed_s()
    if silent_s is None or silent_s >= _STALE_S:
        reasons.append("the queue has not answered " + ("yet" if silent_s is None else f"for {silent_s:.0f} s"))
    if waited_s > settings.oldest_s:
        reasons.append(
            f"for {waited_s:.0f} s no run has claimed a photo that was handed over "
            f"(SELFIEGATE_BRIDGE__OLDEST_S={settings.oldest_s:g}): see whether workers live and Prefect starts runs"
        )
    forgotten = unclaimed.count(Wait.ERASURE)
    degraded = [f"photos that wait until their users are forgotten: {forgotten}"] if forgotten else []
    return {"healthy": not reasons, "reasons": reasons, "degraded": degraded}


@contextmanager
def served(
    host: str, port: int, meters: Meters, health: Callable[[], dict[str, Any]], intake: Intake = CLOSED
) -> Iterator[int]:
    """Answer `/health` (503 unless `healthy`), `/metrics` and `/events` until the block ends; gives the port."""
    metrics = make_wsgi_app(meters.registry)

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            case "/health":
                state = health()
                status = HTTPStatus.OK if state["healthy"] else HTTPStatus.SERVICE_UNAVAILABLE
                return _begun(start, status, "application/json", json.dumps(state))
            case "/events":
                told = intake.answer(environ)
                meters.asked.labels(int(told.status)).inc()
                return _begun(
                    start, told.status, "text/plain", "" if environ["REQUEST_METHOD"] == "HEAD" else told.text
                )
        return _begun(start, HTTPStatus.NOT_FOUND, "text/plain", "there are /health, /metrics and /events")

    with listening(host, port, answer) as found:
        yield found


def _begun(start: StartResponse, status: HTTPStatus, kind: str, text: str) -> Iterable[bytes]:
    headers = [("Content-Type", kind), ("Cache-Control", "no-store")]
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append(("WWW-Authenticate", "Bearer"))
    start(f"{status.value} {status.phrase}", headers)
    return [f"{text}\n".encode()] if text else []
