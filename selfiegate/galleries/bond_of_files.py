"""The bond of a gallery's file with a file of records: what it says, read and written without opening the stores."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.bond import MEND, GalleryState
from selfiegate.known_gallery import GalleryMark
from selfiegate.move_notes import require_settled
from selfiegate.records import Records

STATE = """
SELECT (SELECT value FROM meta WHERE name = 'id') AS id,
       (SELECT value FROM meta WHERE name = 'records') AS records,
       coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'relied_on'), 0) AS relied_on,
       coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'faces'), 0) AS newest
"""
_ANY_ROW = "SELECT 1 FROM claims UNION ALL SELECT 1 FROM profiles UNION ALL SELECT 1 FROM erasures LIMIT 1"


def require_file(path: Path, records: Records) -> None:
    """Refuse a missing file where the records rely on it, before an empty one is made in its place."""
    if records.known_gallery.get() and not path.exists():
        raise BackendMisconfigured(f"{path} is not there, but the records rely on its faces; {MEND}")


def fits(mark: GalleryMark, gallery: GalleryState) -> bool:
    """Say whether records and gallery know each other and neither is older than the other knows."""
    return (
        bool(mark.gallery_id) and gallery.id == mark.gallery_id and gallery.newest >= mark.newest >= gallery.relied_on
    )


def state_of(path: Path) -> GalleryState | None:
    """Return what a gallery file says of itself; None where it is missing or damaged, no id where it knows no ties."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            found = GalleryState(*database.execute(STATE).fetchone())
    except sqlite3.Error:
        return None
    return found._replace(id=found.id or "")


def mark_of(path: Path) -> GalleryMark | None:
    """Return what records rely on; None where they are missing, damaged or hold no row, no id where they are untied.

    Raises `BackendMisconfigured` where they are on the move, or have moved away.
    """
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as records:
            rows = records.execute(_ANY_ROW).fetchone()
            tied = records.execute("SELECT 1 FROM sqlite_schema WHERE name = 'gallery'").fetchone()
            held = records.execute("SELECT gallery_id, newest FROM gallery").fetchone() if tied else None
    except sqlite3.Error:
        return None
    gallery_id, newest = held or (None, None)
    mark = GalleryMark(gallery_id=gallery_id or "", newest=newest or 0)
    require_settled(mark)
    return mark if rows else None


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
