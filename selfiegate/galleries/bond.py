"""Holds the embedded gallery and the records to each other, so that neither is used beside a stranger.

A gallery that is lost, older or another's would call everybody new. So the records note which gallery they rely on and
its highest face number, which never falls. The gallery notes which records it belongs to and how far these had come.
"""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from selfiegate.clock import LAST_MOMENT
from selfiegate.errors import BackendMisconfigured
from selfiegate.known_gallery import GalleryMark
from selfiegate.records import Records
from selfiegate.sqlite_database import Database

_MEND = (
    "put back the file that belongs here and start again, or run `selfiegate restore`; "
    "see 'A gallery or records that are lost' in docs/operations.md"
)

_STATE = """
SELECT (SELECT value FROM meta WHERE name = 'id') AS id,
       (SELECT value FROM meta WHERE name = 'records') AS records,
       coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'relied_on'), 0) AS relied_on,
       coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'faces'), 0) AS newest
"""


_RELIED_ON = """
INSERT INTO meta (name, value) VALUES ('relied_on', ?) ON CONFLICT DO UPDATE SET value = excluded.value
WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER)
"""
_REMOVED = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'faces'"
_ANY_ROW = "SELECT 1 FROM claims UNION ALL SELECT 1 FROM profiles UNION ALL SELECT 1 FROM erasures LIMIT 1"


class GalleryState(NamedTuple):
    """What a gallery file says of itself."""

    id: str
    records: str | None
    relied_on: int
    newest: int


def state(database: Database) -> GalleryState:
    """Read a gallery's own notes."""
    return GalleryState(*database.read(_STATE)[0])


class Bond:
    """The check that a gallery and its records belong together, at start and at each use."""

    def __init__(self, path: Path, records: Records) -> None:
        """Refuse where the records rely on a gallery that is not there; nothing is created then."""
        self._path, self._records, self._is_behind = path, records, False
        mark = records.known_gallery.get()
        if mark and not path.exists():
            raise BackendMisconfigured(f"{path} is not there, but the records rely on its faces; {_MEND}")

    def tie(self, database: Database) -> None:
        """Tie a gallery that was opened to the records, where neither is tied yet; refuse it where they do not match.

        Files of a version that knew no ties are tied once every profile's face is found in the gallery.
        """
        database.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('id', ?)", uuid.uuid4().hex)
        found = state(database)
        if self._records.known_gallery.get() is None and found.records in (
            None,
            self._records.known_gallery.records_id,
        ):
            if found.records is None:
                self._require_faces_of_profiles(database)
            self._records.known_gallery.keep(GalleryMark(gallery_id=found.id, newest=found.newest))
        if found.records is None:
            database.execute(
                "INSERT OR IGNORE INTO meta (name, value) VALUES ('records', ?)", self._records.known_gallery.records_id
            )
        self.check(database)

    def check(self, database: Database) -> None:
        """Raise `BackendMisconfigured` unless the two belong together and neither is older than the other knows."""
        mark = self._records.known_gallery.get()  # before the gallery is read, which is ahead of its mark
        self._compare(mark, state(database))
        if self._is_behind and mark and self._records.known_gallery.is_durable:
            self._is_behind = False
            database.execute(_RELIED_ON, str(mark.newest))

    def check_in(self, connection: sqlite3.Connection, mark: GalleryMark | None) -> None:
        """Do the same within a transaction on the gallery, with a mark read before it, and note how far that was."""
        self._compare(mark, GalleryState(*connection.execute(_STATE).fetchone()))
        if mark and self._records.known_gallery.is_durable:
            connection.execute(_RELIED_ON, (str(mark.newest),))

    @staticmethod
    def note_removal(connection: sqlite3.Connection) -> None:
        """Count a removal as a change, too: an older copy, which holds the face still, is then known to be older."""
        connection.execute(_REMOVED)

    def mark(self) -> GalleryMark | None:
        """Return what the records rely on."""
        return self._records.known_gallery.get()

    def rely_on(self, database: Database) -> None:
        """Let the records rely on the gallery as it is now, and the gallery know that they do.

        The gallery may know only what the records hold for good: a process may die before they do. So within a
        transaction on the records it learns that later, by the next check.
        """
        found = state(database)
        self._records.known_gallery.keep(GalleryMark(gallery_id=found.id, newest=found.newest))
        if self._records.known_gallery.is_durable:
            database.execute(_RELIED_ON, str(found.newest))
        else:
            self._is_behind = True

    def _compare(self, mark: GalleryMark | None, found: GalleryState) -> None:
        records_id = self._records.known_gallery.records_id
        if mark is None or found.records != records_id:
            raise BackendMisconfigured(f"{self._path} belongs to other records than those in use; {_MEND}")
        if found.id != mark.gallery_id:
            raise BackendMisconfigured(f"{self._path} is not the gallery that the records rely on; {_MEND}")
        if found.newest < mark.newest:
            raise BackendMisconfigured(
                f"{self._path} is older than the records: it ends with face number {found.newest}, "
                f"and they rely on number {mark.newest}; {_MEND}"
            )
        if found.relied_on > mark.newest:  # another process may have raised the mark since it was read; it never falls
            mark = self.mark() or mark
        if found.relied_on > mark.newest:
            raise BackendMisconfigured(
                f"the records are older than {self._path}: they rely on its face number {mark.newest}, "
                f"and have relied on number {found.relied_on}; {_MEND}"
            )

    def _require_faces_of_profiles(self, database: Database) -> None:
        held = {row[0] for row in database.read("SELECT face_id FROM faces")}
        model = database.read("SELECT value FROM meta WHERE name = 'model'")[0][0]
        known = [profile for profile in self._records.profiles.all() if profile.model == model]
        gone = [profile.user_id for profile in known if profile.face_id not in held]
        if missing := [user_id for user_id in gone if not self._holds_face_of(database, user_id)]:
            raise BackendMisconfigured(
                f"{self._path} lacks the faces of {len(missing)} of {len(known)} users with a profile "
                f"({missing[0]!r} is one); {_MEND}"
            )
        still = held and database.read("SELECT 1 FROM faces LIMIT 1")  # another process may have removed what was read
        if still and not known and not self._records.ledger.unfinished(before=LAST_MOMENT):
            raise BackendMisconfigured(f"{self._path} holds {len(held)} faces, and the records know nobody; {_MEND}")

    def _holds_face_of(self, database: Database, user_id: str) -> bool:
        """Look again: a process of the version before may have replaced a face meanwhile."""
        profile = self._records.profiles.get(user_id)
        return not profile or bool(database.read("SELECT 1 FROM faces WHERE face_id = ?", profile.face_id))


