"""Numbered schemas in PostgreSQL: each start brings the tables to the number that its program knows.

The rules are those of `selfiegate/sqlite_schema.py`: a migration that was released never changes, and `oldest_program`
says which program may go on with the tables after it. Each part (records, gallery) has a number of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from selfiegate.errors import BackendMisconfigured
from selfiegate.postgres_connections import Connection
from selfiegate.postgres_database import PostgresDatabase

_SCHEMAS = """
CREATE TABLE IF NOT EXISTS selfiegate_schema (
    part text PRIMARY KEY, number integer NOT NULL, oldest_program integer NOT NULL)
"""
_LOCK = 7_355_608
"""An advisory lock of ours: of processes that start at once one migrates, the others wait for it."""
_LONGEST_S = 3600
"""How long a migration's statement may take; other processes that start meanwhile give up and try again."""


class Migration(NamedTuple):
    """One step forward; its number is its place in the sequence, from 1."""

    sql: str
    oldest_program: int
    """The lowest number that a program must know to use the tables afterwards."""


def migrate(database: PostgresDatabase, part: str, migrations: Sequence[Migration]) -> None:
    """Apply what is missing, all or nothing; raises `BackendMisconfigured` where the tables need a newer program."""
    if _missing(database, part, migrations):
        with database.write() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute(f"SET LOCAL statement_timeout = '{_LONGEST_S}s'".encode())
            connection.answer_s = _LONGEST_S
            _apply(database, connection, part, migrations)


def _apply(database: PostgresDatabase, connection: Connection, part: str, migrations: Sequence[Migration]) -> None:
    if not _has_numbers(database):
        _require_no_others(database)
        connection.execute(_SCHEMAS)
    missing = _missing(database, part, migrations)  # another process may have been quicker
    for migration in missing:
        connection.execute(migration.sql.encode())
    if missing:
        oldest = max(migration.oldest_program for migration in migrations)
        sql = """INSERT INTO selfiegate_schema (part, number, oldest_program) VALUES (?, ?, ?)
            ON CONFLICT (part) DO UPDATE SET number = excluded.number, oldest_program = excluded.oldest_program"""
        database.execute(sql, part, len(migrations), oldest)


def _require_no_others(database: PostgresDatabase) -> None:
    """Refuse a second set of tables: who sees either of them would accept the faces of the other."""
    sql = """SELECT nspname AS schema FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relname = 'selfiegate_schema' AND nspname <> ALL (current_schemas(true))"""
    if found := database.read(sql):
        raise BackendMisconfigured(
            f"{database.place} has selfiegate's tables in the schema {found[0]['schema']}, where this role does not "
            "look; use the role that made them, or set this role's search_path to that schema"
        )


def _missing(database: PostgresDatabase, part: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
    known = len(migrations)
    sql = "SELECT number, oldest_program FROM selfiegate_schema WHERE part = ?"
    rows = database.read(sql, part) if _has_numbers(database) else []
    number = rows[0]["number"] if rows else 0
    if number > known and rows[0]["oldest_program"] > known:
        raise BackendMisconfigured(
            f"the {part} in PostgreSQL have schema {number}, which takes a program of schema "
            f"{rows[0]['oldest_program']}, but this one knows {known}; install the version of selfiegate that was "
            "here before, or restore a backup of the time before it"
        )
    return migrations[number:]


def _has_numbers(database: PostgresDatabase) -> bool:
    return bool(database.read("SELECT to_regclass('selfiegate_schema') IS NOT NULL AS found")[0]["found"])
