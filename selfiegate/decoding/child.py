"""The process that decodes: `python -m selfiegate.decoding.child module:function`, with a socket as its standard input.

`process_pool` starts it and says why. A message is JSON and bytes, each preceded by its length.
"""

from __future__ import annotations

import json
import resource
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from selfiegate.decoding.decode import Limits
from selfiegate.errors import PhotoRejected
from selfiegate.model import ReasonCode

_BYTES_PER_PIXEL, _ROOM = 16, 1 << 30
"""What `photos.decode` takes of memory, and what libraries, threads and the file take beside it."""

HEAD = struct.Struct(">II")
"""The lengths of a message's JSON and of the bytes behind it."""

LATER_S = 5.0
"""How much later than its parent a child ends itself."""


def send(connection: socket.socket, about: object, data: bytes, until: float | None = None) -> None:
    """Send a message; raises `TimeoutError` where that takes longer than `until`."""
    head = json.dumps(about).encode()
    for part in (HEAD.pack(len(head), len(data)) + head, data):
        connection.settimeout(_left(until))
        connection.sendall(part)


def receive(connection: socket.socket, count: int, until: float | None = None) -> bytearray:
    """Receive so many bytes; raises `EOFError` where they end before, `TimeoutError` after `until`."""
    found = bytearray(count)
    left = memoryview(found)
    while left:
        connection.settimeout(_left(until))
        got = connection.recv_into(left)
        if not got:
            raise EOFError
        left = left[got:]
    return found


def _left(until: float | None) -> float | None:
    """Return the seconds until then: None for ever."""
    if until is None:
        return None
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _serve(function: str) -> None:
    """Decode what comes on the standard input, a socket, until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of the whole group, or unit: the parent still drains
        signal.signal(number, signal.SIG_IGN)
    for timer in (signal.SIGALRM, signal.SIGPROF):  # by default, each ends the process
        signal.signal(timer, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGPROF})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, _, name = function.partition(":")
    call = getattr(import_module(module), name)
    with suppress(PhotoRejected):  # all is loaded, then
        call(b"", Limits(), None)
    with suppress(OSError):  # where memory is short, rather this process than its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    used = _mapped()
    connection = socket.socket(fileno=0)
    with suppress(EOFError, ConnectionError):
        connection.sendall(b"\1")
        while True:
            length, count = HEAD.unpack(receive(connection, HEAD.size))
            about = json.loads(receive(connection, length))
            limits = Limits(**about["limits"])
            signal.setitimer(signal.ITIMER_REAL, limits.decoder_timeout_s + LATER_S)
            if used:
                most = used + _BYTES_PER_PIXEL * limits.max_pixels + _ROOM
                hard = resource.getrlimit(resource.RLIMIT_AS)[1]
                resource.setrlimit(
                    resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
                )
            data = receive(connection, count)
            signal.setitimer(signal.ITIMER_PROF, limits.max_seconds)  # of CPU time: standing still costs nothing
            answer = _decoded(call, data, limits, about["max_side"])
            signal.setitimer(signal.ITIMER_PROF, 0)
            send(connection, *answer)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _decoded(call: Any, data: bytearray, limits: Limits, max_side: int | None) -> tuple[object, bytes]:
    try:
        picture, size = call(bytes(data), limits, max_side)
        return {"picture": picture.size, "size": size}, picture.tobytes()
    except PhotoRejected as rejected:
        return {"code": rejected.code, "measured": rejected.measured}, b""
    except MemoryError:
        return {"code": ReasonCode.UNREADABLE_PHOTO, "measured": ()}, b""


def _mapped() -> int:
    """Return how many bytes of addresses are in use; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    _serve(sys.argv[1])
