"""A gallery or records that are lost, older or another's: nobody is accepted, and nothing is called removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.privacy.sequence import forget_user
from selfiegate.steps import inline
from selfiegate.stores.sqlite_records import sqlite_records
from tests.home_folders import copied, delete, outcome, photo_of, put_back, untied
from tests.runtimes import Meanwhile, scripted_runtime


def without_gallery(home: Path) -> None:
    delete(home, "gallery.db")


def with_last_nights_gallery(home: Path) -> None:
    put_back(home / "backup", "gallery.db", home)


def with_anothers_gallery(home: Path) -> None:
    other = scripted_runtime(home / "other")
    for person in ("bob", "carl", "dora"):
        assert outcome(other, photo_of(home, person), person) == "accepted"
    copied(home / "other", "gallery.db", home / "others")
    put_back(home / "others", "gallery.db", home)


def without_records(home: Path) -> None:
    delete(home, "records.db")


def with_last_nights_records(home: Path) -> None:
    put_back(home / "backup", "records.db", home)


WRONG = [
    (without_gallery, "is not there, but the records rely on"),
    (with_last_nights_gallery, "is older than the records: it ends with face number 1"),
    (with_anothers_gallery, "belongs to other records"),
    (without_records, "belongs to other records"),
    (with_last_nights_records, "the records are older than"),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder in which ann was enrolled yesterday, before the backup, and eve and fay today."""
    rt = scripted_runtime(tmp_path)
    assert outcome(rt, photo_of(tmp_path, "ann"), "ann") == "accepted"
    for name in ("gallery.db", "records.db"):
        copied(tmp_path, name, tmp_path / "backup")
    for person in ("eve", "fay"):
        assert outcome(rt, photo_of(tmp_path, person), person) == "accepted"
    return tmp_path


@pytest.mark.parametrize(("fault", "said"), WRONG, ids=[fault.__name__ for fault, _ in WRONG])
def test_a_new_process_refuses_what_does_not_belong_together(
    home: Path, fault: Callable[[Path], None], said: str
) -> None:
    fault(home)

    for _ in range(2):  # nor does the refusal create what makes the next start succeed
        with pytest.raises(BackendMisconfigured, match=said):
            outcome(scripted_runtime(home), photo_of(home, "eve1"), "mallory")


@pytest.mark.parametrize(("fault", "said"), WRONG, ids=[fault.__name__ for fault, _ in WRONG])
def test_a_process_under_way_accepts_nobody_and_forgets_nobody(
    home: Path, fault: Callable[[Path], None], said: str
) -> None:
    rt, mallorys = scripted_runtime(home), photo_of(home, "eve1")
    fault(home)

    with pytest.raises(BackendMisconfigured, match="was removed or replaced while it was in use"):
        outcome(rt, mallorys, "mallory")
    with pytest.raises(BackendMisconfigured, match="was removed or replaced while it was in use"):
        asyncio.run(forget_user(rt, inline(rt, attempts=1), "eve", "forget-run"))


def test_what_a_careful_operator_restores_together_is_taken(home: Path) -> None:
    for name in ("gallery.db", "records.db"):
        put_back(home / "backup", name, home)

    assert outcome(scripted_runtime(home), photo_of(home, "ann1"), "mallory") == "rejected"
    assert outcome(scripted_runtime(home), photo_of(home, "gus"), "gus") == "accepted"


def test_files_of_the_version_before_are_tied_to_each_other_where_they_fit(home: Path) -> None:
    untied(home)

    assert outcome(scripted_runtime(home), photo_of(home, "eve1"), "mallory") == "rejected"
    delete(home, "gallery.db")
    with pytest.raises(BackendMisconfigured, match="is not there"):
        scripted_runtime(home)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (without_gallery, "lacks the faces of 3 of 3 users"),
        (with_last_nights_gallery, "lacks the faces of 2 of 3 users"),
        (without_records, "holds 3 faces, and the records know nobody"),
    ],
)
def test_files_of_the_version_before_are_refused_where_they_do_not_fit(
    home: Path, fault: Callable[[Path], None], said: str
) -> None:
    fault(home)
    untied(home)

    with pytest.raises(BackendMisconfigured, match=said):
        scripted_runtime(home)


