"""Photos still to be looked at, in a fixed order, however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from selfiegate.clock import LAST_MOMENT
from selfiegate.errors import BackendUnavailable, WrongInput
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.model import PhotoRef
from selfiegate.ports import PhotoStore
from selfiegate.user_ids import UserId
from selfiegate.values import Value

_BATCH = 5000
_LONGEST = 4096

_ORDERS = {"key": ("uri", "user_id", "version", "modified"), "modified": ("modified", "uri", "user_id", "version")}


def _printable(text: str) -> str:
    """Escape what is not UTF-8 or not printable: names come from anywhere and end on terminals."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_LONGEST])


Shown = Annotated[str, BeforeValidator(_printable)]


class Entry(Value):
    """One photo to be looked at, with its user."""

    uri: str = Field(description="An absolute path, or s3://bucket/key")
    user_id: UserId
    version: str = Field("", description="See `PhotoRef.version`; empty: it is pinned when it is read")
    modified: int = Field(0, ge=0, le=LAST_MOMENT, description="Microseconds since 1970; 0 where that is unknown")
    event: PhotoRequest | None = Field(None, description="What an event told of it, where one did")

    @classmethod
    def of(cls, event: PhotoRequest) -> Entry:
        """Return the photo of an event."""
        return cls(uri=event.photo.uri, user_id=event.user_id, event=event)

    @property
    def upload_order(self) -> str:
        """Where it stands among its user's photos; see `Claim.upload_rank`."""
        if self.event:
            return self.event.upload_order
        return f"{self.modified:016d}" if self.modified else ""


def pinned(photos: PhotoStore, entry: Entry) -> PhotoRef:
    """Return the version of a photo that its entry names, or the present one where it names none."""
    if entry.event:
        return entry.event.photo
    if not entry.version:
        return photos.find(entry.uri)
    bucket, _, key = entry.uri.removeprefix("s3://").partition("/")
    return PhotoRef(bucket=bucket, key=key, version=entry.version)


class Fault(Value):
    """Something that cannot be taken as a photo of a user, and why; never guessed, never fatal."""

    where: Shown
    why: Shown


class Listing:
    """Entries and faults in a temporary file, so that memory stays bounded; gone with the block, or the process.

    Entries are sorted by `key` (their URIs' bytes of UTF-8, as S3 lists) or by when they were `modified`, the
    oldest first, those of unknown age before them. What is added twice counts once. Not for several threads
    at once.
    """

    def __init__(self, order: Literal["key", "modified"] = "key") -> None:
        columns = self._columns = ", ".join(_ORDERS[order])
        with _translated():
            # SQLite unlinks a database without a name as soon as it is opened.
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA synchronous=OFF")
            self._database.execute(
                "CREATE TABLE entries (uri TEXT, user_id TEXT, version TEXT, modified INTEGER, "
                f"PRIMARY KEY ({columns})) WITHOUT ROWID"
            )
            self._database.execute("CREATE TABLE faults (place TEXT, why TEXT, PRIMARY KEY (place, why)) WITHOUT ROWID")

    def __enter__(self) -> Listing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, entries: Iterable[Entry | Fault]) -> None:
        """Take all of these; where their source raises, those before it are kept, up to some thousand."""
        source = iter(entries)
        while batch := list(islice(source, _BATCH)):
            self._write(batch)

    def _write(self, batch: list[Entry | Fault]) -> None:
        found = [(one.uri, one.user_id, one.version, one.modified) for one in batch if isinstance(one, Entry)]
        faults = [(one.where, one.why) for one in batch if isinstance(one, Fault)]
        with _translated(), self._database as database:
            database.execute("BEGIN")
            database.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", found)
            database.executemany("INSERT OR IGNORE INTO faults VALUES (?, ?)", faults)

    def __len__(self) -> int:
        return self._count("SELECT count(*) FROM entries")

    @property
    def fault_count(self) -> int:
        """How many faults there are."""
        return self._count("SELECT count(*) FROM faults")

    @property
    def faults(self) -> Iterable[Fault]:
        """Go through all faults, sorted by where they are."""
        for rows in self._pages("faults", "place, why", 1000):
            yield from (Fault(where=place, why=why) for place, why in rows)

    def chunks(self, size: int) -> Iterator[list[Entry]]:
        """Go through all entries in order, so many at a time; the last chunk may be smaller."""
        if size < 1:
            raise WrongInput(f"a chunk of {size} photos is none; take 1 or more")
        names = self._columns.split(", ")
        for rows in self._pages("entries", self._columns, size):
            yield [Entry.model_validate(dict(zip(names, row, strict=True))) for row in rows]

    def _pages(self, table: str, columns: str, size: int) -> Iterator[list[tuple[object, ...]]]:
        """Read on after the last row of the page before, so that no statement stays open meanwhile."""
        marks = ", ".join("?" * len(columns.split(", ")))
        select, tail = f"SELECT {columns} FROM {table}", f"ORDER BY {columns} LIMIT {size:d}"  # noqa: S608  our names
        rows = self._read(f"{select} {tail}")
        while rows:
            yield rows
            rows = self._read(f"{select} WHERE ({columns}) > ({marks}) {tail}", *rows[-1])

    def _count(self, sql: str) -> int:
        ((found,),) = self._read(sql)
        assert isinstance(found, int)  # noqa: S101  a count
        return found

    def _read(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        with _translated():
            return self._database.execute(sql, parameters).fetchall()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise BackendUnavailable(
            f"the list of photos: {error}; TMPDIR names the folder that it needs room in"
        ) from error
