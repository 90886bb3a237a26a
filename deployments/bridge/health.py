"""What the bridge counts, and its health, over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app

from selfiegate.errors import BackendMisconfigured


class Meters:
    """The bridge's metrics, in a registry of their own; each begins with `selfiegate_bridge_`."""

    def __init__(self, in_flight: Callable[[], float], oldest_s: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.received = self._counter("received", "Messages taken from the queue")
        self.emitted = self._counter("emitted", "Events sent to Prefect")
        self.emitted_again = self._counter("emitted_again", "Events sent again, since no run had claimed the photo")
        self.claimed = self._counter("claimed", "Photos that the ledger holds")
        self.dead = self._counter("dead", "Messages that cannot be understood")
        self._gauge("in_flight", "Messages taken and not settled yet", in_flight)
        self._gauge("oldest_unclaimed_seconds", "Since the oldest message in flight was sent", oldest_s)

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(f"selfiegate_bridge_{name}", what, registry=self.registry)

    def _gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        Gauge(f"selfiegate_bridge_{name}", what, registry=self.registry).set_function(value)


@contextmanager
def served(host: str, port: int, meters: Meters, health: Callable[[], dict[str, Any]]) -> Iterator[int]:
    """Answer `/health` (503 unless `healthy`) and `/metrics` until the block ends; gives the port."""
    metrics = make_wsgi_app(meters.registry)

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            case "/health":
                state = health()
                start("200 OK" if state["healthy"] else "503 Service Unavailable", _headers("application/json"))
                return [json.dumps(state).encode()]
        start("404 Not Found", _headers("text/plain"))
        return [b"there are /health and /metrics\n"]

    try:
        server = make_server(host, port, answer, _Server, _Quiet)
    except OSError as error:
        mend = "set SELFIEGATE_BRIDGE__HOST and SELFIEGATE_BRIDGE__PORT (0: no health server)"
        raise BackendMisconfigured(f"cannot listen on {host}:{port}: {error.strerror}; {mend}") from error
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _headers(kind: str) -> list[tuple[str, str]]:
    return [("Content-Type", kind), ("Cache-Control", "no-store")]


class _Server(ThreadingMixIn, WSGIServer):
    """One client that says nothing does not keep the others waiting."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, *_: Any) -> None:
        """Write nothing: probes come every few seconds."""
