"""What PostgreSQL's failures become at our edge, on a server that is killed, full, locked or set up wrong."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.model import PhotoRef
from selfiegate.postgres_connections import FRESH_S, require_supported
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.postgres_schema import Migration, migrate
from selfiegate.stores.postgres_records import postgres_records
from tests.postgres import PATIENCE_S, PostgresServer

PHOTO = PhotoRef(bucket="photos", key="ann/1.jpg", version="1")
SHORT_S = 3.0
"""How patient the databases of these tests are, seconds."""


def _run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.database("errors")


@pytest.fixture
def database(url: str) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(url, SHORT_S)
    yield database
    database.close()


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that a test may kill."""
    server = PostgresServer()
    yield server
    server.stop()


def test_a_server_that_is_killed_and_started_again_serves_the_same_process(own: PostgresServer) -> None:
    records = postgres_records(database := PostgresDatabase(own.database("killed"), SHORT_S))
    claim = records.ledger.claim(PHOTO, "ann", "run", 60)
    own.kill()

    with pytest.raises(BackendUnavailable):
        records.ledger.get(PHOTO, "ann")
    own.start()
    assert records.ledger.get(PHOTO, "ann") == claim
    assert records.ledger.renew(claim, 60)
    database.close()


def test_a_transaction_whose_server_dies_is_rolled_back_whole(own: PostgresServer) -> None:
    records = postgres_records(database := PostgresDatabase(own.database("half"), SHORT_S))

    def half() -> None:
        with records.ledger.batch():
            records.ledger.claim(PHOTO, "ann", "run", 60)
            own.kill()

    with pytest.raises(BackendUnavailable):
        half()
    own.start()
    assert records.ledger.get(PHOTO, "ann") is None
    database.close()


def test_no_server_is_said_before_anything_begins(own: PostgresServer) -> None:
    own.kill()

    with pytest.raises(BackendUnavailable, match=r"PostgreSQL postgres at 127\.0\.0\.1:\d+: .*refused"):
        PostgresDatabase(own.url(), SHORT_S)
    own.start()


def test_a_connection_that_is_ended_is_replaced(database: PostgresDatabase, url: str) -> None:
    def ended() -> None:
        with database.write():
            (row,) = database.read("SELECT pg_backend_pid() AS pid")
            _run(url, f"SELECT pg_terminate_backend({row['pid']}, 5000)")
            database.read("SELECT 1")

    with pytest.raises(BackendUnavailable):
        ended()
    assert database.read("SELECT 1 AS one")[0]["one"] == 1


