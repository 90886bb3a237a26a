"""The embedded stores: SQLite and folders."""

# ruff: noqa: S608  the only text put into statements are the names below

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pytest

from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, PhotoRejected, WrongInput
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.gallery import Gallery
from selfiegate.local_disk import require_local
from selfiegate.ports import PhotoStore, ThumbnailStore
from selfiegate.records import Records
from selfiegate.sqlite_database import require_wal
from selfiegate.stores.folder import FolderPhotos, FolderThumbnails
from selfiegate.stores.sqlite_records import sqlite_records
from tests.contract.gallery import D, GalleryContract, SharedGalleryContract, vectors
from tests.contract.photos import PhotoStoreContract, ThumbnailStoreContract, Upload
from tests.contract.records import RecordsContract, SharedRecordsContract, Storage


class TestSqliteGallery(GalleryContract, SharedGalleryContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "home" / "gallery.db"

    @pytest.fixture
    def gallery(self, path: Path) -> Gallery:
        return SqliteGallery(path, "model", dimensions=D)

    @pytest.fixture
    def another(self, path: Path) -> Callable[[str], Gallery]:
        return lambda model: SqliteGallery(path, model, dimensions=D)

    def test_its_files_are_for_their_owner_alone(self, gallery: Gallery, path: Path) -> None:
        gallery.add("face", "ann", vectors(1)[0])

        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_nothing_of_a_removed_face_stays_in_the_file(self, gallery: Gallery, path: Path) -> None:
        one, other = vectors(2)
        gallery.add("face", "ann", one)
        gallery.add("other", "bob", other)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            held = one.astype(np.float16).tobytes() in path.read_bytes()
            gallery.remove("face")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        assert held
        assert one.astype(np.float16).tobytes() not in path.read_bytes()

    def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "broken.db").write_bytes(b"not a database" * 100)

        with pytest.raises(BackendMisconfigured, match=r"broken\.db is not a usable database"):
            SqliteGallery(tmp_path / "broken.db", "model")

    def test_a_folder_that_cannot_be_written_is_named_with_its_setting(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(BackendMisconfigured, match="SELFIEGATE_HOME"):
            SqliteGallery(tmp_path / "file" / "gallery.db", "model")


class TestSqliteGalleryOfANewerProgram(GalleryContract):
    """The version before goes on with a database that a newer version migrated."""

    @pytest.fixture
    def gallery(self, tmp_path: Path) -> Gallery:
        SqliteGallery(tmp_path / "gallery.db", "model", dimensions=D)
        migrate_further(tmp_path / "gallery.db", "meta", "faces", "sketches")
        return SqliteGallery(tmp_path / "gallery.db", "model", dimensions=D)


class TestSqliteRecords(RecordsContract, SharedRecordsContract):
    @pytest.fixture
    def records(self, tmp_path: Path) -> Records:
        return sqlite_records(tmp_path / "records.db")

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return SqliteStorage(tmp_path / "records.db")


class SqliteStorage:
    """Writes to a database of records behind the program's back."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add_fields(self, user_id: str) -> None:
        added = {
            name: f"{name} = json_set({name}, '$.later', 1)" for name in ("photo", "verdict", "profile", "erasure")
        }
        contest = "contests = coalesce(json_set(contests, '$[0].later', 1), contests)"
        self._run(f"UPDATE claims SET {added['photo']}, {added['verdict']}, {contest} WHERE user_id = ?", user_id)
        self._run(f"UPDATE profiles SET {added['profile']} WHERE user_id = ?", user_id)
        self._run(f"UPDATE erasures SET {added['erasure']} WHERE user_id = ?", user_id)

    def has_field(self, kind: str, user_id: str) -> bool:
        return self._run(f"SELECT {kind} ->> 'later' FROM {kind}s WHERE user_id = ?", user_id) == [(1,)]

    def damage(self, kind: str, user_id: str) -> None:
        change = "status = 'paused'" if kind == "claim" else f"{kind} = substr({kind}, 2)"
        self._run(f"UPDATE {kind}s SET {change} WHERE user_id = ?", user_id)

    def _run(self, sql: str, user_id: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self._path)) as database, database:
            return database.execute(sql, (user_id,)).fetchall()


class TestSqliteRecordsOfANewerProgram(RecordsContract):
    """The version before goes on with a database that a newer version migrated."""

    @pytest.fixture
    def records(self, tmp_path: Path) -> Records:
        sqlite_records(tmp_path / "records.db")
        migrate_further(tmp_path / "records.db", "claims", "profiles", "erasures")
        return sqlite_records(tmp_path / "records.db")


def migrate_further(path: Path, *tables: str) -> None:
    """Do what a newer program's migrations do: add columns, and raise the number but not the floor."""
    with closing(sqlite3.connect(path)) as database:
        for table in tables:
            database.execute(f"ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT 'x'")
        database.execute("PRAGMA user_version = 99")


class TestFolderPhotos(PhotoStoreContract):
    @pytest.fixture
    def photos(self) -> PhotoStore:
        return FolderPhotos(Limits())

    @pytest.fixture
    def upload(self, tmp_path: Path) -> Upload:
        def write(data: bytes) -> str:
            path = tmp_path / "ann's selfie é.jpg"
            path.write_bytes(data)
            return str(path)

        return write

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
    def test_only_files_are_photos(self, photos: PhotoStore, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / "thing")

        with pytest.raises(WrongInput, match="it is not a file"):
            photos.find(str(tmp_path / "thing"))

    def test_a_name_that_is_not_utf_8_is_an_error_in_words(self, photos: PhotoStore, tmp_path: Path) -> None:
        with pytest.raises(WrongInput, match="surrogates"):
            photos.find(os.fsdecode(bytes(tmp_path) + b"/\xff.jpg"))

    def test_a_path_with_a_nul_is_an_error_in_words(self, photos: PhotoStore) -> None:
        with pytest.raises(WrongInput, match="null"):
            photos.find("a\0b.jpg")

    def test_a_file_above_the_limit_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "large.jpg").write_bytes(b"x" * 1001)
        photos = FolderPhotos(Limits(max_bytes=1000))

        with pytest.raises(PhotoRejected, match="photo_too_large") as refused:
            photos.read(photos.find(str(tmp_path / "large.jpg")))
        assert refused.value.measured == (1001,)


