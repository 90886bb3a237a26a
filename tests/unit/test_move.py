"""An installation that moves from one database to another, and back: nothing is lost, and never both are used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from selfiegate.databases import open_gallery, open_postgres_queue
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongInput
from selfiegate.moving.move import undo
from selfiegate.moving.places import source_of
from selfiegate.settings import Settings
from tests.home_folders import outcome, photo_of
from tests.moving import KINDS, PEOPLE, again, drop_connections, held, installed, let_go, move, start
from tests.postgres import PostgresServer
from tests.runtimes import ScriptedRuntime, runtime_on_postgres, scripted_runtime


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return installed(tmp_path / "home")


@pytest.fixture
def here(home: Path) -> Settings:
    return Settings(home=home)


@pytest.fixture
def there(postgres: PostgresServer, home: Path) -> Settings:
    return Settings(home=home, database=postgres.database("moved"))


def url_of(settings: Settings) -> str:
    return settings.database_url


def opened(home: Path, settings: Settings) -> ScriptedRuntime:
    if settings.records == "postgres":
        return runtime_on_postgres(home, url_of(settings), home / "thumbnails")
    return scripted_runtime(home)


def verdicts(home: Path, settings: Settings) -> list[str]:
    """Let the same photos come again, and strangers with the faces of users."""
    rt = opened(home, settings)
    again = [outcome(rt, photo_of(home, person), person) for person in PEOPLE]
    found = again + [outcome(rt, photo_of(home, f"{person}9"), f"stranger {person}") for person in PEOPLE]
    del rt
    let_go(home)
    return found


def alter(home: Path, sql: str, *values: object, file: str = "records.db") -> None:
    with closing(sqlite3.connect(home / file)) as database, database:
        database.execute(sql, values)


def test_rows_and_faces_are_there_and_back_as_they_were(home: Path, here: Settings, there: Settings) -> None:
    before = held(here)
    gone = move(here, url_of(there))
    on_postgres = held(there)
    back = move(there, "sqlite")

    assert all(before.values())
    assert gone.counts == back.counts == {kind: len(before[kind]) for kind in KINDS if kind != "audit_bookmark"}
    assert on_postgres == before
    assert held(here) == before


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("claims", "UPDATE claims SET owner = 'another' WHERE status = 'accepted'"),
        ("claims", "INSERT INTO claims SELECT 'zoe', photo_id, photo, status, 1, owner, 0 FROM claims LIMIT 1"),
        ("profiles", "UPDATE profiles SET revision = revision + 1 WHERE user_id = 'ann'"),
        ("profiles", "DELETE FROM profiles WHERE user_id = 'ann'"),
        ("erasures", "UPDATE erasures SET revision = revision + 1"),
        (
            "faces",
            "UPDATE faces SET embedding = set_byte(embedding, 7, 255 - get_byte(embedding, 7)) WHERE user_id = 'dora'",
        ),
        ("faces", "UPDATE sketches SET bits = set_byte(bits, 7, 255 - get_byte(bits, 7)) WHERE bits IS NOT NULL"),
    ],
)
def test_a_target_that_somebody_changes_meanwhile_is_never_used(
    here: Settings, there: Settings, kind: str, change: str
) -> None:
    def tamper(done: int, total: int) -> None:
        if done == total:
            with psycopg.connect(url_of(there)) as connection:
                connection.execute(change.encode())

    with pytest.raises(BackendMisconfigured, match=f"the {kind} in .* are not those of"):
        move(here, url_of(there), watch=tamper)
    with pytest.raises(BackendMisconfigured, match="has not ended: run it again"):
        start(there)
    undo(source_of(here))
    start(here)


def test_the_same_photos_get_the_same_verdicts(home: Path, here: Settings, there: Settings) -> None:
    expected = ["accepted"] * len(PEOPLE) + ["rejected"] * len(PEOPLE)
    move(here, url_of(there))
    on_postgres = verdicts(home, there)
    rt = opened(home, there)
    assert outcome(rt, photo_of(home, "newcomer"), "newcomer") == "accepted"
    del rt
    there_rows = held(there)
    drop_connections(there)
    move(there, "sqlite")

    assert verdicts(home, here) == on_postgres == expected
    assert held(here)["faces"] == there_rows["faces"]
    rt = opened(home, here)
    assert outcome(rt, photo_of(home, "newcomer9"), "somebody") == "rejected"


def test_what_has_moved_away_is_refused_and_so_is_what_comes_back_meanwhile(
    home: Path, here: Settings, there: Settings, tmp_path: Path
) -> None:
    move(here, url_of(there))
    with pytest.raises(BackendMisconfigured, match="have moved to PostgreSQL"):
        start(here)
    with pytest.raises(WrongInput, match=r"has moved to PostgreSQL .* already"):
        move(here, url_of(there))
    start(there)
    drop_connections(there)
    move(there, "sqlite")

    start(here)
    with pytest.raises(BackendMisconfigured, match="have moved to SQLite"):
        start(there)


def test_a_process_that_worked_on_postgres_before_the_move_works_no_more(
    home: Path, here: Settings, there: Settings
) -> None:
    move(here, url_of(there))
    idle = opened(home, there)
    drop_connections(there)
    move(there, "sqlite")

    again(lambda: idle.profiles.get("ann"))  # the test has ended its connection
    with pytest.raises(BackendMisconfigured, match="have moved to SQLite"):
        outcome(idle, photo_of(home, "newcomer"), "newcomer")


def test_a_source_in_use_is_not_moved(home: Path, here: Settings, there: Settings) -> None:
    rt = scripted_runtime(home)
    with pytest.raises(BackendMisconfigured, match="other processes use it"):
        move(here, url_of(there))
    assert outcome(rt, photo_of(home, "newcomer"), "newcomer") == "accepted"  # nothing has begun
    del rt
    move(here, url_of(there))
    busy = opened(home, there)
    row = busy.ledger.claim(photo_of(home, "other"), "other", "live run", lease_s=60)
    with pytest.raises(BackendMisconfigured, match="other connections to it"):
        move(there, "sqlite")
    drop_connections(there)
    with pytest.raises(BackendMisconfigured, match="a lease ends at"):
        move(there, "sqlite")
    assert again(lambda: busy.ledger.renew(row, -1))
    drop_connections(there)
    move(there, "sqlite")


def test_photo_events_that_wait_are_not_left_behind(home: Path, here: Settings, there: Settings) -> None:
    move(here, url_of(there))
    queue = open_postgres_queue(there)
    queue.put("a photo's event")
    drop_connections(there)
    with pytest.raises(BackendMisconfigured, match="1 photo events wait in PostgreSQL"):
        move(there, "sqlite")
    (event,) = again(lambda: queue.receive(10, wait_s=0, visibility_s=60))
    assert queue.bury(event, "it names no user")
    drop_connections(there)
    move(there, "sqlite")


def test_two_moves_do_not_meet(here: Settings, there: Settings) -> None:
    hurried = here.model_copy(update={"store_patience_s": 0.5})
    with psycopg.connect(url_of(there), autocommit=True) as first:
        first.execute("SELECT pg_advisory_lock(7355609)")
        with pytest.raises(BackendMisconfigured, match="another `selfiegate move` is at work there"):
            move(hurried, url_of(there))
    move(hurried, url_of(there))


def test_a_target_that_holds_something_is_refused(home: Path, here: Settings, there: Settings, tmp_path: Path) -> None:
    records = start(there)
    records.ledger.claim(photo_of(home, "ann"), "ann", "run", lease_s=-1)
    del records
    before = held(here)
    with pytest.raises(WrongInput, match="holds something already"):
        move(here, url_of(there))

    assert held(here) == before
    start(here)


def test_another_move_does_not_mix_into_one_that_was_begun(
    here: Settings, there: Settings, tmp_path: Path, postgres: PostgresServer
) -> None:
    other = Settings(home=tmp_path / "other")
    rt = scripted_runtime(other.folder)
    assert outcome(rt, photo_of(other.folder, "zoe"), "zoe") == "accepted"
    del rt
    begin(here, there)
    with pytest.raises(BackendMisconfigured, match="to here was begun and has not ended"):
        start(there)
    with pytest.raises(BackendMisconfigured, match=r"a move to PostgreSQL .* was begun and has not ended"):
        start(here)
    with pytest.raises(WrongInput, match="is in a move from or to SQLite"):
        move(other, url_of(there))
    with pytest.raises(WrongInput, match="is in a move from or to PostgreSQL"):
        move(here, postgres.database("elsewhere"))
    done = move(here, url_of(there))

    assert done.counts["profiles"] == len(PEOPLE)


def begin(here: Settings, there: Settings) -> None:
    """Let a move stop at the faces: its target has another idea of where they lie."""
    with psycopg.connect(url_of(there), autocommit=True) as connection:
        source_of(here).close()  # type: ignore[attr-defined]
        open_gallery(there, start(there), "scripted")
        drop_connections(there)
        connection.execute("ALTER TABLE faces RENAME TO faces_elsewhere")
        connection.execute("CREATE VIEW faces AS SELECT * FROM faces_elsewhere WHERE false")
        with pytest.raises((BackendUnavailable, BackendMisconfigured)):
            move(here, url_of(there))
        connection.execute("DROP VIEW faces")
        connection.execute("ALTER TABLE faces_elsewhere RENAME TO faces")


def test_a_move_that_was_begun_can_be_undone(home: Path, here: Settings, there: Settings) -> None:
    before = held(here)
    begin(here, there)
    let_go(home)
    undo(source_of(here))
    let_go(home)
    expected = verdicts(home, here)
    rows = held(here)
    move(here, url_of(there))

    assert rows["faces"] == before["faces"] == held(there)["faces"]
    assert held(there)["claims"] == rows["claims"]
    assert verdicts(home, there) == expected


UNKNOWN_STATUS = (
    "UPDATE claims SET status = 'of tomorrow', verdict = '{\"of\": \"tomorrow\"}' WHERE user_id = 'pending'"
)
NOT_TO_BE_STORED = {
    "no JSON": ("UPDATE profiles SET profile = '{torn' WHERE user_id = 'ann'", "profiles 'ann': invalid input syntax"),
    "no text": ("UPDATE claims SET owner = CAST(x'ff' AS TEXT) WHERE user_id = 'pending'", "claims 'pending"),
    "a zero": ("UPDATE claims SET owner = 'a' || char(0) WHERE user_id = 'pending'", "claims 'pending"),
    "no number": ("UPDATE erasures SET revision = 'many' WHERE user_id = 'eve'", "erasures 'eve'"),
}


def test_a_row_of_a_newer_version_goes_along_as_it_is(home: Path, here: Settings, there: Settings) -> None:
    alter(home, UNKNOWN_STATUS)
    before = held(here)
    move(here, url_of(there))

    assert held(there) == before


@pytest.mark.parametrize(("sql", "named"), NOT_TO_BE_STORED.values(), ids=NOT_TO_BE_STORED)
def test_a_row_that_postgres_cannot_hold_is_named_and_stays_only_where_that_is_said(
    home: Path, here: Settings, there: Settings, sql: str, named: str
) -> None:
    alter(home, sql)
    before = held(here)
    with pytest.raises(WrongInput, match=f"no place for 1 rows.*{named}.*--leave-behind 1"):
        move(here, url_of(there))
    assert held(here) == before
    start(here)  # it is used again
    done = move(here, url_of(there), leave_behind=1)

    kind = sql.split()[1]
    assert [one.kind for one in done.left] == [kind]
    assert len(before[kind] - held(there)[kind]) == 1
    assert held(there)[kind] < before[kind]


def test_columns_of_a_newer_version_are_not_lost(home: Path, here: Settings, there: Settings) -> None:
    alter(home, "ALTER TABLE profiles ADD COLUMN mood TEXT NOT NULL DEFAULT 'fine'")
    with pytest.raises(BackendMisconfigured, match=r"profiles has columns .*mood"):
        move(here, url_of(there))


def test_a_gallery_that_is_not_the_records_own_does_not_move(home: Path, here: Settings, there: Settings) -> None:
    alter(home, "UPDATE meta SET value = 'another' WHERE name = 'id'", file="gallery.db")
    with pytest.raises(BackendMisconfigured, match="do not belong together"):
        move(here, url_of(there))


def test_a_target_without_room_leaves_the_move_to_be_gone_on_with(home: Path, here: Settings, there: Settings) -> None:
    before = held(here)
    with psycopg.connect(url_of(there), autocommit=True) as connection:
        start(there)
        drop_connections(there)
        connection.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$"
        )
        connection.execute("CREATE TRIGGER room BEFORE INSERT ON profiles EXECUTE FUNCTION full_disk()")
        with pytest.raises(BackendUnavailable, match="No space left"):
            move(here, url_of(there))
        connection.execute("DROP TRIGGER room ON profiles")
    move(here, url_of(there))

    assert held(there) == before
