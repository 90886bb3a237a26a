"""PostgreSQL as the stores use it: a pool of connections, every wait bounded, errors in our own words."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow
from psycopg_pool import ConnectionPool, PoolTimeout

from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.postgres_connections import (
    CONNECT_S,
    Connection,
    arguments_of,
    configure,
    place_of,
    require_alive,
    require_supported,
    require_utf8,
)
from selfiegate.postgres_errors import text_of, translated
from selfiegate.sql_database import PATIENCE_S, named

_AGAIN_S = 1.0
"""After so long a connection is asked for anew: the pool's own pauses between attempts would double without end."""
_FAILED = "a statement failed, so nothing of this transaction is kept"


class PostgresDatabase:
    """One PostgreSQL database, shared by processes on any number of machines. A commit is on disk when `write` returns.

    A thread takes a connection for each transaction and each read. All of the process share at most `size` of them.
    A commit whose answer is lost may have happened or not: the caller gets `BackendUnavailable` and repeats its write.

    Bounds: a connection is waited for `patience_s`, a lock and a statement as long, 5 s for one attempt to connect.
    The server ends a transaction that idles for twice `patience_s`. An answer that is overdue by 5 s ends the
    connection: the server hangs, or the line was cut in silence.
    """

    for_update = "FOR UPDATE"
    each_of_json = "(SELECT json_array_elements_text(CAST(? AS json)))"
    among_numbers = "= ANY(CAST(translate(?, '[]', '{}') AS bigint[]))"

    def __init__(self, url: str, patience_s: float = PATIENCE_S, size: int = 16) -> None:
        self._local = threading.local()
        self.place = place_of(url)
        self._patience_s, self._size, self._arguments = patience_s, size, arguments_of(url, patience_s)
        with self._translated():
            self._require_server()
        self._pool = ConnectionPool(
            connection_class=Connection,
            kwargs={**self._arguments, "autocommit": True},
            min_size=0,
            max_size=size,
            reconnect_timeout=_AGAIN_S,
            configure=configure,
            check=require_alive,
            open=True,
        )

    def read(self, sql: str, *parameters: Any) -> list[DictRow]:
        """Return all rows of one SELECT."""
        with self._translated(), self._connection() as connection:
            return connection.execute(*_translate(sql, parameters)).fetchall()

    def read_binary(self, sql: str, *parameters: Any) -> list[DictRow]:
        """Do the same, and let values come as bytes, not as text: what is large comes at half the size."""
        with self._translated(), self._connection() as connection:
            return connection.execute(*_translate(sql, parameters), binary=True).fetchall()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run one transaction; roll back where it raises.

        Within another one of the same thread it is a part of that. Where a statement failed, nothing is kept, also if
        the caller caught its error and went on.
        """
        if self.in_transaction:
            yield self._local.connection
            return
        with self._translated(), self._pooled() as connection:
            try:
                with connection.transaction():
                    self._local.connection = connection
                    yield connection
                    if connection.info.transaction_status == TransactionStatus.INERROR:  # COMMIT would say nothing
                        raise BackendUnavailable(f"{self.place}: {_FAILED}")
            finally:
                self._local.connection = None

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let this thread read what is committed, as others do, also within its transaction; by another connection."""
        connection, self._local.connection = getattr(self._local, "connection", None), None
        try:
            yield
        finally:
            self._local.connection = connection

    def execute(self, sql: str, *parameters: Any) -> int:
        """Run one statement in a transaction and return how many rows it changed."""
        with self._translated(), self._connection() as connection:
            return connection.execute(*_translate(sql, parameters)).rowcount

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, all in one transaction; `ValueError` for what no column can hold."""
        with self.write() as connection:
            try:
                connection.cursor().executemany(_in_its_words(sql).encode(), rows)
            except (psycopg.DataError, errors.DatatypeMismatch) as error:
                raise ValueError(text_of(error)) from error

    @property
    def in_transaction(self) -> bool:
        """Say whether this thread is within `write`."""
        return getattr(self._local, "connection", None) is not None

    def hold(self, lock: int, why_not: str) -> psycopg.Connection[DictRow]:
        """Take an advisory lock on a connection of its own, which holds it until that is closed or this process ends.

        Raises `BackendMisconfigured` with the reason where another process holds it for longer than `patience_s`.
        """
        with self._translated():
            connection = psycopg.connect(**self._arguments, autocommit=True)
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", (lock,))
            except (errors.LockNotAvailable, errors.QueryCanceled) as error:
                connection.close()
                raise BackendMisconfigured(f"{self.place}: {why_not}") from error
            return connection

    def close(self) -> None:
        """Give all connections back."""
        self._pool.close()

    def _translated(self) -> AbstractContextManager[None]:
        why = f"all {self._size} connections of this process were in use for {self._patience_s:g} s"
        return translated(self.place, why)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if self.in_transaction:
            yield self._local.connection
        else:
            with self._pooled() as connection:
                yield connection

    @contextmanager
    def _pooled(self) -> Iterator[Connection]:
        connection = self._taken(time.monotonic() + self._patience_s)
        connection.answer_s = self._patience_s + CONNECT_S
        try:
            yield connection
        finally:
            connection.used_at = time.monotonic()
            self._pool.putconn(connection)

    def _taken(self, give_up: float) -> Connection:
        while True:
            try:
                return self._pool.getconn(timeout=_AGAIN_S)
            except PoolTimeout:
                if time.monotonic() >= give_up:
                    self._require_server()  # tells why, where the server lets nobody in
                    raise

    def _require_server(self) -> None:
        with psycopg.connect(**self._arguments) as connection:
            require_supported(connection.info.server_version, self.place)
            require_utf8(connection.info.parameter_status("server_encoding"), self.place)


@lru_cache(256)
def _in_its_words(sql: str) -> str:
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", sql.replace("?", "%s"))


def _translate(sql: str, parameters: Sequence[Any]) -> tuple[Any, Any]:
    return _in_its_words(sql), named(tuple(parameters))