def test_a_face_that_was_enrolled_but_not_yet_noted_is_no_fault(home: Path) -> None:
    rt = scripted_runtime(home)
    gallery = rt.faces._gallery  # type: ignore[attr-defined]
    gallery._bond, bond = None, gallery._bond
    gallery.add("half-done", "gus", rt.faces._embed(photo_of(home, "gus")))  # type: ignore[attr-defined]
    gallery._bond = bond

    assert outcome(scripted_runtime(home), photo_of(home, "hal"), "hal") == "accepted"


def test_a_stranger_leaves_what_the_records_know_as_it_is(home: Path) -> None:
    known = sqlite_records(home / "records.db").known_gallery
    before = known.get()
    copied(home, "gallery.db", home / "right")
    other = scripted_runtime(home / "other")
    for person in ("bob", "carl", "dora", "gus", "hal"):  # its numbers are higher
        assert outcome(other, photo_of(home, person), person) == "accepted"
    copied(home / "other", "gallery.db", home / "others")
    put_back(home / "others", "gallery.db", home)
    for _ in range(2):
        with pytest.raises(BackendMisconfigured, match="belongs to other records"):
            scripted_runtime(home)

    assert known.get() == before
    put_back(home / "right", "gallery.db", home)
    assert outcome(scripted_runtime(home), photo_of(home, "eve1"), "mallory") == "rejected"


def test_the_same_files_in_a_new_process_are_taken(home: Path) -> None:
    assert outcome(scripted_runtime(home), photo_of(home, "eve1"), "mallory") == "rejected"


@pytest.mark.parametrize("use", ["search", "add"])
def test_faces_that_others_enrol_between_two_reads_are_no_fault(tmp_path: Path, use: str) -> None:
    records, vector = sqlite_records(tmp_path / "records.db"), np.eye(1, 64, dtype=np.float32)[0]
    others = SqliteGallery(tmp_path / "gallery.db", "model", dimensions=64, records=records)

    def enrol_more() -> None:
        for n in range(3):
            others.add(f"face {n}", "bob", vector)

    slow = Meanwhile(records.known_gallery, "get", after=True, what=enrol_more)
    slow.left = 0
    gallery = SqliteGallery(
        tmp_path / "gallery.db", "model", dimensions=64, records=records._replace(known_gallery=slow)
    )
    slow.left = 1
    if use == "search":
        assert len(gallery.search(vector)) == 3
    else:
        gallery.add("ours", "ann", vector)
        assert len(gallery.search(vector)) == 4


def test_a_gallery_knows_only_what_the_records_hold_for_good(home: Path) -> None:
    """A chunk's faces are committed within a transaction on the records, which a process may not live to commit."""
    rt, other = scripted_runtime(home), scripted_runtime(home)
    photos = [photo_of(home, name) for name in ("gus", "hal")]
    with suppress(KeyboardInterrupt), rt.ledger.batch():
        for photo, user_id in zip(photos, ("gus", "hal"), strict=True):
            with rt.faces.batch():
                rt.faces.enrol(photo, user_id)
            other.faces.search(photo, "ida")
        raise KeyboardInterrupt
    del rt, other

    assert outcome(scripted_runtime(home), photo_of(home, "ida"), "ida") == "accepted"


def test_records_from_before_a_chunk_are_known_to_be_older(home: Path) -> None:
    rt = scripted_runtime(home)
    copied(home, "records.db", home / "before")
    with rt.ledger.batch(), rt.faces.batch():
        rt.faces.enrol(photo_of(home, "gus"), "gus")
    rt.faces.search(photo_of(home, "gus"), "gus")
    del rt
    put_back(home / "before", "records.db", home)

    with pytest.raises(BackendMisconfigured, match="the records are older than"):
        scripted_runtime(home)
