"""The records in PostgreSQL, for processes on any number of machines."""

from __future__ import annotations

from selfiegate.postgres_database import PostgresDatabase
from selfiegate.postgres_schema import migrate
from selfiegate.records import Records
from selfiegate.stores.postgres_schema import RECORDS
from selfiegate.stores.sql_records import sql_records


def postgres_records(database: PostgresDatabase) -> Records:
    """Bring the tables up to date, and keep all in them."""
    migrate(database, "records", RECORDS)
    return sql_records(database)
