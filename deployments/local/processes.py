"""Processes that belong together: started in order, started again when they die, stopped in reverse."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from selfiegate.errors import BackendUnavailable

_log = logging.getLogger(__name__)


@dataclass
class Part:
    """One process; what it prints goes to `log`."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    ready: Callable[[], bool] = lambda: True
    cwd: Path | None = None
    keep: Sequence[int] = ()
    """Open files that it shares with us until it ends: a lock, say."""
    patience_s: float = 120.0
    """How long it may take to be ready: Prefect's first start migrates its database."""
    user: Mapping[str, Any] = field(default_factory=dict)
    """What makes `subprocess` run it as another user."""
    stop_signal: signal.Signals = signal.SIGTERM
    starts: int = field(default=0, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the process without waiting for it; Ctrl-C does not reach it but through us."""
        self.log.touch(mode=0o600)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603  commands of our own
                self.command,
                env=dict(self.env),
                cwd=self.cwd,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.keep,
                umask=0o077,  # Prefect's database and the logs name users
                **self.user,
            )
        self.starts += 1

    def wait_until_ready(self) -> None:
        """Raise `BackendUnavailable`, with the end of its log, where it dies or is not ready in time."""
        give_up = time.monotonic() + self.patience_s
        while not self.ready():
            if not self.alive or time.monotonic() > give_up:
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise BackendUnavailable(f"{self.name} did not start; the end of {self.log}:\n{last}")
            time.sleep(0.1)

    @property
    def alive(self) -> bool:
        """Say whether it runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # with its children: it leads a session of its own
            self.process.wait()

    def ask_to_stop(self) -> None:
        """Send the signal that ends it."""
        if self.process and self.alive:
            self.process.send_signal(self.stop_signal)

    def stop(self, patience_s: float = 30.0) -> None:
        """Ask it to end, and end it where it does not."""
        if self.process is None or not self.alive:
            return
        self.ask_to_stop()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
            return
        _log.warning("%s did not stop in %.0f s and is killed", self.name, patience_s)
        self.kill()


def restart_dead(parts: Sequence[Part]) -> None:
    """Start again what has died."""
    for part in parts:
        if part.process is not None and not part.alive:
            _log.warning("%s ended with %s and is started again; see %s", part.name, part.process.returncode, part.log)
            part.start()


def answers(url: str) -> bool:
    """Say whether a URL answers with success."""
    with suppress(URLError, OSError), urlopen(url, timeout=2) as reply:  # noqa: S310  http on this machine
        return bool(reply.status == 200)
    return False


def free_port(wanted: int = 0) -> int:
    """Return a port of this machine that nothing listens on: the wanted one, where it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
