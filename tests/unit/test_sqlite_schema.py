"""Databases of earlier and later versions, opened by this one."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.sqlite import GALLERY, SqliteGallery
from selfiegate.model import PhotoRef
from selfiegate.sqlite_database import Database
from selfiegate.sqlite_schema import Migration, Schema
from selfiegate.stores.sqlite_records import sqlite_records
from selfiegate.stores.sqlite_schema import RECORDS
from tests.earlier_schemas import FIRST_GALLERY, RECORDS_BEFORE_NUMBERS
from tests.present import present

ONE = Migration("CREATE TABLE IF NOT EXISTS things (name TEXT);\n", oldest_program=1)
ADDITIVE = Migration("ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 0;\n", oldest_program=1)
BREAKING = Migration("ALTER TABLE things RENAME COLUMN name TO title;\n", oldest_program=3)
PHOTO = PhotoRef(bucket="bucket", key="ann/selfie.jpg", version="1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "things.db"


def number(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def make(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(script)


def test_an_empty_file_takes_all_migrations(path: Path) -> None:
    database = Database(path, Schema([ONE, ADDITIVE]))

    assert database.read("SELECT name, size FROM things") == []
    assert number(path) == 2


def test_only_what_is_missing_is_applied_and_rows_stay(path: Path) -> None:
    Database(path, Schema([ONE])).execute("INSERT INTO things (name) VALUES ('a')")
    database = Database(path, Schema([ONE, ADDITIVE]))
    again = Database(path, Schema([ONE, ADDITIVE]))

    assert [tuple(row) for row in database.read("SELECT * FROM things")] == [("a", 0)]
    assert [tuple(row) for row in again.read("SELECT * FROM things")] == [("a", 0)]


def test_the_version_before_goes_on_after_an_additive_migration(path: Path) -> None:
    running = Database(path, Schema([ONE]))
    newer = Database(path, Schema([ONE, ADDITIVE]))
    rolled_back = Database(path, Schema([ONE]))
    for name, database in {"running": running, "newer": newer, "rolled back": rolled_back}.items():
        database.execute("INSERT INTO things (name) VALUES (?)", name)

    assert {row["name"] for row in running.read("SELECT name FROM things")} == {"running", "newer", "rolled back"}
    assert number(path) == 2


def test_a_program_older_than_the_data_is_refused_with_both_numbers(path: Path) -> None:
    Database(path, Schema([ONE, ADDITIVE, BREAKING]))

    with pytest.raises(
        BackendMisconfigured, match=r"has schema 3, which takes a program of schema 3, but this one knows 2"
    ):
        Database(path, Schema([ONE, ADDITIVE]))
    assert number(path) == 3


def test_a_program_that_runs_while_the_data_outgrow_it_writes_no_more(path: Path) -> None:
    running = Database(path, Schema([ONE, ADDITIVE]))
    Database(path, Schema([ONE, ADDITIVE, BREAKING]))

    with pytest.raises(BackendMisconfigured, match=r"this one knows 2"):
        running.execute("CREATE TABLE more (name)")
    with pytest.raises(BackendMisconfigured, match=r"this one knows 2"), running.write():
        raise AssertionError("it got the lock")


def test_a_migration_that_fails_leaves_the_database_as_it_was(path: Path) -> None:
    Database(path, Schema([ONE]))
    broken = Migration("ALTER TABLE things ADD COLUMN size INTEGER;\nDROP TABLE missing;\n", oldest_program=1)
    with pytest.raises(BackendMisconfigured, match="no such table: missing"):
        Database(path, Schema([ONE, broken]))

    assert number(path) == 1
    assert [row["name"] for row in Database(path, Schema([ONE])).read("PRAGMA table_info(things)")] == ["name"]


SLOW = """
from pathlib import Path
from selfiegate.sqlite_database import Database
from selfiegate.sqlite_schema import Migration, Schema
ONE = Migration("CREATE TABLE IF NOT EXISTS things (name TEXT);\\n", 1)
numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})"
count = numbers + " INSERT INTO things SELECT i FROM n;"
Database(Path({path!r}), Schema([ONE, Migration(count, 1)]), patience_s=120)
"""


def start(path: Path, rows: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLOW.format(path=str(path), rows=rows)])


def test_of_processes_that_start_at_once_one_migrates(path: Path) -> None:
    processes = [start(path, rows=1000) for _ in range(4)]

    assert [process.wait(120) for process in processes] == [0] * 4
    assert Database(path, Schema([ONE])).read("SELECT count(*) FROM things")[0][0] == 1000


def test_a_process_killed_while_it_migrates_leaves_the_schema_before(path: Path) -> None:
    Database(path, Schema([ONE]))
    process = start(path, rows=10**9)
    wal, give_up = Path(f"{path}-wal"), time.monotonic() + 120
    while (not wal.exists() or wal.stat().st_size < 1_000_000) and time.monotonic() < give_up:  # it spills its pages
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(120)

    assert wal.stat().st_size >= 1_000_000
    assert Database(path, Schema([ONE, ADDITIVE])).read("SELECT * FROM things") == []
    assert number(path) == 2


@pytest.mark.parametrize("earlier", [name for name in RECORDS_BEFORE_NUMBERS if name != "with counted contests"])
def test_records_from_before_numbers_are_taken_over(path: Path, earlier: str) -> None:
    make(path, RECORDS_BEFORE_NUMBERS[earlier])
    make(path, _claims(notified="notified" in RECORDS_BEFORE_NUMBERS[earlier]))

    assert_records_work(path)


@pytest.mark.parametrize("before", range(1, len(RECORDS.migrations) + 1))
def test_records_of_every_number_are_brought_to_todays(path: Path, tmp_path: Path, before: int) -> None:
    Database(path, Schema(RECORDS.migrations[:before]))
    make(path, _claims(notified=False))
    Database(tmp_path / "new.db", RECORDS)

    assert_records_work(path)
    assert schema(path) == schema(tmp_path / "new.db")


@pytest.mark.parametrize("known", [RECORDS, GALLERY], ids=["records", "gallery"])
def test_a_migration_asks_for_no_program_newer_than_itself_and_no_older_one_than_before(known: Schema) -> None:
    oldest = [migration.oldest_program for migration in known.migrations]

    assert oldest == sorted(oldest)
    assert all(one <= at for at, one in enumerate(oldest, 1))


def assert_records_work(path: Path) -> None:
    """Read what was there, and write to each table."""
    records = sqlite_records(path)
    claim = present(records.ledger.get(PHOTO, "ann"))
    held = present(records.profiles.get("ann"))
    new = records.ledger.claim(PHOTO, "bob", "run", 60)

    assert (claim.status, claim.upload_order, claim.notice) == ("rejected", "", "sent")
    assert held.upload_rank == "0000000000000007"
    assert records.profiles.put(held.model_copy(update={"revision": 2}), replacing=held)
    assert records.ledger.accept(new)
    assert [row.user_id for row in records.ledger.unfinished(2**62)] == ["bob"]
    assert records.erasures.get("ann") is None
    assert number(path) == len(RECORDS.migrations)


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def _claims(notified: bool) -> str:
    """Return a rejected row whose user was told, and a profile, as the versions of that time wrote them."""
    told, rank = ("notified", '"claimed_at":7') if notified else ("notice", '"newness":"0000000000000007"')
    photo = PHOTO.model_dump_json()
    verdict = json.dumps(
        {"status": "rejected", "user_id": "ann", "photo": PHOTO.model_dump(), "model": "m", "policy": "p"}
    )
    profile = (
        f'{{"user_id":"ann","photo":{photo},"face_id":"f","thumbnails":{{}},"model":"m",{rank},'
        '"enrolled_at":"2026-01-01T00:00:00Z","remains":[],"revision":1}'
    )
    value = "1" if notified else "'sent'"
    return f"""
        INSERT INTO claims (user_id, photo_id, photo, status, claimed_at, owner, lease_until, verdict, {told})
            VALUES ('ann', '{PHOTO.id}', '{photo}', 'rejected', 7, 'run', 8, '{verdict}', {value});
        INSERT INTO profiles (user_id, revision, profile) VALUES ('ann', 1, '{profile}');
    """  # noqa: S608  the test's own words


def test_records_too_old_to_be_upgraded_are_refused_by_their_columns(path: Path) -> None:
    make(path, RECORDS_BEFORE_NUMBERS["with counted contests"])

    with pytest.raises(BackendMisconfigured, match=r"too old to be upgraded \(it has no claims\.contests of"):
        sqlite_records(path)
    assert number(path) == 0


def test_a_gallery_from_before_numbers_is_taken_over(path: Path) -> None:
    make(path, FIRST_GALLERY)
    make(path, "INSERT INTO meta VALUES ('model', 'm')")

    assert SqliteGallery(path, "m").stats().faces == 0
    assert number(path) >= 1


def test_tables_that_go_missing_are_the_operators_and_not_tried_again(path: Path) -> None:
    records = sqlite_records(path)
    make(path, "ALTER TABLE claims DROP COLUMN upload_order")

    with pytest.raises(BackendMisconfigured, match="no column named upload_order"):
        records.ledger.claim(PHOTO, "ann", "run", 60)
