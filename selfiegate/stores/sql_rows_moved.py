"""The records in a SQL database as rows: a move takes them as they are, those that nobody can read included."""

# ruff: noqa: S608  the only text put into statements are the names of `moved_rows`

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from selfiegate.errors import BackendMisconfigured
from selfiegate.moved_rows import ERASURES, TABLES, Left, Row, Table
from selfiegate.sql_database import SqlDatabase, SqlRow

_AT_ONCE = 2_000
"""Rows: some megabytes."""


class SqlRows:
    """The rows of SQLite or PostgreSQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._db = database

    def pages(self, table: Table) -> Iterator[tuple[Sequence[Row], Sequence[Left]]]:
        """Go through all rows in the order of their keys."""
        key, marks = ", ".join(table.key), ", ".join("?" * len(table.key))
        sql = f"SELECT * FROM {table.name} WHERE ({key}) > ({marks}) ORDER BY {key} LIMIT {_AT_ONCE}"
        last: tuple[str, ...] = ("",) * len(table.key)
        while rows := [_row(table, row) for row in self._db.read(sql, *last)]:
            yield rows, ()
            last = table.key_of(rows[-1])

    def put(self, table: Table, rows: Sequence[Row]) -> Sequence[Left]:
        """Store rows; where the database refuses some, find out which."""
        if self._put(table, rows) is None:
            return ()
        refused = ((table.key_of(row), self._put(table, [row])) for row in rows)
        return [Left(table.name, key, why) for key, why in refused if why is not None]

    def _put(self, table: Table, rows: Sequence[Row]) -> str | None:
        sql = f"""INSERT INTO {table.name} ({", ".join(table.columns)}) VALUES ({", ".join("?" * len(table.columns))})
            ON CONFLICT DO NOTHING"""
        try:
            self._db.execute_many(sql, rows)
        except ValueError as error:  # no such text or number can be stored there
            return str(error)
        return None

    def same(self, table: Table, rows: Sequence[Row]) -> bool:
        """Compare rows value by value."""
        sql = f"SELECT * FROM {table.name} WHERE user_id IN {self._db.each_of_json}"
        users = json.dumps(sorted({row[0] for row in rows}))
        return set(rows) <= {_row(table, row) for row in self._db.read(sql, users)}

    def count(self, table: Table) -> int:
        """Count all rows."""
        return int(self._db.read(f"SELECT count(*) AS rows FROM {table.name}")[0]["rows"])

    def empty(self) -> None:
        """Remove all rows, some at a time."""
        for table in TABLES:
            key = ", ".join(table.key)
            some = f"SELECT {key} FROM {table.name} LIMIT {_AT_ONCE}"
            while self._db.execute(f"DELETE FROM {table.name} WHERE ({key}) IN ({some})"):
                pass
        self._db.execute("DELETE FROM audit_bookmark")


def _row(table: Table, row: SqlRow) -> Row:
    if unknown := sorted(set(row.keys()) - set(table.columns)):
        raise BackendMisconfigured(
            f"{table.name} has columns that this version does not know ({', '.join(unknown)}) and would lose; install "
            "the version of selfiegate that wrote them"
        )
    values = tuple(row[name] for name in table.columns)
    return values if table is not ERASURES else (*values[:2], bool(values[2]), *values[3:])