def fits(mark: GalleryMark, gallery: GalleryState) -> bool:
    """Say whether records and gallery know each other and neither is older than the other knows."""
    return (
        bool(mark.gallery_id) and gallery.id == mark.gallery_id and gallery.newest >= mark.newest >= gallery.relied_on
    )


def state_of(path: Path) -> GalleryState | None:
    """Return what a gallery file says of itself; None where it is missing or damaged, no id where it knows no ties."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            found = GalleryState(*database.execute(_STATE).fetchone())
    except sqlite3.Error:
        return None
    return found._replace(id=found.id or "")


def mark_of(path: Path) -> GalleryMark | None:
    """Return what records rely on; None where they are missing, damaged or hold no row, no id where they are untied."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as records:
            rows = records.execute(_ANY_ROW).fetchone()
            tied = records.execute("SELECT 1 FROM sqlite_schema WHERE name = 'gallery'").fetchone()
            held = records.execute("SELECT gallery_id, newest FROM gallery").fetchone() if tied else None
    except sqlite3.Error:
        return None
    gallery_id, newest = held or (None, None)
    return GalleryMark(gallery_id=gallery_id or "", newest=newest or 0) if rows else None


def renewed(gallery: Path, records: Path, gallery_id: str, newest: int) -> None:
    """Tie the files of a gallery and of records to each other as a new pair, which goes on from a number or later."""
    with closing(sqlite3.connect(gallery)) as database, database:
        database.execute("ATTACH ? AS records", (str(records),))
        (records_id,) = database.execute("SELECT records_id FROM records.gallery").fetchone()
        notes = {"id": gallery_id, "records": records_id, "relied_on": "0"}
        database.executemany("INSERT OR REPLACE INTO main.meta VALUES (?, ?)", notes.items())
        (number,) = database.execute(
            "SELECT max(?, coalesce(max(seq), 0)) FROM main.sqlite_sequence", (newest,)
        ).fetchone()
        database.execute("DELETE FROM main.sqlite_sequence WHERE name = 'faces'")
        database.execute("INSERT INTO main.sqlite_sequence VALUES ('faces', ?)", (number,))
        database.execute("UPDATE records.gallery SET gallery_id = ?, newest = ?", (gallery_id, number))