class TestFolderThumbnails(ThumbnailStoreContract):
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "thumbnails"

    @pytest.fixture
    def thumbnails(self, root: Path) -> ThumbnailStore:
        return FolderThumbnails(root)

    def test_no_empty_folders_stay_behind(self, thumbnails: ThumbnailStore, root: Path) -> None:
        thumbnails.put("ann/photo/250x250.jpg", b"small", "image/jpeg")
        (root / "ann/photo/64x64.jpg.123.part").touch()  # of a process that was killed
        thumbnails.remove("ann/photo")

        assert list(root.iterdir()) == []

    @pytest.mark.parametrize("key", ["../evil.jpg", "ann/../../evil.jpg", "/evil.jpg", "", ".", "./."])
    def test_a_key_cannot_lead_out_of_the_folder(self, thumbnails: ThumbnailStore, root: Path, key: str) -> None:
        thumbnails.put("ann/photo/250x250.jpg", b"small", "image/jpeg")
        with pytest.raises(WrongInput, match="leads out"):
            thumbnails.put(key, b"small", "image/jpeg")
        with pytest.raises(WrongInput, match="leads out"):
            thumbnails.remove(key)

        assert thumbnails.keys() == ["ann/photo/250x250.jpg"]

    def test_they_are_for_their_owner_alone_whatever_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            FolderThumbnails(tmp_path / "home" / "thumbnails").put("ann/photo/250x250.jpg", b"small", "image/jpeg")
        finally:
            os.umask(before)
        made = list((tmp_path / "home").rglob("*"))

        assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home", *made) if path.is_dir()} == {0o700}


MOUNT = "27 1 {device} / /data rw,relatime shared:1 - {kind} server:/export rw\n"


@pytest.mark.parametrize(("kind", "taken"), [("ext4", True), ("nfs4", False), ("fuse.s3fs", False), ("9p", False)])
def test_a_folder_on_a_network_file_system_is_refused(tmp_path: Path, kind: str, taken: bool) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNT.format(device="0:3", kind="proc"))
    with mounts.open("a") as table:
        table.write(MOUNT.format(device=f"{os.major(device)}:{os.minor(device)}", kind=kind))

    with nullcontext() if taken else pytest.raises(BackendMisconfigured, match=rf"network file system \({kind}\)"):
        require_local(tmp_path, mounts)


def test_a_file_system_that_cannot_have_a_write_ahead_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.db"  # locks by files have no shared memory, as on some file systems
    locked_by_files = sqlite3.connect(f"file:{path}?vfs=unix-dotfile", uri=True)
    refused = pytest.raises(BackendMisconfigured, match="stays in journal mode 'delete'")
    with closing(locked_by_files) as connection, refused:
        require_wal(connection, path)
