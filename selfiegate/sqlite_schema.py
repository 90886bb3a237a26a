"""Numbered schemas of SQLite databases: each start brings a database to the number that its program knows.

To add migration N to a database, append a `Migration` to its tuple (`stores/sqlite_schema.py`, `galleries/sqlite.py`)
and never change one that was released. Old rows must read well after it, so a new column has a default. Where the
program before can still read and write the database (a new table, index, or column with a default), repeat the
`oldest_program` of the migration before: then both versions run side by side, and a rollback needs nothing. Anything
else takes two releases. The first one copes with both shapes; the second one migrates, with the first's number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from selfiegate.errors import BackendMisconfigured

_FLOOR = "CREATE TABLE IF NOT EXISTS schema_floor (oldest_program INTEGER NOT NULL)"


class Migration(NamedTuple):
    """One step forward; its number is its place in the tuple, from 1."""

    sql: str
    """Statements, each ended by a semicolon at the end of a line; they run in the transaction of the whole upgrade."""
    oldest_program: int
    """The lowest number that a program must know to use the database afterwards."""


class Schema(NamedTuple):
    """All migrations of a database, the first of which takes an empty file."""

    migrations: Sequence[Migration]
    adopt: Callable[[sqlite3.Connection], None] = lambda _: None
    """Brings a database that was made before numbers to what migration 1 makes; does nothing where it is that."""


def migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Apply what is missing, in the caller's transaction, which holds the write lock.

    Of processes that start at once the first one migrates. Raises `BackendMisconfigured` where the database needs a
    newer program, and where it is too old to be migrated.
    """
    known, number = len(schema.migrations), require_usable(connection, path, schema)
    if number == 0 and _columns(connection):
        schema.adopt(connection)
        _require_columns(connection, path, schema.migrations[0])
    for migration in schema.migrations[number:]:
        _apply(connection, migration)
    if number < known:
        connection.execute(_FLOOR)
        connection.execute("DELETE FROM schema_floor")
        oldest = max(migration.oldest_program for migration in schema.migrations)
        connection.execute("INSERT INTO schema_floor (oldest_program) VALUES (?)", (oldest,))
        connection.execute(f"PRAGMA user_version = {known}")


def require_usable(connection: sqlite3.Connection, path: Path, schema: Schema) -> int:
    """Return the database's number; raises `BackendMisconfigured` where it takes a program that knows more."""
    known, (number,) = len(schema.migrations), connection.execute("PRAGMA user_version").fetchone()
    if number <= known:
        return int(number)
    (oldest,) = connection.execute("SELECT coalesce(max(oldest_program), ?) FROM schema_floor", (number,)).fetchone()
    if oldest > known:
        raise BackendMisconfigured(
            f"{path} has schema {number}, which takes a program of schema {oldest}, but this one knows {known}; "
            "install the version of selfiegate that was here before, or restore a backup of the time before it"
        )
    return int(number)


def _require_columns(connection: sqlite3.Connection, path: Path, first: Migration) -> None:
    """Refuse a database from before numbers whose tables have not the columns that migration 1 gives them."""
    fresh = sqlite3.connect(":memory:")
    _apply(fresh, first)
    held = _columns(connection)
    tables = {table for table, _, _ in held}
    missing = sorted(f"{table}.{name}" for table, name, kind in _columns(fresh) - held if table in tables)
    fresh.close()
    if missing:
        raise BackendMisconfigured(
            f"{path} is of a version of selfiegate too old to be upgraded (it has no {', '.join(missing)} of today's "
            "kind); move it away with the other files of SELFIEGATE_HOME and enrol everybody again"
        )


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """Return table, column and type of all columns."""
    sql = "SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'"
    return {tuple(row) for row in connection.execute(sql)}


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    for statement in _statements(migration.sql):
        connection.execute(statement)


def _statements(sql: str) -> Iterator[str]:
    """Split statements, one by one because `executescript` would commit first."""
    statement = ""
    for line in sql.strip().splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement:
        raise ValueError(f"a migration ends without a semicolon: {statement}")
