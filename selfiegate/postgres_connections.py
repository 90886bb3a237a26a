"""Connections to PostgreSQL: how they are asked for, what bounds each wait, and what a server must be."""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.string import TextLoader
from psycopg_pool import ConnectionPool

from selfiegate.errors import BackendMisconfigured

CONNECT_S = 5
"""How long one attempt to connect to one host may take."""
FRESH_S = 1.0
"""A connection that was used within this time is handed out without asking the server whether it lives."""
_OLDEST = 15
logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of is raised, in our words
_SYNC = ("synchronous_commit",)
R = TypeVar("R")


class Connection(psycopg.Connection[DictRow]):
    """A connection that gives up an overdue answer; the server's own bounds end nothing where it hangs."""

    answer_s: float = CONNECT_S
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


def require_supported(version: int, place: str) -> None:
    """Refuse a server whose version (150004 is 15.4) is too old."""
    if version < _OLDEST * 10_000:
        raise BackendMisconfigured(f"{place} is version {version // 10_000}; selfiegate needs {_OLDEST} or later")


def require_utf8(encoding: str | None, place: str) -> None:
    if encoding != "UTF8":
        raise BackendMisconfigured(
            f"{place} has the encoding {encoding}, which cannot hold every user id and file name; make another one by "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and set SELFIEGATE_DATABASE to it"
        )


def arguments_of(url: str, patience_s: float) -> dict[str, Any]:
    milliseconds = round(patience_s * 1000)
    bounds = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": 2 * milliseconds,
        "default_transaction_isolation": r"read\ committed",
    }
    arguments = {
        "connect_timeout": CONNECT_S,
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


def configure(connection: Connection) -> None:
    connection.adapters.register_loader("json", TextLoader)  # stored values are read by pydantic, from text
    connection.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting(%s) = 'off'", _SYNC)


def require_alive(connection: Connection) -> None:
    if time.monotonic() - connection.used_at < FRESH_S:
        return
    connection.answer_s = CONNECT_S
    ConnectionPool.check_connection(connection)


def place_of(url: str) -> str:
    """Name a database without its password."""
    parts = None
    with suppress(psycopg.ProgrammingError):  # its text may hold the password
        parts = psycopg.conninfo.conninfo_to_dict(url)
    if parts is None or not url:
        raise BackendMisconfigured("SELFIEGATE_DATABASE is no address: write postgresql://USER@HOST/DATABASE")
    return f"PostgreSQL {parts.get('dbname', '')} at {parts.get('host', 'localhost')}:{parts.get('port', 5432)}"
