"""The judge of `tests.chaos.rounds`: each kind of damage, planted, is found; sound stores are not blamed."""

# ruff: noqa: S608  the only text put into statements is a constant

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import boto3
import numpy as np
import pytest

from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from tests.chaos.check import read_files, scanned, traces, violations
from tests.chaos.rounds import pass_time
from tests.chaos.worker import Where
from tests.runtimes import scripted_runtime

PEOPLE = {("user_a", "a.png"): "ann", ("user_b", "b.png"): "ann", ("user_c", "c.png"): "bob"}
FACES = {"a.png": "ann", "b.png": "ann~", "c.png": "bob"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Stores of three users, of whom two have one face."""
    rt = scripted_runtime(tmp_path)
    for user, key in PEOPLE:
        (tmp_path / key).write_bytes(scripted_photo(FACES[key]))
        finish(rt, claim_photo(rt, rt.photos.find(str(tmp_path / key)), user, "run"))
    return tmp_path


def test_sound_stores_are_sound(home: Path) -> None:
    assert violations(read_files(home), PEOPLE) == []


def records(statement: str) -> Callable[[Path], None]:
    return lambda home: change(home / "records.db", statement)


def gallery(statement: str) -> Callable[[Path], None]:
    return lambda home: change(home / "gallery.db", statement)


def change(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        assert db.execute(statement).rowcount == 1


def lose_thumbnail(home: Path) -> None:
    next((home / "thumbnails").rglob("*.jpg")).unlink()


def leave_half_a_file(home: Path) -> None:
    whole = next((home / "thumbnails").rglob("*.jpg"))
    whole.with_name(f"{whole.name}.77.part").touch()


def leave_thumbnail(home: Path) -> None:
    folder = home / "thumbnails" / f"user_b-{'0' * 16}" / ("0" * 32)
    folder.mkdir(parents=True)
    (folder / "250x250.jpg").touch()


USER_A = "WHERE user_id = 'user_a'"
ACCEPT_B = "UPDATE claims SET status = 'accepted' WHERE user_id = 'user_b'"
GIVE_B_A_PROFILE = """INSERT INTO profiles
    SELECT 'user_b', 1, json_set(profile, '$.face_id', 'x', '$.photo.key', 'b.png')
    FROM profiles WHERE user_id = 'user_a'"""


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (records(ACCEPT_B), "ann: accepted for ['user_a', 'user_b']"),
        (records(ACCEPT_B), "user_b b.png: accepted without a profile"),
        (records(GIVE_B_A_PROFILE), "user_b: profile without its face"),
        (records(GIVE_B_A_PROFILE), "user_b: profile of a photo that was not accepted"),
        (records(f"DELETE FROM claims {USER_A}"), "user_a a.png: no row"),
        (records(f"UPDATE claims SET status = 'rejected' {USER_A}"), "ann: accepted for []"),
        (records(f"UPDATE claims SET status = 'rejected' {USER_A}"), "user_a a.png: refused, and its row names a face"),
        (records(f"UPDATE claims SET status = 'accepting' {USER_A}"), "user_a a.png: no verdict, but accepting"),
        (records(f"UPDATE claims SET verdict = NULL {USER_A}"), "user_a a.png: no verdict, but accepted"),
        (records(f"DELETE FROM profiles {USER_A}"), "user_a a.png: accepted without a profile"),
        (records(f"DELETE FROM profiles {USER_A}"), "without a profile"),
        (records(f"UPDATE profiles SET profile = json_set(profile, '$.remains', '[1]') {USER_A}"), "user_a: remains"),
        (gallery(f"UPDATE faces SET face_id = 'x' {USER_A}"), "user_a: face x without a profile"),
        (gallery(f"UPDATE faces SET face_id = 'x' {USER_A}"), "user_a: profile without its face"),
        (gallery(f"UPDATE faces SET user_id = 'user_b' {USER_A}"), "user_a: face of user_b"),
        (
            gallery(f"UPDATE faces SET embedding = (SELECT embedding FROM faces WHERE user_id = 'user_c') {USER_A}"),
            "user_a and user_c have one face",
        ),
        (gallery("DELETE FROM sketches WHERE id = 1"), "faces and sketches differ"),
        (lose_thumbnail, "no thumbnails"),
        (leave_half_a_file, "half a file"),
        (leave_thumbnail, "thumbnails without a profile"),
    ],
)
def test_damage_is_found(home: Path, damage: Callable[[Path], None], found: str) -> None:
    damage(home)

    assert [line for line in violations(read_files(home), PEOPLE) if found in line]


def test_an_embedding_that_was_left_in_the_file_is_found(home: Path) -> None:
    names = {"user_a": b"ann", "user_b": b"ann~"}
    vectors = {user: ScriptedAnalyser().embed([np.frombuffer(name, np.uint8)])[0] for user, name in names.items()}

    assert traces(home, vectors) == ["user_a"]


def test_a_table_of_several_pages_is_read_whole(aws: AwsSettings) -> None:
    table = boto3.resource("dynamodb", endpoint_url=str(aws.endpoint_url)).Table(aws.ledger_table)
    for n in range(4):
        table.put_item(Item={"user_id": f"user_{n}", "photo_id": "photo", "filling": "x" * 390_000})

    assert "LastEvaluatedKey" in table.scan()
    assert {item["user_id"] for item in scanned(table)} == {f"user_{n}" for n in range(4)}


def test_time_passes_for_all_rows_of_a_table_of_several_pages(aws: AwsSettings, tmp_path: Path) -> None:
    table = boto3.resource("dynamodb", endpoint_url=str(aws.endpoint_url)).Table(aws.ledger_table)
    for n in range(4):
        key = {"user_id": f"user_{n}", "photo_id": "photo"}
        table.put_item(Item={**key, "lease_until": 1, "filling": "x" * 390_000})
    pass_time(Where(tmp_path, aws))

    assert [item["lease_until"] for item in scanned(table)] == [0, 0, 0, 0]


def test_a_profile_that_is_not_the_photo_uploaded_last_is_found(home: Path) -> None:
    found = violations(read_files(home), PEOPLE, {"user_a": "later.png"})

    assert found == ["user_a: a.png is the profile, but later.png was uploaded last"]
