"""The stores in PostgreSQL, on a real server."""

# ruff: noqa: S608  the only text put into statements are the names below

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from selfiegate.errors import BackendMisconfigured
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.postgres_schema import Migration, migrate
from selfiegate.records import Records
from selfiegate.stores.postgres_records import postgres_records
from tests.contract.records import RecordsContract, SharedRecordsContract, Storage
from tests.postgres import PATIENCE_S, PostgresServer


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(postgres.database("contract"))
    yield database
    database.close()


class TestPostgresRecords(RecordsContract, SharedRecordsContract):
    @pytest.fixture
    def records(self, database: PostgresDatabase) -> Records:
        return postgres_records(database)

    @pytest.fixture
    def storage(self, postgres: PostgresServer) -> Storage:
        return PostgresStorage(postgres.url("contract"))


class PostgresStorage:
    """Writes to the tables behind the program's back."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add_fields(self, user_id: str) -> None:
        later = "jsonb_set({0}::jsonb, '{{later}}', '1')"
        with_later = "jsonb_set(contests::jsonb, '{0,later}', '1')::json"
        contest = f"CASE json_array_length(contests) WHEN 0 THEN contests ELSE {with_later} END"
        sets = f"photo = {later.format('photo')}, verdict = {later.format('verdict')}, contests = {contest}"
        self._run(f"UPDATE claims SET {sets} WHERE user_id = %s", user_id)
        self._run(f"UPDATE profiles SET profile = {later.format('profile')} WHERE user_id = %s", user_id)
        self._run(f"UPDATE erasures SET erasure = {later.format('erasure')} WHERE user_id = %s", user_id)

    def has_field(self, kind: str, user_id: str) -> bool:
        return self._run(f"SELECT {kind} ->> 'later' FROM {kind}s WHERE user_id = %s", user_id) == [("1",)]

    def damage(self, kind: str, user_id: str) -> None:
        change = "status = 'paused'" if kind == "claim" else f"""{kind} = '"damaged"'"""
        self._run(f"UPDATE {kind}s SET {change} WHERE user_id = %s", user_id)

    def _run(self, sql: str, user_id: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self._url) as connection:
            done = connection.execute(sql.encode(), (user_id,))
            return done.fetchall() if done.description else []


def test_starts_at_one_moment_make_one_schema(postgres: PostgresServer) -> None:
    url, at_once = postgres.database("starts"), threading.Barrier(6, timeout=PATIENCE_S)

    def start(database: PostgresDatabase) -> str:
        at_once.wait()
        return postgres_records(database).known_gallery.records_id

    databases = [PostgresDatabase(url) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(start, databases))
    for database in databases:
        database.close()

    assert len(set(answers)) == 1


def test_a_migration_that_fails_changes_nothing(database: PostgresDatabase) -> None:
    wrong = (Migration("CREATE TABLE half (one int)", 1), Migration("CREATE TABLE half (one int)", 1))

    with pytest.raises(BackendMisconfigured, match=r'relation "half" already exists'):
        migrate(database, "half", wrong)
    assert database.read("SELECT to_regclass('half') AS found")[0]["found"] is None


def test_tables_of_a_newer_program_are_used_only_where_it_allows_that(database: PostgresDatabase) -> None:
    first, second = (Migration(f"CREATE TABLE {name} (one int)", 1) for name in ("first", "second"))
    migrate(database, "tables", (first, second))
    migrate(database, "tables", (first,))
    migrate(database, "tables", (first, second, Migration("DROP TABLE first", 3)))

    with pytest.raises(BackendMisconfigured, match=r"takes a program of schema 3, but this one knows 2"):
        migrate(database, "tables", (first, second))
