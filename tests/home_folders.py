"""Home folders with users in them, and what may befall their files."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from selfiegate.backends.scripted import scripted_photo
from selfiegate.decoding.decode import Limits
from selfiegate.enrolment.sequence import process_photo
from selfiegate.model import PhotoRef
from selfiegate.runtime import Runtime
from selfiegate.steps import inline
from selfiegate.stores.folder import FolderPhotos
from tests.present import present

FILES = ("", "-wal", "-shm")


def photo_of(home: Path, person: str) -> PhotoRef:
    file = home / "photos" / f"{person}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(scripted_photo(person.strip("0123456789")))
    return FolderPhotos(Limits()).find(str(file))


def outcome(rt: Runtime, photo: PhotoRef, user_id: str) -> str:
    claim = asyncio.run(process_photo(rt, inline(rt, attempts=1), photo, user_id, f"run of {user_id}"))
    return present(claim.verdict).status


def delete(home: Path, name: str) -> None:
    for end in FILES:
        (home / f"{name}{end}").unlink(missing_ok=True)


def copied(home: Path, name: str, to: Path) -> None:
    """Copy a database as a careful operator does while nothing runs."""
    to.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(home / name)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(home / name, to / name)


def put_back(backup: Path, name: str, home: Path) -> None:
    delete(home, name)
    shutil.copy(backup / name, home / name)


def untied(home: Path) -> None:
    """Bring both files to what the version before wrote, which knew no ties."""
    if (home / "gallery.db").exists():
        with closing(sqlite3.connect(home / "gallery.db")) as gallery, gallery:
            gallery.execute("DELETE FROM meta WHERE name <> 'model'")
    if (home / "records.db").exists():
        with closing(sqlite3.connect(home / "records.db")) as records, records:
            records.execute("UPDATE gallery SET gallery_id = NULL, newest = NULL")
