"""Backups of the embedded stores, and restores of what was lost."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from selfiegate.backups.copies import back_up, opened
from selfiegate.backups.restore import Restore, Restored
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.home_use import used_alone
from selfiegate.privacy.sequence import forget_user
from selfiegate.records import Records
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.home_folders import copied, delete, outcome, photo_of, put_back, untied
from tests.present import present
from tests.runtimes import scripted_over, scripted_runtime

PEOPLE = ("ann", "bob", "carl", "dora")


def enrol(home: Path, *people: str) -> None:
    rt = scripted_runtime(home)
    for person in people:
        assert outcome(rt, photo_of(home, person), person) == "accepted"


def forget(home: Path, user_id: str) -> None:
    rt = scripted_runtime(home)
    asyncio.run(forget_user(rt, inline(rt), user_id, "forget-run"))


def restored(home: Path, backup: Path | None, forgotten: Sequence[str] | None = None, drop: int = 0) -> Restored:
    settings = Settings(home=home)

    def opener(records: Records, gallery: Path) -> Runtime:
        return scripted_over(home, settings, records, SqliteGallery(gallery, "scripted"))

    _closed(home)
    return Restore(settings, backup, opener).run(forgotten, drop)


def _closed(home: Path) -> None:
    """Close what earlier runtimes of a test have open, as their processes would by ending; threads take a moment."""
    for _ in range(40):
        gc.collect()
        with suppress(BackendMisconfigured):
            used_alone(home).close()
            return
        time.sleep(0.05)


def users(home: Path) -> set[str]:
    """Return who has a profile, having seen that just their faces, and all their thumbnails, are there."""
    rt = scripted_runtime(home)
    profiles = list(rt.profiles.all())
    assert {face.face_id for face in rt.faces.faces()} == {one.face_id for one in profiles}
    kept = rt.thumbnails.keys()
    assert all(any(place.endswith(key) for key in kept) for one in profiles for place in one.thumbnails.values())
    assert all(
        outcome(rt, photo_of(home, f"{one.user_id}9"), f"mallory {one.user_id}") == "rejected" for one in profiles
    )
    return {one.user_id for one in profiles}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with two users from before its backup and two from after it."""
    home = tmp_path / "home"
    enrol(home, *PEOPLE[:2])
    back_up(Settings(home=home), tmp_path / "backup")
    enrol(home, *PEOPLE[2:])
    return home


@pytest.fixture
def backup(home: Path) -> Path:
    return home.parent / "backup"


def test_a_backup_is_for_its_owner_alone_and_never_mixed_with_another(home: Path, backup: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in backup.iterdir()} == {0o600}
    assert set(opened(backup).files) == {"records.db", "gallery.db"}
    with pytest.raises(WrongInput, match="is not empty"):
        back_up(Settings(home=home), backup)


def test_a_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendMisconfigured, match="is SELFIEGATE_HOME right"):
        back_up(Settings(home=tmp_path / "empty"), tmp_path / "backup")


def test_stores_on_aws_are_not_said_to_be_copied(tmp_path: Path) -> None:
    with pytest.raises(BackendMisconfigured, match="point-in-time recovery"):
        back_up(Settings(home=tmp_path, backend="rekognition", records="dynamodb"), tmp_path / "backup")


def test_a_lost_gallery_is_made_anew_from_backup_and_photos(home: Path, backup: Path) -> None:
    delete(home, "gallery.db")
    done = restored(home, backup)

    assert (done.mended.faces, done.mended.rebuilt) == (4, 2)
    assert users(home) == set(PEOPLE)


def test_a_lost_gallery_is_made_anew_from_the_photos_alone(home: Path) -> None:
    delete(home, "gallery.db")
    done = restored(home, None)

    assert done.mended.rebuilt == 4
    assert users(home) == set(PEOPLE)


def test_a_gallery_of_last_night_is_brought_up_to_the_records(home: Path, backup: Path) -> None:
    put_back(backup, "gallery.db", home)
    with pytest.raises(BackendMisconfigured, match="is older than the records"):
        scripted_runtime(home)
    restored(home, backup)

    assert users(home) == set(PEOPLE)


def test_who_was_forgotten_since_the_backup_does_not_come_back_with_a_lost_gallery(home: Path, backup: Path) -> None:
    forget(home, "ann")
    delete(home, "gallery.db")
    done = restored(home, backup)

    assert done.mended.removed == 1
    assert users(home) == {"bob", "carl", "dora"}
    assert present(scripted_runtime(home).erasures.get("ann")).finished_at


