"""A real PostgreSQL for tests, on a port of its own; it can be killed, paused and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from deployments.local.postgres import LocalPostgres
from deployments.local.processes import free_port
from selfiegate.errors import BackendMisconfigured

PATIENCE_S = 120.0


class PostgresServer:
    """One server with a data folder; a test that needs it is skipped where none can run."""

    def __init__(self, durable: bool = False) -> None:
        """Make its data and start it; where it is to survive a power failure, too, its writes are slower."""
        self._fsync = "fsync=on" if durable else "fsync=off"
        try:
            self._ours = LocalPostgres(free_port())
        except BackendMisconfigured as error:
            pytest.skip(f"no PostgreSQL: {error}")
        self.port, self.programs, self._data = self._ours.port, self._ours.programs, self._ours.data
        (self._data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")  # tests are any role
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = list[int]()
        self.start()

    def url(self, database: str = "postgres") -> str:
        """Return the address of one of its databases."""
        return f"postgresql://selfiegate@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with (self._ours.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._ours.command(self._fsync), stderr=log, stdout=log, cwd=self._ours.folder, **self._ours.user
            )
        give_up = time.monotonic() + PATIENCE_S
        while not self._ours.answers():
            assert time.monotonic() < give_up, f"no answer; see {self._ours.folder}/log"
            assert self._process.poll() is None, (self._ours.folder / "log").read_text()
            time.sleep(0.05)

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
        self._ours.remove()

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
        self.ask_for_passwords(*of)

    def ask_for_passwords(self, *roles: str) -> None:
        """Let roles in with their password alone, whether they are there yet or not."""
        rules = self._data / "pg_hba.conf"
        rules.write_text("".join(f"host all {role} all scram-sha-256\n" for role in roles) + rules.read_text())
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    def _end(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None
