"""SQLite as the embedded stores use it: WAL, full sync, many processes, errors in our own words."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.home_use import used
from selfiegate.local_disk import require_local
from selfiegate.sql_database import PATIENCE_S, named
from selfiegate.sqlite_schema import Schema, migrate, require_usable

_WRONG_FOLDER = (PermissionError, FileExistsError, NotADirectoryError)
_NOT_WRITABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")


class Database:
    """One SQLite file; a connection per thread. A commit is on disk when `write` returns."""

    for_update = ""
    """A transaction holds the file's write lock from its start."""
    each_of_json = "(SELECT value FROM json_each(?))"
    among_numbers = f"IN {each_of_json}"

    def __init__(self, path: Path, schema: Schema, patience_s: float = PATIENCE_S) -> None:
        self._path, self._schema, self._patience_s = path, schema, patience_s
        self._local, self._file = threading.local(), (0, 0)
        with self._translated():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_local(path.parent)
            self._use = used(path.parent)
            path.touch(mode=0o600)  # biometric: for this user alone; SQLite's other files follow it
            self._file = _identity(path)
            self._create()

    def read(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """Return all rows of one SELECT."""
        with self._translated():
            return self._current().execute(sql, parameters).fetchall()

    @property
    def in_transaction(self) -> bool:
        """Say whether this thread is within `write`."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        return connection is not None and connection.in_transaction

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction that holds the write lock from its start; roll back where it raises.

        Within another one of the same thread it is a part of that.
        """
        with self._translated():
            connection = self._current()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                require_usable(connection, self._path, self._schema)  # a newer program may have migrated it meanwhile
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def execute(self, sql: str, *parameters: Any) -> int:
        """Run one statement in a transaction and return how many rows it changed."""
        with self.write() as connection:
            return connection.execute(sql, named(parameters)).rowcount

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, all in one transaction; `ValueError` for what is no text."""
        with self.write() as connection:
            connection.executemany(sql, rows)

    def close(self) -> None:
        """Use the file no more; other threads may not be at it."""
        if connection := getattr(self._local, "connection", None):
            connection.close()
            self._local.connection = None
        self._use.close()

    def _current(self) -> sqlite3.Connection:
        """Return this thread's connection, unless the file that it has open lies there no more."""
        connection = self._connection()
        if not connection.in_transaction and _identity(self._path) != self._file:
            raise BackendMisconfigured(
                f"{self._path} was removed or replaced while it was in use, and what is written now would be lost; "
                "put it back and start again; see 'A gallery or records that are lost' in docs/operations.md"
            )
        return connection

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=self._patience_s, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.text_factory = _text
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")  # a removed embedding is overwritten, not only unlinked
            self._local.connection = connection
        return connection

    def _create(self) -> None:
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                # SQLite does not wait for the lock when it turns a new file into WAL.
                require_wal(self._connection(), self._path)
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
        with self.write() as connection:
            migrate(connection, self._path, self._schema)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            if isinstance(error, _WRONG_FOLDER) or getattr(error, "sqlite_errorname", "").startswith(_NOT_WRITABLE):
                raise BackendMisconfigured(
                    f"cannot write {self._path}: {error}; set SELFIEGATE_HOME to a folder that can be written"
                ) from error
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:  # no such table, no such column ...
                raise BackendMisconfigured(
                    f"{self._path} has not the tables of this version of selfiegate: {error}; install the version that "
                    "wrote it, or restore it from a backup"
                ) from error
            raise BackendUnavailable(f"{self._path}: {error}") from error  # locked, disk full, I/O error
        except sqlite3.DatabaseError as error:
            raise BackendMisconfigured(
                f"{self._path} is not a usable database ({error}); restore it from a backup or move it away"
            ) from error


def require_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Turn a database to WAL; refuse a file system that does not have what it takes, where SQLite just answers so."""
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise BackendMisconfigured(
            f"{path} stays in journal mode {mode!r}, for its file system has no shared memory; "
            "set SELFIEGATE_HOME to a folder on this machine's own disk"
        )


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def _text(stored: bytes) -> str:
    """Decode a text; one that is damaged is refused where its row is read, not where all rows are fetched."""
    return stored.decode(errors="surrogateescape")
