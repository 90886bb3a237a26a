"""Holds a gallery and the records to each other, so that neither is used beside a stranger.

A gallery that is lost, older or another's would call everybody new. So the records note which gallery they rely on and
its highest face number, which never falls. The gallery notes which records it belongs to and how far these had come.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from selfiegate.clock import LAST_MOMENT
from selfiegate.errors import BackendMisconfigured
from selfiegate.known_gallery import GalleryMark
from selfiegate.move_notes import require_settled
from selfiegate.records import Records
from selfiegate.sql_database import SqlDatabase

MEND = (
    "put back the file that belongs here and start again, or run `selfiegate restore`; "
    "see 'A gallery or records that are lost' in docs/operations.md"
)


class GalleryState(NamedTuple):
    """What a gallery says of itself."""

    id: str
    records: str | None
    relied_on: int
    newest: int


class Notes(NamedTuple):
    """Where a gallery keeps what it says of itself."""

    place: str
    """For messages."""
    mend: str
    """What is to be done where gallery and records do not belong together."""
    database: SqlDatabase
    table: str
    """With a name and a value in each row."""
    state_sql: str
    """Selects the one `GalleryState`."""

    def state(self) -> GalleryState:
        """Read all of it."""
        (row,) = self.database.read(self.state_sql)
        return GalleryState(row["id"], row["records"], row["relied_on"], row["newest"])

    def note_once(self, name: str, value: str) -> None:
        """Note something that is not known yet."""
        sql = f"INSERT INTO {self.table} (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING"  # noqa: S608  a constant
        self.database.execute(sql, name, value)

    def note_relied_on(self, number: int) -> None:
        """Note how far the records have come; it never falls."""
        known = f"CAST({self.table}.value AS BIGINT)"
        sql = f"""
        INSERT INTO {self.table} (name, value) VALUES ('relied_on', ?)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE CAST(excluded.value AS BIGINT) > {known}
        """  # noqa: S608  constants
        self.database.execute(sql, str(number))


class Bond:
    """The check that a gallery and its records belong together, at start and at each use."""

    def __init__(self, notes: Notes, records: Records, model: str, together: bool = False) -> None:
        """Prepare the check; `together`: both lie in one database, where one commit can hold what each notes."""
        self._notes, self._known, self._records = notes, records.known_gallery, records
        self._model, self._together, self._is_behind = model, together, False

    def tie(self) -> None:
        """Tie a gallery that was opened to the records, where neither is tied yet; refuse it where they do not match.

        Files of a version that knew no ties are tied once every profile's face is found in the gallery.
        """
        self._notes.note_once("id", uuid.uuid4().hex)
        found = self._notes.state()
        if self._known.get() is None and found.records in (None, self._known.records_id):
            if found.records is None:
                self._require_faces_of_profiles()
            self._known.keep(GalleryMark(gallery_id=found.id, newest=found.newest))
        if found.records is None:
            self._notes.note_once("records", self._known.records_id)
        self.check()

    def check(self) -> None:
        """Raise `BackendMisconfigured` unless the two belong together and neither is older than the other knows."""
        mark = self._known.get()  # before the gallery is read, which is ahead of its mark
        self._compare(mark, self._notes.state())
        if self._is_behind and mark and self._known.is_durable:
            self._is_behind = False
            self._notes.note_relied_on(mark.newest)

    def check_in(self, mark: GalleryMark | None) -> None:
        """Do the same within a transaction on the gallery, with a mark read before it, and note how far that was."""
        self._compare(mark, self._notes.state())
        if mark and self._known.is_durable:
            self._notes.note_relied_on(mark.newest)

    def mark(self) -> GalleryMark | None:
        """Return what the records rely on."""
        return self._known.get()

    def rely_on(self) -> None:
        """Let the records rely on the gallery as it is now, and the gallery know that they do.

        The gallery may know only what the records hold for good: a process may die before they do. So within a
        transaction on the records it learns that later, by the next check; or by the same transaction.
        """
        found = self._notes.state()
        self._known.keep(GalleryMark(gallery_id=found.id, newest=found.newest))
        if self._known.is_durable or self._together:
            self._notes.note_relied_on(found.newest)
        else:
            self._is_behind = True

    def _compare(self, mark: GalleryMark | None, found: GalleryState) -> None:
        require_settled(mark)
        place, mend = self._notes.place, self._notes.mend
        if mark is None or found.records != self._known.records_id:
            raise BackendMisconfigured(f"{place} belongs to other records than those in use; {mend}")
        if found.id != mark.gallery_id:
            raise BackendMisconfigured(f"{place} is not the gallery that the records rely on; {mend}")
        if found.newest < mark.newest:
            raise BackendMisconfigured(
                f"{place} is older than the records: it ends with face number {found.newest}, "
                f"and they rely on number {mark.newest}; {mend}"
            )
        if found.relied_on > mark.newest:  # another process may have raised the mark since it was read; it never falls
            mark = self.mark() or mark
        if found.relied_on > mark.newest:
            raise BackendMisconfigured(
                f"the records are older than {place}: they rely on its face number {mark.newest}, "
                f"and have relied on number {found.relied_on}; {mend}"
            )

    def _require_faces_of_profiles(self) -> None:
        database, place, mend = self._notes.database, self._notes.place, self._notes.mend
        held = {row["face_id"] for row in database.read("SELECT face_id FROM faces")}
        known = [profile for profile in self._records.profiles.all() if profile.model == self._model]
        gone = [profile.user_id for profile in known if profile.face_id not in held]
        if missing := [user_id for user_id in gone if not self._holds_face_of(user_id)]:
            raise BackendMisconfigured(
                f"{place} lacks the faces of {len(missing)} of {len(known)} users with a profile "
                f"({missing[0]!r} is one); {mend}"
            )
        still = held and database.read("SELECT 1 FROM faces LIMIT 1")  # another process may have removed what was read
        if still and not known and not self._records.ledger.unfinished(before=LAST_MOMENT):
            raise BackendMisconfigured(f"{place} holds {len(held)} faces, and the records know nobody; {mend}")

    def _holds_face_of(self, user_id: str) -> bool:
        """Look again: a process of the version before may have replaced a face meanwhile."""
        profile = self._records.profiles.get(user_id)
        sql = "SELECT 1 FROM faces WHERE face_id = ?"
        return not profile or bool(self._notes.database.read(sql, profile.face_id))
