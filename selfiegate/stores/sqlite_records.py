"""The records in one SQLite file, for all processes of one machine."""

from __future__ import annotations

from pathlib import Path

from selfiegate.records import Records
from selfiegate.sql_database import PATIENCE_S
from selfiegate.sqlite_database import Database
from selfiegate.stores.sql_records import sql_records
from selfiegate.stores.sqlite_schema import RECORDS


def sqlite_records(path: Path, patience_s: float = PATIENCE_S) -> Records:
    """Open or create the file."""
    return sql_records(Database(path, RECORDS, patience_s))