def test_lost_records_are_the_backups_and_the_newer_gallery_tells_who_was_forgotten(home: Path, backup: Path) -> None:
    forget(home, "ann")
    delete(home, "records.db")
    with pytest.raises(WrongInput, match="--nobody-forgotten"):
        restored(home, backup)
    done = restored(home, backup, forgotten=[])

    assert (done.mended.dropped, done.mended.removed) == (("ann",), 2)
    assert users(home) == {"bob"}


def test_records_of_last_night_are_known_to_be_older(home: Path, backup: Path) -> None:
    forget(home, "ann")
    put_back(backup, "records.db", home)
    with pytest.raises(WrongInput, match="--nobody-forgotten"):
        restored(home, None)
    restored(home, None, forgotten=[])

    assert users(home) == {"bob"}


def test_who_is_named_as_forgotten_does_not_come_back_when_all_is_lost(home: Path, backup: Path) -> None:
    forget(home, "ann")
    for name in ("records.db", "gallery.db"):
        delete(home, name)
    restored(home, backup, forgotten=["ann"])

    assert users(home) == {"bob"}
    assert present(scripted_runtime(home).erasures.get("ann")).finished_at


def test_what_came_since_the_backup_comes_back_by_a_backfill(home: Path, backup: Path) -> None:
    for name in ("records.db", "gallery.db"):
        delete(home, name)
    restored(home, backup, forgotten=[])
    enrol(home, *PEOPLE[2:])

    assert users(home) == set(PEOPLE)


def test_a_profile_whose_photo_is_gone_is_dropped_when_asked_for(home: Path) -> None:
    delete(home, "gallery.db")
    (home / "photos" / "carl.png").unlink()
    with pytest.raises(WrongInput, match=r"carl\.png of 'carl' for one; .* --drop-missing 1"):
        restored(home, None)
    with pytest.raises(BackendMisconfigured, match="was begun and has not ended"):
        scripted_runtime(home)
    done = restored(home, None, drop=1)

    assert done.mended.dropped == ("carl",)
    assert users(home) == {"ann", "bob", "dora"}


def test_stores_that_belong_together_are_not_replaced(home: Path, backup: Path) -> None:
    with pytest.raises(WrongInput, match="nothing lacks"):
        restored(home, backup, forgotten=[])


def test_stores_that_somebody_uses_are_not_replaced(home: Path, backup: Path) -> None:
    rt = scripted_runtime(home)
    delete(home, "gallery.db")
    with pytest.raises(BackendMisconfigured, match="other processes use it"):
        Restore(Settings(home=home), backup, nobody).run(None)
    assert rt.ledger is not None


def test_a_backup_that_was_changed_or_not_finished_is_refused(home: Path, backup: Path) -> None:
    delete(home, "gallery.db")
    with (backup / "records.db").open("ab") as file:
        file.write(b"more")
    with pytest.raises(WrongInput, match="is not as the backup left it"):
        restored(home, backup)
    (backup / "backup.json").write_text(json.dumps({}))
    with pytest.raises(WrongInput, match="is no backup"):
        restored(home, backup)


def test_an_old_copy_of_a_file_that_was_replaced_is_never_taken_for_it(home: Path, backup: Path) -> None:
    delete(home, "gallery.db")
    restored(home, backup)
    put_back(backup, "gallery.db", home)

    with pytest.raises(BackendMisconfigured, match="is not the gallery that the records rely on"):
        scripted_runtime(home)


def test_a_gallery_that_is_lost_before_anybody_was_enrolled_is_made_anew(home: Path) -> None:
    empty = home.parent / "empty"
    rt = scripted_runtime(empty)
    rt.ledger.claim(photo_of(empty, "ann"), "ann", "a dead run", 0)
    del rt
    delete(empty, "gallery.db")
    restored(empty, None)

    enrol(empty, "ann")
    assert users(empty) == {"ann"}


def test_a_refused_restore_keeps_others_out_and_is_not_taken_up_when_nothing_lacks(home: Path) -> None:
    copied(home, "gallery.db", home.parent / "aside")
    delete(home, "gallery.db")
    (home / "photos" / "carl.png").unlink()
    with pytest.raises(WrongInput, match="--drop-missing 1"):
        restored(home, None)
    put_back(home.parent / "aside", "gallery.db", home)
    with pytest.raises(BackendMisconfigured, match="was begun and has not ended"):
        scripted_runtime(home)
    with pytest.raises(WrongInput, match="nothing lacks"):
        restored(home, None, drop=1)
    shutil.rmtree(home / "restoring")

    assert {one.user_id for one in scripted_runtime(home).profiles.all()} == set(PEOPLE)


