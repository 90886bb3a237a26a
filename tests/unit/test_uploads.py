"""The same bytes uploaded again later are a new wish; the same event once more is not."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.enrolment.sequence import process_photo
from selfiegate.enrolment.uploads import is_later
from selfiegate.model import Claim, PhotoRef
from selfiegate.steps import inline
from selfiegate.thumbnails import folder
from tests.present import present
from tests.runtimes import ScriptedRuntime, assert_consistent, scripted_runtime

A, B = scripted_photo("ann", size=(96, 96)), scripted_photo("ann~", size=(96, 97))


@pytest.fixture
def rt(tmp_path: Path) -> ScriptedRuntime:
    return scripted_runtime(tmp_path / "home")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "selfie.png"


def at(second: int) -> str:
    """Return when an event says that a photo was uploaded."""
    return f"{second:010d}000000.{second:0>32}"


def upload(rt: ScriptedRuntime, file: Path, data: bytes, order: str, user_id: str = "user_a") -> Claim:
    """Put a photo where another may lie, and take it to its verdict."""
    file.write_bytes(data)
    return process(rt, rt.photos.find(str(file)), order, user_id)


def process(rt: ScriptedRuntime, photo: PhotoRef, order: str, user_id: str = "user_a") -> Claim:
    return asyncio.run(process_photo(rt, inline(rt, attempts=1), photo, user_id, f"run {order}", order))


def test_a_photo_that_was_replaced_and_is_uploaded_again_is_the_profile_again(rt: ScriptedRuntime, file: Path) -> None:
    first, second, third = (upload(rt, file, data, at(n)) for n, data in enumerate((A, B, A), 1))

    assert first.photo == third.photo != second.photo
    assert [row.status for row in (first, second, third)] == ["accepted"] * 3
    profile = present(rt.profiles.get("user_a"))
    assert (profile.photo, profile.upload_rank) == (third.photo, at(3))
    assert rt.faces.holds(profile.face_id)
    assert_consistent(rt, (first.photo, "user_a"), (second.photo, "user_a"))


@pytest.mark.parametrize("order", ["", at(1), at(2)])
def test_the_same_event_an_older_one_and_a_command_change_nothing(rt: ScriptedRuntime, file: Path, order: str) -> None:
    first = upload(rt, file, A, at(2))
    upload(rt, file, B, at(3))

    assert process(rt, first.photo, order) == first
    assert present(rt.profiles.get("user_a")).photo != first.photo


def test_a_profile_counts_from_its_photos_last_upload(rt: ScriptedRuntime, file: Path) -> None:
    first = upload(rt, file, A, at(1))
    again = upload(rt, file, A, at(3))
    between = upload(rt, file, B, at(2))  # its event came late

    assert (again.verdict, again.attempt, again.upload_rank) == (first.verdict, first.attempt, at(3))
    assert between.status == "accepted"
    assert present(rt.profiles.get("user_a")).photo == first.photo
    assert_consistent(rt, (first.photo, "user_a"), (between.photo, "user_a"))


def test_an_upload_that_a_dead_run_left_counts_from_the_later_one(rt: ScriptedRuntime, file: Path) -> None:
    upload(rt, file, B, at(1))
    file.write_bytes(A)
    died = rt.ledger.claim(rt.photos.find(str(file)), "user_a", "a run that died", -1, at(2))
    upload(rt, file, B, at(3))
    again = upload(rt, file, A, at(4))

    assert again.attempt == died.attempt + 1
    assert present(rt.profiles.get("user_a")).photo == died.photo


def test_a_refused_photo_is_taken_when_its_rival_was_forgotten(rt: ScriptedRuntime, file: Path) -> None:
    rival = upload(rt, file.with_name("other.png"), scripted_photo("ann~~"), at(1), "user_b")
    refused = upload(rt, file, A, at(2))
    again = upload(rt, file, A, at(3))
    rt.profiles.remove(present(rt.profiles.get("user_b")))
    rt.ledger.remove(rival)
    rt.faces.discard(rival.photo, "user_b")
    rt.thumbnails.remove(folder(rival.photo, "user_b"))
    taken = upload(rt, file, A, at(4))

    assert [row.status for row in (refused, again, taken)] == ["rejected", "rejected", "accepted"]
    assert [one.user_id for one in rt.notifier.sent] == ["user_a", "user_a"]  # once an upload
    assert_consistent(rt, (taken.photo, "user_a"))


def test_a_backfill_takes_a_file_that_was_put_back(rt: ScriptedRuntime, file: Path) -> None:
    def backfilled(data: bytes, second: int) -> list[str]:
        file.write_bytes(data)
        os.utime(file, (second, second))
        entry = Entry(uri=str(file), user_id="user_a", modified=second * 10**6)
        with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(1) as io:
            outcomes, _ = Chunk(rt, "backfill", vision, io, local=True).run([entry])
        return [one.status for one in outcomes]

    found = [backfilled(data, second) for data, second in ((A, 1), (B, 2), (A, 3), (A, 3), (A, 1))]

    assert found == [["accepted"]] * 3 + [["skipped"]] * 2
    assert present(rt.profiles.get("user_a")).photo == rt.photos.find(str(file))


def test_a_refused_photo_of_a_silent_backfill_is_told_of_when_its_event_comes_later(
    rt: ScriptedRuntime, file: Path
) -> None:
    file.write_bytes(scripted_photo())
    entry = Entry(uri=str(file), user_id="user_a", modified=10**6)
    with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(1) as io:
        Chunk(rt, "backfill", vision, io, local=True).run([entry])
    assert rt.notifier.sent == []
    process(rt, rt.photos.find(str(file)), at(2))  # the event of that same upload
    assert rt.notifier.sent == []

    process(rt, rt.photos.find(str(file)), at(100))
    assert [one.user_id for one in rt.notifier.sent] == ["user_a"]


BY_BYTES, BY_ETAG = (
    PhotoRef(bucket="/photos", key="a", version="0" * 64),
    PhotoRef(bucket="b", key="a", version="etag:1"),
)
BY_ID = PhotoRef(bucket="b", key="a", version="3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY")
LISTED, EVENT, COARSE = "0000000100000000", "0000000100900000.0A", "0000000100000000.0A"


@pytest.mark.parametrize(
    ("photo", "known", "order", "later"),
    [
        (BY_BYTES, LISTED, "0000000100000001", True),
        (BY_BYTES, LISTED, LISTED, False),
        (BY_BYTES, LISTED, "0000000099999999", False),
        (BY_BYTES, "", LISTED, False),  # claimed by a command after the upload
        (BY_ETAG, EVENT, "0000000100900000.0B", True),
        (BY_ETAG, COARSE, EVENT, False),  # the same upload by two routes
        (BY_ETAG, LISTED, EVENT, False),  # the same upload, listed and told
        (BY_ETAG, LISTED, "0000000161000000.0B", True),
        (BY_ETAG, EVENT, "0000000100000000." + "0" * 32, False),  # an event that tells no sequencer
        (BY_ETAG, EVENT, "", False),
        (BY_ID, EVENT, "0000000900000000.0B", False),  # a version id is given once
    ],
)
def test_an_upload_is_later_by_its_time_or_sequencer(photo: PhotoRef, known: str, order: str, later: bool) -> None:
    row = Claim(photo=photo, user_id="a", claimed_at=10**12, upload_order=known, owner="run", lease_until=0)

    assert is_later(order, row) is later
