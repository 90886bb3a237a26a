"""The two sides of a move: SQLite files, PostgreSQL, DynamoDB's tables."""

from __future__ import annotations

import sqlite3
import time
from abc import ABC, abstractmethod
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from selfiegate.clock import LAST_MOMENT, now_us
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.extras import named_when_missing
from selfiegate.gallery import Gallery
from selfiegate.home_use import used_alone
from selfiegate.known_gallery import GalleryMark
from selfiegate.move_notes import MoveNote, note_in
from selfiegate.moved_rows import TABLES, RowStore
from selfiegate.records import Records
from selfiegate.settings import Settings
from selfiegate.sqlite_database import Database
from selfiegate.stores.sql_records import sql_records
from selfiegate.stores.sql_rows_moved import SqlRows
from selfiegate.stores.sqlite_schema import RECORDS

if TYPE_CHECKING:
    from selfiegate.galleries.moved_faces import FaceRows, SqliteFaces

_LOCK = 7_355_609
"""An advisory lock of ours: one move at a time."""


class Place(ABC):
    """Records, and the faces beside them where these are embedded."""

    name: str
    """For people."""
    settings: Settings
    """Those of an installation that works there."""
    records: Records
    rows: RowStore
    faces: FaceRows | None = None
    keeps_bookmarks = True
    """Whether an audit may go on where one stopped that went through another such place."""

    def note(self) -> MoveNote | None:
        """Return why the records may not be used, if so."""
        return note_in(self.records.known_gallery.get())

    def set(self, mark: GalleryMark | None) -> None:
        """Let the records rely on a gallery, or bear a note."""
        self.records.known_gallery.replace(mark)

    def fence(self, note: MoveNote) -> None:
        """Keep all others out from now on; raises `BackendMisconfigured` while somebody is in."""
        before = self.records.known_gallery.get()
        self.set(note.as_mark)
        try:
            self.require_idle()
        except BackendMisconfigured:
            self.set(before)
            raise

    def require_idle(self) -> None:
        """Raise `BackendMisconfigured` where a lease says that somebody works there.

        A process that has nothing to do holds no lease. It meets the note when it next uses the gallery, or, beside
        Rekognition, within `aws.compare_s` of that: so leases are looked at so much later.
        """
        if self.settings.backend == "rekognition":
            time.sleep(self.settings.aws.compare_s)
        until = max((one.lease_until for one in self.records.erasures.unfinished() if not one.problem), default=0)
        last = self.records.ledger.unfinished(LAST_MOMENT, 1, newest_first=True)
        until = max(until, *(row.lease_until for row in last), 0)
        if until > now_us():
            raise BackendMisconfigured(
                f"somebody works with {self.name}: a lease ends at {datetime.fromtimestamp(until / 1e6, UTC):%T %Z}; "
                "stop workers, bridge and commands, wait until then, and run it again"
            )

    def waiting_events(self) -> int:
        """Count photo events that wait there; they do not move."""
        return 0

    def require_free(self, other: Place) -> None:
        """Raise `WrongInput` unless this holds nothing, or what has moved from here to the other side, or half of it.

        What is there of that is out of date, and goes.
        """
        note = self.note()
        if note and note.peer == other.records.known_gallery.records_id:
            return
        if note:
            raise WrongInput(f"{self.name} is in a move from or to {note.place}; name another target")
        if any(self.rows.count(table) for table in TABLES) or (self.faces and self.faces.count()):
            raise WrongInput(f"{self.name} holds something already, and two installations are not mixed; name another")

    def empty(self) -> None:
        """Remove all rows and faces."""
        self.rows.empty()
        if self.faces:
            self.faces.empty()

    @abstractmethod
    def open_gallery(self, model: str) -> Gallery:
        """Open embedded faces, held to no records, to look at them."""