def test_of_two_in_a_deadlock_one_is_to_try_again(database: PostgresDatabase, url: str) -> None:
    _run(url, "CREATE TABLE pairs (id int PRIMARY KEY, n int)", "INSERT INTO pairs VALUES (1, 0), (2, 0)")
    both, raised = threading.Barrier(2, timeout=PATIENCE_S), list[Exception]()

    def add(first: int, second: int) -> None:
        try:
            with database.write():
                database.execute("UPDATE pairs SET n = n + 1 WHERE id = ?", first)
                both.wait()
                database.execute("UPDATE pairs SET n = n + 1 WHERE id = ?", second)
        except BackendUnavailable as error:
            raised.append(error)

    threads = [threading.Thread(target=add, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert ["deadlock" in str(error) for error in raised] == [True]
    assert [row["n"] for row in database.read("SELECT n FROM pairs")] == [1, 1]


def test_a_serialization_failure_is_to_be_tried_again(url: str) -> None:
    strict = f"{url}?options=-c%20default_transaction_isolation%3Dserializable"
    database = PostgresDatabase(strict, SHORT_S)
    _run(url, "CREATE TABLE counts (n int)", "INSERT INTO counts VALUES (0)")

    def late() -> None:
        with database.write():
            database.read("SELECT n FROM counts")
            _run(url, "UPDATE counts SET n = 1")
            database.execute("UPDATE counts SET n = 2")

    with pytest.raises(BackendUnavailable, match="could not serialize"):
        late()
    database.close()


def test_a_lock_is_waited_for_so_long_and_no_longer(database: PostgresDatabase, url: str) -> None:
    records = postgres_records(database)
    records.ledger.claim(PHOTO, "ann", "run", 60)
    with psycopg.connect(url) as holder:
        holder.execute("SELECT * FROM claims FOR UPDATE")

        with pytest.raises(BackendUnavailable, match="timeout"):
            records.ledger.claim(PHOTO, "ann", "run", 60)


def test_a_statement_takes_so_long_and_no_longer(database: PostgresDatabase) -> None:
    with pytest.raises(BackendUnavailable, match="statement timeout"):
        database.read("SELECT pg_sleep(600)")


def test_a_transaction_that_idles_is_ended(url: str) -> None:
    database = PostgresDatabase(url, 0.5)

    def idle() -> None:
        with database.write():
            database.read("SELECT 1")
            time.sleep(3)
            database.read("SELECT 1")

    with pytest.raises(BackendUnavailable):
        idle()
    database.close()


def test_a_pool_without_a_free_connection_says_so(url: str) -> None:
    database = PostgresDatabase(url, SHORT_S, size=1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            held.set()
            done.wait(PATIENCE_S)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(PATIENCE_S)

    try:
        with pytest.raises(BackendUnavailable, match="all 1 connections of this process were in use"):
            database.read("SELECT 1")
    finally:
        done.set()
        thread.join(PATIENCE_S)
        database.close()


def test_a_server_with_too_many_connections_is_to_be_tried_again(postgres: PostgresServer, url: str) -> None:
    _run(url, "DROP ROLE IF EXISTS few", "CREATE ROLE few LOGIN CONNECTION LIMIT 0")

    with pytest.raises(BackendUnavailable, match="too many connections"):
        PostgresDatabase(url.replace("selfiegate@", "few@"), SHORT_S)


def test_a_standby_is_no_place_to_write_to(url: str) -> None:
    read_only = f"{url}?target_session_attrs=any&options=-c%20default_transaction_read_only%3Don"
    database = PostgresDatabase(read_only, SHORT_S)

    with pytest.raises(BackendUnavailable, match="read-only transaction"):
        database.execute("CREATE TABLE any_table (one int)")
    database.close()


def test_an_unknown_database_is_the_operators(postgres: PostgresServer) -> None:
    with pytest.raises(BackendMisconfigured, match=r'database "nowhere" does not exist; mend SELFIEGATE_DATABASE'):
        PostgresDatabase(postgres.url("nowhere"), SHORT_S)


def test_an_unknown_role_is_the_operators(url: str) -> None:
    with pytest.raises(BackendMisconfigured, match=r'role "stranger" does not exist; mend SELFIEGATE_DATABASE'):
        PostgresDatabase(url.replace("selfiegate@", "stranger@"), SHORT_S)


def test_a_wrong_password_is_the_operators_and_not_shown(own: PostgresServer) -> None:
    own.require_passwords({"guarded": "right"})
    right, wrong = (own.url().replace("selfiegate@", f"guarded:{word}@") for word in ("right", "hunter2"))
    PostgresDatabase(right, SHORT_S).close()

    with pytest.raises(BackendMisconfigured, match="password authentication failed") as refused:
        PostgresDatabase(wrong, SHORT_S)
    assert "hunter2" not in str(refused.value)


def test_a_password_that_is_changed_meanwhile_is_the_operators(own: PostgresServer) -> None:
    own.require_passwords({"guarded": "right"})
    database = PostgresDatabase(own.url().replace("selfiegate@", "guarded:right@"), SHORT_S)
    _run(
        own.url(),
        "ALTER ROLE guarded PASSWORD 'other'",
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'guarded'",
    )

    with pytest.raises(BackendMisconfigured, match="password authentication failed"):
        database.read("SELECT 1")
    database.close()


def test_a_password_that_is_not_set_is_the_operators(own: PostgresServer) -> None:
    own.require_passwords({"guarded": "right"})

    with pytest.raises(BackendMisconfigured, match="no password supplied"):
        PostgresDatabase(own.url().replace("selfiegate@", "guarded@"), SHORT_S)


def test_a_role_that_may_not_make_tables_needs_them_to_be_made(url: str) -> None:
    _run(url, "DROP ROLE IF EXISTS worker", "CREATE ROLE worker LOGIN")
    owner, worker = PostgresDatabase(url, SHORT_S), PostgresDatabase(url.replace("selfiegate@", "worker@"), SHORT_S)

    with pytest.raises(BackendMisconfigured, match=r"permission denied for schema public; .*database upgrade"):
        postgres_records(worker)
    postgres_records(owner)
    with pytest.raises(BackendMisconfigured, match=r"permission denied for table .*; grant it to the role"):
        postgres_records(worker)
    _run(url, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO worker")
    assert postgres_records(worker).ledger.claim(PHOTO, "ann", "run", 60).owner == "run"
    owner.close()
    worker.close()
    _run(url, "DROP OWNED BY worker", "DROP ROLE worker")


def test_tables_in_a_schema_that_a_role_does_not_see_are_not_made_twice(url: str) -> None:
    """The role that upgrades may have a schema of its own name, and then its tables lie there, not in `public`."""
    _run(url, "DROP ROLE IF EXISTS other", "CREATE ROLE other LOGIN", "CREATE SCHEMA other AUTHORIZATION other")
    of_other = PostgresDatabase(url.replace("selfiegate@", "other@"), SHORT_S)
    postgres_records(of_other)
    for_us = PostgresDatabase(url, SHORT_S)

    for _ in range(2):
        with pytest.raises(BackendMisconfigured, match="has selfiegate's tables in the schema other,"):
            postgres_records(for_us)
    _run(url, "ALTER DATABASE errors SET search_path = other")
    with closing(PostgresDatabase(url, SHORT_S)) as again:
        assert postgres_records(again).known_gallery.records_id == postgres_records(of_other).known_gallery.records_id
    for database in (of_other, for_us):
        database.close()
    _run(url, "DROP OWNED BY other", "DROP ROLE other")


def test_tables_that_somebody_removed_are_the_operators(database: PostgresDatabase, url: str) -> None:
    records = postgres_records(database)
    _run(url, "DROP TABLE claims")

    with pytest.raises(BackendMisconfigured, match=r'relation "claims" does not exist; .*restore'):
        records.ledger.get(PHOTO, "ann")


def test_a_server_that_is_too_old_is_refused() -> None:
    require_supported(150000, "here")

    with pytest.raises(BackendMisconfigured, match="here is version 14; selfiegate needs 15 or later"):
        require_supported(140011, "here")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_to_be_tried_again(database: PostgresDatabase, url: str) -> None:
    with pytest.raises(BackendUnavailable, match="No space left on device"):
        database.execute("COPY (SELECT repeat('a', 100000)) TO '/dev/full'")


def test_a_commit_is_on_disk_where_the_servers_default_is_that_it_is_not(postgres: PostgresServer, url: str) -> None:
    _run(url, "ALTER DATABASE errors SET synchronous_commit = off")
    database = PostgresDatabase(url, SHORT_S)

    assert database.read("SHOW synchronous_commit")[0]["synchronous_commit"] == "on"
    database.close()


def test_a_migration_may_take_longer_than_a_statement(url: str) -> None:
    database = PostgresDatabase(url, 1.0)
    migrate(database, "slow", (Migration("SELECT pg_sleep(2)", 1),))

    assert database.read("SELECT number FROM selfiegate_schema")[0]["number"] == 1
    database.close()


def test_a_server_that_hangs_is_given_up(own: PostgresServer) -> None:
    database = PostgresDatabase(own.database("hangs"), SHORT_S)

    def hang() -> None:
        with database.write():
            database.read("SELECT 1")
            own.pause()
            database.read("SELECT 1")

    rescue = threading.Timer(PATIENCE_S, own.resume)
    rescue.start()
    try:
        with pytest.raises(BackendUnavailable, match="no answer for 8 s"):
            hang()
        with pytest.raises(BackendUnavailable):
            database.read("SELECT 1")
    finally:
        rescue.cancel()
        own.resume()
    assert database.read("SELECT 1 AS one")[0]["one"] == 1
    database.close()


def test_a_connection_that_hangs_is_replaced(url: str) -> None:
    database = PostgresDatabase(url, 5 * SHORT_S)
    (row,) = database.read("SELECT pg_backend_pid() AS pid")
    time.sleep(1.1 * FRESH_S)
    os.kill(row["pid"], signal.SIGSTOP)
    rescue = threading.Timer(PATIENCE_S, os.kill, (row["pid"], signal.SIGCONT))
    rescue.start()
    try:
        assert database.read("SELECT pg_backend_pid() AS pid")[0]["pid"] != row["pid"]
    finally:
        rescue.cancel()
        os.kill(row["pid"], signal.SIGCONT)
        database.close()


def test_a_transaction_that_goes_on_after_a_failed_statement_is_none(database: PostgresDatabase) -> None:
    """PostgreSQL answers its COMMIT with ROLLBACK and no error; a chunk of a backfill goes on with its other photos."""
    records = postgres_records(database)

    def claim_two() -> None:
        with records.ledger.batch():
            records.ledger.claim(PHOTO, "ann", "run", 60)
            with pytest.raises(BackendUnavailable):
                database.read("SELECT 1 / 0")
            with pytest.raises(BackendUnavailable):
                records.ledger.claim(PHOTO, "bob", "run", 60)

    with pytest.raises(BackendUnavailable, match="nothing of this transaction is kept"):
        claim_two()
    assert records.ledger.get(PHOTO, "ann") is None


def test_a_database_that_cannot_hold_every_name_is_refused(postgres: PostgresServer, url: str) -> None:
    _run(
        url,
        "DROP DATABASE IF EXISTS western",
        "CREATE DATABASE western ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )

    with pytest.raises(BackendMisconfigured, match="has the encoding LATIN1, which cannot hold"):
        PostgresDatabase(postgres.url("western"))


def test_names_are_kept_whatever_encoding_the_environment_asks_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    records = postgres_records(database := PostgresDatabase(url, SHORT_S))
    records.ledger.claim(PHOTO, "安娜", "run", 60)

    assert [claim.user_id for claim in records.ledger.claims_of("安娜")] == ["安娜"]
    database.close()
