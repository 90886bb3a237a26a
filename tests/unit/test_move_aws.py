"""Records beside Rekognition move from DynamoDB or SQLite to PostgreSQL and back; the collection stays."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import boto3
import pytest

from selfiegate.audit import Orphan, orphans
from selfiegate.aws.clients import client
from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.scripted import scripted_photo
from selfiegate.cli.move import settings_at
from selfiegate.clock import now_us
from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongInput
from selfiegate.model import PhotoRef
from selfiegate.moving.move import Move, Moved
from selfiegate.moving.places import Place, place_of, require_supported, source_of
from selfiegate.privacy.sequence import forget_user
from selfiegate.records import Records
from selfiegate.runtime import Runtime, assembled, open_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.aws.local import PHOTOS
from tests.moving import drop_connections, end_moves, let_go, start, write_rows_of_every_kind
from tests.postgres import PostgresServer
from tests.runtimes import Failing

PEOPLE = ("ann", "bob", "carl")


def audited(place: Place) -> set[Orphan]:
    return set(orphans(assembled(place.settings, place.records, place.open_gallery)))


def move(settings: Settings, to: str, leave_behind: int = 0) -> Moved:
    let_go(settings.folder)
    return Move(source_of(settings), place_of(settings_at(settings, to)), audited).run(leave_behind)


def outcome(rt: Runtime, person: str, user_id: str) -> str:
    """Run a photo of a person, which is put into the bucket once."""
    key, s3 = f"{person}.png", client("s3", rt.settings.aws)
    if "Contents" not in s3.list_objects_v2(Bucket=PHOTOS, Prefix=key):
        s3.put_object(Bucket=PHOTOS, Key=key, Body=scripted_photo(person.rstrip("0123456789")))
    photo = rt.photos.find(f"s3://{PHOTOS}/{key}")
    return asyncio.run(process_photo(rt, inline(rt, attempts=1), photo, user_id, f"run of {user_id}")).status


@pytest.fixture(params=["dynamodb", "sqlite"])
def here(request: pytest.FixtureRequest, tmp_path: Path, aws: AwsSettings) -> Settings:
    """An installation with users, rows of every kind, and a user who asked to be forgotten."""
    aws = aws.model_copy(update={"compare_s": 0.0})
    settings = Settings(home=tmp_path / "home", backend="rekognition", records=request.param, aws=aws)
    rt = open_runtime(settings)
    for person in (*PEOPLE, "eve", "ann2"):
        assert outcome(rt, person, person.strip("2")) == "accepted"
    assert outcome(rt, "bob7", "mallory") == "rejected"
    asyncio.run(forget_user(rt, inline(rt), "eve", "forget-run"))
    write_rows_of_every_kind(rt)
    del rt
    return settings


@pytest.fixture
def there(here: Settings, postgres: PostgresServer) -> Settings:
    return settings_at(here, postgres.database("moved"))


def items(aws: AwsSettings) -> dict[str, dict[Any, dict[str, Any]]]:
    """Return what both tables hold, but for notes, the times at which refused rows expire, and what is empty."""
    found = {}
    for name in (aws.ledger_table, aws.profiles_table):
        rows = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url).Table(name).scan()["Items"]
        kept = [row for row in rows if not row.get("user_id", "").startswith("\t")]
        found[name] = {
            (row.get("user_id"), row.get("photo_id"), row.get("Username")): {
                name: value for name, value in row.items() if name != "expires_at" and value not in (None, [])
            }
            for row in kept
        }
    return found


def everything(records: Records) -> list[Any]:
    """Return what records say, whatever they lie in."""
    users = ("ann", "bob", "carl", "eve", "mallory", "pending", "accepting", "contested", "untold")
    rows = [row for user_id in users for row in records.ledger.claims_of(user_id)]
    erasures = [records.erasures.get(user_id) for user_id in users]
    looks = records.ledger.to_look_at(10**16, 100)
    due = records.ledger.unfinished(now_us(), 100)
    profiles = sorted(records.profiles.all(), key=lambda one: one.user_id)
    return [rows, erasures, list(looks), sorted(row.user_id for row in due), profiles, records.ledger.to_review()]


def test_records_are_there_and_back_as_they_were_and_the_collection_stays(here: Settings, there: Settings) -> None:
    before, faces = everything(start(here)), set(open_runtime(here).faces.faces())
    gone = move(here, there.database_url)
    on_postgres = everything(start(there))
    verdicts = [outcome(open_runtime(there), f"{person}9", f"stranger {person}") for person in PEOPLE]
    with pytest.raises(BackendMisconfigured, match="have moved to PostgreSQL"):
        start(here)
    drop_connections(there)
    move(there, here.records)
    rt = open_runtime(here)

    assert on_postgres == before
    assert everything(start(here)) == before
    assert (verdicts, gone.left) == (["rejected"] * 3, [])
    assert {face.face_id for face in rt.faces.faces()} == {face.face_id for face in faces}
    assert [outcome(rt, person, person) for person in PEOPLE] == ["accepted"] * 3
    assert [outcome(rt, f"{person}9", f"stranger {person}") for person in PEOPLE] == ["rejected"] * 3
    with pytest.raises(BackendMisconfigured, match="have moved to"):
        start(there)


@pytest.mark.parametrize("here", ["dynamodb"], indirect=True)
def test_the_items_in_dynamodb_are_the_same_afterwards(here: Settings, there: Settings) -> None:
    old = {
        "Username": "zoe",
        "faceId": "0b3c1f8e-1c2d-4e5f-8a9b-0c1d2e3f4a5b",
        "s3bucket": PHOTOS,
        "s3key": "zoe.png",
        "points": 7,
    }
    old["thumbnail"] = {"s3bucket": "thumbnails", "s3key": "zoe.jpg"}
    boto3.resource("dynamodb", endpoint_url=here.aws.endpoint_url).Table(here.aws.profiles_table).put_item(Item=old)
    before = items(here.aws)
    move(here, there.database_url)
    drop_connections(there)
    move(there, "dynamodb")

    assert items(here.aws) == before


@pytest.mark.parametrize("here", ["dynamodb"], indirect=True)
def test_an_item_that_cannot_be_read_is_named_and_stays_in_dynamodb(here: Settings, there: Settings) -> None:
    table = boto3.resource("dynamodb", endpoint_url=here.aws.endpoint_url).Table(here.aws.ledger_table)
    torn = {"user_id": "torn", "photo_id": "0" * 32, "status": "of tomorrow", "owner": "x"}
    table.put_item(Item=torn)
    newer = next(item for item in table.scan()["Items"] if item["user_id"] == "mallory") | {"mood": "fine"}
    table.put_item(Item=newer)
    with pytest.raises(WrongInput, match="no place for 2 rows"):
        move(here, there.database_url)
    start(here)
    done = move(here, there.database_url, leave_behind=2)
    drop_connections(there)
    move(there, "dynamodb")

    assert {one.key[0] for one in done.left} == {"torn", "mallory"}
    kept = {item["user_id"]: item for item in table.scan()["Items"]}
    assert (kept["torn"], kept["mallory"]) == (torn, newer)


@pytest.mark.parametrize("here", ["dynamodb"], indirect=True)
@pytest.mark.parametrize(("method", "after"), [("empty", False), ("put", True), ("same", False)])
def test_a_move_whose_target_fails_goes_on(here: Settings, there: Settings, method: str, after: bool) -> None:
    before = everything(start(here))
    for source, target in ((here, there), (there, here)):
        place = place_of(target)
        failing: Any = Failing(place.rows, method, 1, after)
        place.rows = failing
        with pytest.raises(BackendUnavailable, match="does not answer"):
            Move(source_of(source), place, audited).run()
        for settings in (source, target):
            with pytest.raises(BackendMisconfigured, match="was begun and has not ended"):
                start(settings)
        drop_connections(there)
        del place, failing
        let_go(here.folder)
        end_moves(there)
        move(source, target.database_url or target.records)
        assert everything(start(target)) == before
        drop_connections(there)


@pytest.mark.parametrize("here", ["dynamodb"], indirect=True)
def test_a_lease_keeps_the_source_in_use(here: Settings, there: Settings) -> None:
    records = start(here)
    row = records.ledger.claim(PhotoRef(bucket=PHOTOS, key="new.png", version="1"), "new", "live run", lease_s=60)
    with pytest.raises(BackendMisconfigured, match="a lease ends at"):
        move(here, there.database_url)
    assert records.ledger.renew(row, -1)
    start(here)
    done = move(here, there.database_url)

    assert done.counts["profiles"] == len(PEOPLE)


@pytest.mark.parametrize("here", ["dynamodb"], indirect=True)
def test_a_process_that_had_dynamodb_open_works_no_more(here: Settings, there: Settings) -> None:
    idle = open_runtime(here)
    move(here, there.database_url)

    with pytest.raises(BackendMisconfigured, match="have moved to PostgreSQL"):
        outcome(idle, "newcomer", "newcomer")


@pytest.mark.parametrize("here", ["sqlite"], indirect=True)
def test_records_go_to_no_tables_that_they_did_not_come_from(here: Settings, there: Settings) -> None:
    move(here, there.database_url)
    drop_connections(there)
    with pytest.raises(WrongInput, match="only where they came from"):
        move(there, "dynamodb")
    start(there)


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "the same": ({}, "sqlite", "there is no move from sqlite to sqlite"),
    "two databases": ({"database": "postgresql://a/b"}, "postgresql://c/d", "pg_dump"),
    "aside of PostgreSQL": (
        {"records": "dynamodb", "backend": "rekognition"},
        "sqlite",
        "no move from dynamodb to sqlite",
    ),
    "no faces there": ({"database": "postgresql://a/b"}, "dynamodb", "with Rekognition alone"),
}


@pytest.mark.parametrize(("given", "to", "said"), WRONG.values(), ids=WRONG)
def test_a_move_that_there_is_not_is_refused(given: dict[str, Any], to: str, said: str) -> None:
    settings = Settings(**given)
    with pytest.raises(WrongInput, match=said):
        require_supported(settings, settings_at(settings, to))
