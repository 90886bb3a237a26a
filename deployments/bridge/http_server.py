"""A small HTTP server for strangers: every request and the number of connections have a bound.

A connection carries one request. Its bytes must have come within `REQUEST_S`, however slowly they drip. Of more than
`MOST` connections at once the others are told 503, without a thread.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from selfiegate.errors import BackendMisconfigured

Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]

MOST = 64
"""Connections at once."""
REQUEST_S = 10.0
"""How long a request may take to come, from the connection to its last byte."""
_FULL = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

_log = logging.getLogger(__name__)


@contextmanager
def listening(host: str, port: int, answer: Application) -> Iterator[int]:
    """Answer requests until the block ends; gives the port."""
    try:
        server = make_server(host, port, answer, _Server, _Handler)
    except OSError as error:
        mend = "set SELFIEGATE_BRIDGE__HOST and SELFIEGATE_BRIDGE__PORT (0: no server)"
        raise BackendMisconfigured(f"cannot listen on {host}:{port}: {error.strerror}; {mend}") from error
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    """One client that says nothing does not keep the others waiting."""

    daemon_threads = True
    request_queue_size = 128
    """Connections that come in one moment wait here to be accepted."""

    def __init__(self, *args: Any) -> None:
        self._places = threading.BoundedSemaphore(MOST)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, if there is room for it."""
        if not self._places.acquire(blocking=False):
            with suppress(OSError):
                request.sendall(_FULL)  # into an empty buffer: never waits
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Give the place back in the end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away, or were too slow."""
        if not isinstance(sys.exception(), OSError):
            _log.exception("a request failed")


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # answers "Expect: 100-continue", which libcurl waits for

    def setup(self) -> None:
        """Read by the clock."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Timed(self.connection, time.monotonic() + REQUEST_S))

    def log_message(self, *_: Any) -> None:
        """Write nothing: probes come every few seconds."""


class _Timed(io.RawIOBase):
    """What comes over a connection until a moment; then `TimeoutError`."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection, self._end = connection, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(max(0.001, self._end - time.monotonic()))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(REQUEST_S)  # for the answer