class SqlitePlace(Place):
    """Two files in `SELFIEGATE_HOME`."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.name = settings, f"SQLite in {settings.folder}"
        self._path, self._faces_path = settings.folder / "records.db", settings.folder / "gallery.db"
        self._open()

    def _open(self) -> None:
        patience_s = self.settings.store_patience_s
        self._database = Database(self._path, RECORDS, patience_s)
        self.records, self.rows = sql_records(self._database), SqlRows(self._database)
        self._gallery: SqliteFaces | None = None
        if self.settings.backend == "insightface":
            from selfiegate.galleries.moved_faces import SqliteFaces

            self.faces = self._gallery = SqliteFaces(self._faces_path, patience_s)

    def close(self) -> None:
        """Use the files no more."""
        self._database.close()
        if self._gallery:
            self._gallery.close()

    def fence(self, note: MoveNote) -> None:
        """Write the note while nobody else has the files open; who opens them later sees it."""
        self.close()
        try:
            with used_alone(self.settings.folder), closing(sqlite3.connect(self._path)) as file, file:
                file.execute("UPDATE gallery SET gallery_id = ?, newest = 0", (note.as_mark.gallery_id,))
        finally:
            self._open()

    def require_idle(self) -> None:
        """Nobody is there: `fence` saw to it."""

    def open_gallery(self, model: str) -> Gallery:
        """Open the file."""
        from selfiegate.galleries.sqlite import SqliteGallery

        return SqliteGallery(self._faces_path, model, patience_s=self.settings.store_patience_s)


class PostgresPlace(Place):
    """Tables of one database."""

    def __init__(self, settings: Settings) -> None:
        from psycopg.conninfo import make_conninfo

        from selfiegate.postgres_database import PostgresDatabase
        from selfiegate.stores.postgres_records import postgres_records

        ours = make_conninfo(settings.database_url, application_name="selfiegate move")
        self._database = PostgresDatabase(ours, settings.store_patience_s)
        self._alone = self._database.hold(_LOCK, "another `selfiegate move` is at work there")
        self.settings, self.name = settings, self._database.place
        self.records, self.rows = postgres_records(self._database), SqlRows(self._database)
        if settings.backend == "insightface":
            from selfiegate.galleries.moved_faces import PostgresFaces

            self.faces = PostgresFaces(self._database)

    def require_idle(self) -> None:
        """Look at the connections of other processes, too; one that idles for ten minutes has none."""
        sql = """SELECT count(*) AS others FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'selfiegate'"""
        if others := self._database.read(sql)[0]["others"]:
            raise BackendMisconfigured(
                f"somebody works with {self.name}: selfiegate has {others} other connections to it; stop workers, "
                "bridge and commands, and run it again"
            )
        super().require_idle()

    def waiting_events(self) -> int:
        """Count what no bridge has finished."""
        if not self._database.read("SELECT to_regclass('photo_events') IS NOT NULL AS found")[0]["found"]:
            return 0
        rows = self._database.read("SELECT count(*) AS events FROM photo_events WHERE died_at IS NULL")
        return int(rows[0]["events"])

    def open_gallery(self, model: str) -> Gallery:
        """Open the tables."""
        from selfiegate.galleries.postgres import PostgresGallery

        return PostgresGallery(self._database, model)


class DynamoPlace(Place):
    """The two tables of the AWS settings."""

    keeps_bookmarks = False

    def __init__(self, settings: Settings) -> None:
        from selfiegate.databases import open_dynamodb
        from selfiegate.stores.dynamodb_rows_moved import DynamoRows

        self.settings, self.name = settings, f"DynamoDB's {settings.aws.ledger_table}"
        self.records, self.rows = open_dynamodb(settings), DynamoRows(settings.aws, settings.rejected_days)

    def require_free(self, other: Place) -> None:
        """Take back what has moved from here, and nothing else."""
        if self.note() is None:
            raise WrongInput(f"records move to {self.name} only where they came from there")
        super().require_free(other)

    def open_gallery(self, model: str) -> Gallery:
        """Refuse: faces are in a collection of Rekognition, which has a backend of its own."""
        raise WrongInput(f"{self.name} holds no faces of {model}")


def source_of(settings: Settings) -> Place:
    """Open what is moved; refuse a home that holds nothing, before empty files are made there."""
    if settings.records == "sqlite" and not (settings.folder / "records.db").exists():
        raise WrongInput(f"there is no {settings.folder / 'records.db'} to move; is SELFIEGATE_HOME right?")
    return place_of(settings)


@named_when_missing()
def place_of(settings: Settings) -> Place:
    """Open one side."""
    match settings.records:
        case "sqlite":
            return SqlitePlace(settings)
        case "postgres":
            return PostgresPlace(settings)
        case "dynamodb":
            return DynamoPlace(settings)


def require_supported(source: Settings, target: Settings) -> None:
    """Raise `WrongInput` for a move that there is not."""
    if (source.records == "postgres") == (target.records == "postgres"):
        raise WrongInput(
            f"there is no move from {source.records} to {target.records}: one side is PostgreSQL, the other SQLite or "
            "DynamoDB; from one PostgreSQL to another, take pg_dump and pg_restore while nothing runs"
        )
    if source.backend == "insightface" and "dynamodb" in (source.records, target.records):
        raise WrongInput(
            "records move from or to DynamoDB with Rekognition alone: with SELFIEGATE_BACKEND=insightface records "
            "and faces move together, and there are no faces in DynamoDB"
        )
