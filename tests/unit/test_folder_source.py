"""Photos below a folder: whose they are, and what is no photo."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from selfiegate.backfill.listing import Entry, Fault
from selfiegate.backfill.sources import entries
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.settings import Settings
from selfiegate.stores.folder import FolderPhotos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def put(path: Path, modified: float = 1_700_000_000.25) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"photo")
    os.utime(path, (modified, modified))
    return path


def found(source: Path | str, template: str | None = None, settings: Settings | None = None) -> list[Entry]:
    return sorted(
        (one for one in entries(str(source), settings or Settings(), template) if isinstance(one, Entry)),
        key=lambda one: one.uri,
    )


def faults(source: Path | str, template: str | None = None) -> list[Fault]:
    return [one for one in entries(str(source), Settings(), template) if isinstance(one, Fault)]


def test_a_photo_has_its_user_its_path_and_its_time(folder: Path) -> None:
    path = put(folder / "ann" / "2026" / "selfie.jpg")

    assert found(folder) == [Entry(uri=str(path), user_id="ann", modified=1_700_000_000_250_000)]
    assert FolderPhotos(Limits()).find(found(folder)[0].uri).uri == str(path)


def test_another_template_says_otherwise_whose_a_photo_is(folder: Path) -> None:
    put(folder / "riders" / "ann.jpg")
    put(folder / "riders" / "bob.jpg")

    assert [one.user_id for one in found(folder, "*/{user_id}.jpg")] == ["ann", "bob"]
    assert [one.user_id for one in found(folder, settings=Settings(key_template="*/{user_id}.jpg"))] == ["ann", "bob"]


def test_a_user_that_the_face_backend_cannot_store_is_a_fault(folder: Path) -> None:
    path, rekognition = put(folder / ("用" * 60) / "selfie.jpg"), Settings(backend="rekognition")
    (fault,) = entries(str(folder), rekognition)

    assert isinstance(fault, Fault)
    assert (fault.where, "164 bytes" in fault.why) == (Fault(where=str(path), why="").where, True)
    assert len(found(folder)) == 1  # the embedded gallery can


def test_formats_that_are_opened_are_taken_and_others_passed_over(folder: Path) -> None:
    names = ["a.JPG", "b.jpeg", "c.PnG", "d.webp", "e.heic", "f.HEIF", "g.avif"]
    for name in [*names, "notes.txt", "jpg", "clip.mp4", "a.jpg.part"]:
        put(folder / "ann" / name)

    assert [Path(one.uri).name for one in found(folder)] == sorted(names)
    assert faults(folder) == []


def test_hidden_files_and_folders_are_passed_over(folder: Path) -> None:
    put(folder / "ann" / ".a.jpg")
    put(folder / ".trash" / "a.jpg")

    assert list(entries(str(folder), Settings())) == []


def test_a_photo_of_nobody_is_a_fault(folder: Path) -> None:
    put(folder / "stray.jpg")
    put(folder / "ann" / "a.jpg")
    put(folder / "a\nb" / "a.jpg")

    assert [one.user_id for one in found(folder)] == ["ann"]
    why = {one.where.removeprefix(str(folder)): one.why for one in faults(folder)}
    assert sorted(why) == ["/a\\nb/a.jpg", "/stray.jpg"]
    assert "does not match" in why["/stray.jpg"]
    assert "control or invisible" in why["/a\\nb/a.jpg"]


def test_links_are_never_followed(folder: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "private" / "passport.jpg")
    (folder / "ann").symlink_to(outside.parent)
    (folder / "bob").mkdir()
    (folder / "bob" / "a.jpg").symlink_to(outside)
    (folder / "bob" / "ring.jpg").symlink_to("ring.jpg")
    (folder / "bob" / "notes.txt").symlink_to(outside)

    assert found(folder) == []
    assert sorted(Path(one.where).name for one in faults(folder)) == ["a.jpg", "ring.jpg"]


def test_pipes_are_faults_and_never_waited_for(folder: Path) -> None:
    (folder / "ann").mkdir()
    os.mkfifo(folder / "ann" / "a.jpg")

    assert [one.why for one in faults(folder)] == ["it is no regular file but a pipe, a socket or a device"]


def test_names_that_are_not_utf8_are_faults_that_can_be_shown(folder: Path) -> None:
    for name in (b"ann/\xff.jpg", b"b\xfe/a.jpg", b"ann/\xfd.txt"):
        path = os.fsencode(folder) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120  bytes
        with open(path, "wb"):  # noqa: PTH123
            pass

    shown = sorted(one.where.removeprefix(str(folder)) for one in faults(folder))
    assert shown == ["/ann/\\udcff.jpg", "/b\\udcfe"]
    assert found(folder) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads all folders")
def test_a_folder_that_cannot_be_read_is_a_fault(folder: Path) -> None:
    put(folder / "ann" / "a.jpg")
    put(folder / "bob" / "a.jpg")
    (folder / "bob").chmod(0)

    assert [one.user_id for one in found(folder)] == ["ann"]
    assert "Permission denied" in faults(folder)[0].why
    (folder / "bob").chmod(0o700)


def test_a_path_that_is_too_long_is_a_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)

    assert [one.why for one in faults(folder)] == ["the folder cannot be read: File name too long"]


def test_folders_without_end_are_a_fault(folder: Path) -> None:
    put(folder / "ann" / "a.jpg")
    (folder / "/".join("d" * 120)).mkdir(parents=True)

    assert [one.user_id for one in found(folder)] == ["ann"]
    assert "more than 100 folders deep" in faults(folder)[0].why


def test_times_beyond_all_use_are_bounded(folder: Path) -> None:
    put(folder / "ann" / "old.jpg", -5)
    put(folder / "bob" / "new.jpg", 20_000_000_000)

    assert [one.modified for one in found(folder)] == [0, 10**16 - 1]


def test_what_is_no_source_is_said(folder: Path, tmp_path: Path) -> None:
    path = put(folder / "ann" / "a.jpg")
    for source, words in [
        (folder / "nowhere", "No such file or directory; a backfill takes a folder"),
        (path, "is not a folder.*selfiegate process"),
        ("/\udcff", "cannot read"),
        ("a\0b", "cannot read"),
        ("~nobody-of-this-name/x", "cannot read"),
    ]:
        with pytest.raises(WrongInput, match=words):
            entries(str(source), Settings())


def test_users_in_metadata_need_a_template(folder: Path) -> None:
    put(folder / "ann" / "a.jpg")
    settings = Settings(user_metadata="user-id")

    with pytest.raises(WrongInput, match="give the backfill a key template"):
        entries(str(folder), settings)
    assert [one.user_id for one in found(folder, "{user_id}/{name}", settings)] == ["ann"]


def test_a_template_that_names_no_user_is_misconfigured(folder: Path) -> None:
    for template in ("", "*/*"):
        with pytest.raises(BackendMisconfigured, match=r"needs \{user_id\} once"):
            entries(str(folder), Settings(), template)