def test_a_restore_that_goes_on_asks_again_who_was_forgotten(home: Path, backup: Path) -> None:
    (backup / "backup.json").write_text(opened(backup).model_copy(update={"files": {}}).model_dump_json())
    for folder, name in ((home, "records.db"), (home, "gallery.db"), (backup, "gallery.db")):
        delete(folder, name)
    (home / "photos" / "bob.png").rename(home / "bob.png")
    with pytest.raises(WrongInput, match="--drop-missing 1"):
        restored(home, backup, forgotten=["ann"])
    (home / "bob.png").rename(home / "photos" / "bob.png")
    with pytest.raises(WrongInput, match="--nobody-forgotten"):
        restored(home, backup)
    restored(home, backup, forgotten=["ann"])

    assert users(home) == {"bob"}


def test_a_newer_backup_wins_over_an_older_gallery_at_home(home: Path, backup: Path) -> None:
    back_up(Settings(home=home), home.parent / "newest")
    put_back(backup, "gallery.db", home)
    delete(home, "records.db")
    for person in PEOPLE:
        (home / "photos" / f"{person}.png").unlink()
    done = restored(home, home.parent / "newest", forgotten=[])

    assert (done.mended.faces, done.mended.dropped) == (4, ())


@pytest.mark.parametrize("name", ["gallery.db", "records.db"])
def test_a_copy_from_before_an_erasure_is_known_to_be_older(home: Path, name: str) -> None:
    copied(home, name, home.parent / "before")
    forget(home, "ann")
    put_back(home.parent / "before", name, home)

    with pytest.raises(BackendMisconfigured, match="older than"):
        scripted_runtime(home)


def test_another_model_does_not_lose_everybody(home: Path) -> None:
    delete(home, "gallery.db")
    with closing(sqlite3.connect(home / "records.db")) as records, records:
        records.execute("UPDATE profiles SET profile = json_set(profile, '$.model', 'another@1')")

    with pytest.raises(BackendMisconfigured, match="was enrolled by the model another@1"):
        restored(home, None)


def test_a_photo_whose_profile_is_saved_already_is_run_forward_after_a_restore(home: Path) -> None:
    with closing(sqlite3.connect(home / "records.db")) as records, records:
        records.execute("UPDATE claims SET status = 'accepting', verdict = NULL, lease_until = 0 WHERE user_id = 'ann'")
    delete(home, "gallery.db")
    restored(home, None)
    row = scripted_runtime(home).ledger.get(photo_of(home, "ann"), "ann")

    assert present(row).status == "accepting"
    assert outcome(scripted_runtime(home), photo_of(home, "ann"), "ann") == "accepted"


def test_the_face_of_a_user_whose_profile_cannot_be_read_is_kept(home: Path, backup: Path) -> None:
    with closing(sqlite3.connect(home / "records.db")) as records, records:
        records.execute("UPDATE profiles SET profile = '{' WHERE user_id = 'ann'")
    put_back(backup, "gallery.db", home)
    restored(home, backup)

    assert "ann" in {face.user_id for face in scripted_runtime(home).faces.faces()}


def test_what_a_killed_restore_leaves_is_in_nobodys_way(home: Path) -> None:
    delete(home, "gallery.db")
    for folder in ("restoring", "restored"):  # killed while it copied, and while it cleaned up
        (home / folder).mkdir()
        (home / folder / "gallery.db").write_bytes(b"half of a copy")
    done = restored(home, None)

    assert done.mended.rebuilt == 4
    assert users(home) == set(PEOPLE)
    assert not {"restoring", "restored"} & {path.name for path in home.iterdir()}


@pytest.mark.parametrize("whose", ["last night's", "a stranger's"])
def test_files_that_know_no_ties_are_restored_too(home: Path, backup: Path, whose: str) -> None:
    if whose == "a stranger's":
        enrol(home.parent / "other", "eve", "fay")
        copied(home.parent / "other", "gallery.db", home.parent / "others")
    put_back(backup if whose == "last night's" else home.parent / "others", "gallery.db", home)
    untied(home)
    done = restored(home, None)

    assert done.mended.rebuilt == (2 if whose == "last night's" else 4)
    assert users(home) == set(PEOPLE)


def test_services_of_aws_are_not_said_to_be_restored(tmp_path: Path) -> None:
    with pytest.raises(BackendMisconfigured, match="point-in-time recovery"):
        Restore(Settings(home=tmp_path, backend="rekognition"), None, nobody)


def nobody(records: Records, gallery: Path) -> Runtime:
    raise AssertionError("a restore that is refused opens nothing")


def test_a_pair_that_does_not_fit_is_not_backed_up(home: Path, backup: Path) -> None:
    put_back(backup, "gallery.db", home)

    with pytest.raises(BackendMisconfigured, match="keep the older backups"):
        back_up(Settings(home=home), home.parent / "useless")
