"""A line to a server that may be cut."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress


class Line:
    """A line to a server, which is cut once in the place of passing on an answer."""

    def __init__(self, port: int) -> None:
        self._to, self._left = ("127.0.0.1", port), 0
        self._down_until = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def lose(self, nth: int) -> None:
        """Cut it in the place of the answer to this request from now; 0: never."""
        self._left = nth

    @property
    def was_cut(self) -> bool:
        """Say whether there were as many requests."""
        return self._left <= 0

    def cut_for(self, seconds: float) -> None:
        """Cut all connections, and let new ones end at once, for so long."""
        self._down_until = time.monotonic() + seconds

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._to) as server:  # what a server's end does
            cut = False
            while True:
                ready, _, _ = select.select([client, server], [], [], 0.05)
                if time.monotonic() < self._down_until:
                    return
                for one, other in ((client, server), (server, client)):
                    if one in ready:
                        data = one.recv(1 << 20)
                        if one is client and data[:1] in (b"Q", b"P", b"B"):  # a statement
                            self._left -= 1
                            cut = self._left == 0
                        if not data or (one is server and cut):
                            return
                        other.sendall(data)
