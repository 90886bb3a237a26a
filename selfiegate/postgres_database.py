"""PostgreSQL as the stores use it: a pool of connections, every wait bounded, errors in our own words."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.string import TextLoader
from psycopg_pool import ConnectionPool, PoolTimeout

from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.sql_database import PATIENCE_S, named

_CONNECT_S = 5
"""How long one attempt to connect to one host may take."""
FRESH_S = 1.0
"""A connection that was used within this time is handed out without asking the server whether it lives."""
_AGAIN_S = 1.0
"""After so long a connection is asked for anew: the pool's own pauses between attempts would double without end."""
_OLDEST = 15
logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of is raised, in our words
_MISCONFIGURED = (
    psycopg.ProgrammingError,  # no such table, no right to it, and the like
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
)
_REFUSED = re.compile(
    r"password authentication failed|no password supplied|(database|role) .* does not exist|no pg_hba|"
    r"permission denied for database|invalid connection option|could not parse"
)
"""What a server answers to a connection that will never be let in; libpq hands out no code for it."""
_FAILED = "a statement failed, so nothing of this transaction is kept"
_SYNC = ("synchronous_commit",)
R = TypeVar("R")


class Connection(psycopg.Connection[DictRow]):
    """A connection that gives up an overdue answer; the server's own bounds end nothing where it hangs."""

    answer_s: float = _CONNECT_S
    used_at: float = -math.inf
    """When it was last given back, on the monotonic clock."""

    def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        """Wait for one answer, at most `answer_s`."""
        try:
            return super().wait(gen, interval, self.answer_s if timeout is None else timeout)
        except psycopg.OperationalError as error:
            is_overdue = error.sqlstate is None and self.info.transaction_status == TransactionStatus.ACTIVE
            if timeout is None and is_overdue:  # the pool closes it
                raise psycopg.OperationalError(f"no answer for {self.answer_s:g} s") from error
            raise


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
        self.place = _place(url)
        self._patience_s, self._arguments = patience_s, _arguments(url, patience_s)
        with self._translated():
            self._require_server()
        self._pool = ConnectionPool(
            connection_class=Connection,
            kwargs={**self._arguments, "autocommit": True},
            min_size=0,
            max_size=size,
            reconnect_timeout=_AGAIN_S,
            configure=_configure,
            check=_check,
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
                raise ValueError(_text(error)) from error

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
        connection.answer_s = self._patience_s + _CONNECT_S
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
            _require_utf8(connection.info.parameter_status("server_encoding"), self.place)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _MISCONFIGURED as error:
            raise BackendMisconfigured(f"{self.place}: {_text(error)}; {_mend(error)}") from error
        except PoolTimeout as error:
            why = f"all {self._pool.max_size} connections of this process were in use for {self._patience_s:g} s"
            raise BackendUnavailable(f"{self.place}: {why}") from error
        except psycopg.OperationalError as error:
            why = _text(error)
            if error.sqlstate is None and _REFUSED.search(why):
                raise BackendMisconfigured(f"{self.place}: {why}; mend SELFIEGATE_DATABASE") from error
            raise BackendUnavailable(f"{self.place}: {why}") from error
        except psycopg.Error as error:
            raise BackendUnavailable(f"{self.place}: {_text(error)}") from error


def require_supported(version: int, place: str) -> None:
    """Refuse a server whose version (150004 is 15.4) is too old."""
    if version < _OLDEST * 10_000:
        raise BackendMisconfigured(f"{place} is version {version // 10_000}; selfiegate needs {_OLDEST} or later")


def _require_utf8(encoding: str | None, place: str) -> None:
    if encoding != "UTF8":
        raise BackendMisconfigured(
            f"{place} has the encoding {encoding}, which cannot hold every user id and file name; make another one by "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and set SELFIEGATE_DATABASE to it"
        )


def _arguments(url: str, patience_s: float) -> dict[str, Any]:
    milliseconds = round(patience_s * 1000)
    bounds = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": 2 * milliseconds,
        "default_transaction_isolation": r"read\ committed",
    }
    arguments = {
        "connect_timeout": _CONNECT_S,
        "application_name": "selfiegate",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "target_session_attrs": "read-write",  # after a failover: the server that took over
        **psycopg.conninfo.conninfo_to_dict(url),  # what the operator sets goes first
    }
    asked = arguments.get("options") or ""
    arguments["options"] = " ".join([*(f"-c {name}={value}" for name, value in bounds.items()), str(asked)]).strip()
    return {**arguments, "client_encoding": "UTF8", "row_factory": dict_row}


def _configure(connection: Connection) -> None:
    connection.adapters.register_loader("json", TextLoader)  # stored values are read by pydantic, from text
    connection.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting(%s) = 'off'", _SYNC)


def _check(connection: Connection) -> None:
    if time.monotonic() - connection.used_at < FRESH_S:
        return
    connection.answer_s = _CONNECT_S
    ConnectionPool.check_connection(connection)


@lru_cache(256)
def _in_its_words(sql: str) -> str:
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", sql.replace("?", "%s"))


def _translate(sql: str, parameters: Sequence[Any]) -> tuple[Any, Any]:
    return _in_its_words(sql), named(tuple(parameters))


def _place(url: str) -> str:
    """Name a database without its password."""
    parts = None
    with suppress(psycopg.ProgrammingError):  # its text may hold the password
        parts = psycopg.conninfo.conninfo_to_dict(url)
    if parts is None or not url:
        raise BackendMisconfigured("SELFIEGATE_DATABASE is no address: write postgresql://USER@HOST/DATABASE")
    return f"PostgreSQL {parts.get('dbname', '')} at {parts.get('host', 'localhost')}:{parts.get('port', 5432)}"


def _text(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__


def _mend(error: Exception) -> str:
    if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn | errors.UndefinedFunction):
        return "these are not the tables of this version of selfiegate; restore the database from a backup"
    if isinstance(error, errors.InsufficientPrivilege):
        return "grant it to the role, or run `selfiegate database upgrade` as a role that may create tables"
    return "mend SELFIEGATE_DATABASE"
