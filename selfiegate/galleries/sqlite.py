"""The embedded gallery: `sql`'s in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from selfiegate.galleries.bond import MEND, Bond, Notes
from selfiegate.galleries.bond_of_files import STATE, require_file
from selfiegate.galleries.sketch import SketchIndex, sketch
from selfiegate.galleries.sql import NewFace, SqlGallery
from selfiegate.records import Records
from selfiegate.sql_database import PATIENCE_S
from selfiegate.sqlite_database import Database
from selfiegate.sqlite_schema import Migration, Schema

_FIRST = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: a reader that knows the highest knows all below it
    face_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    embedding BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS faces_by_user ON faces (user_id);
CREATE TABLE IF NOT EXISTS sketches (id INTEGER PRIMARY KEY, bits BLOB NOT NULL);
"""

GALLERY = Schema([Migration(_FIRST, oldest_program=1)])

_NEW_SKETCHES = """
SELECT group_concat(printf('%016x', id) || hex(bits), '')
FROM (SELECT id, bits FROM sketches WHERE id > ? ORDER BY id LIMIT 20000)
"""
_REMOVED = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'faces'"
"""A removal counts as a change, too: an older copy, which holds the face still, is then known to be older."""


class SqliteGallery(SqlGallery):
    """A gallery in one file, shared by any number of processes of one machine."""

    embeddings_sql = """
    SELECT group_concat(printf('%016x', id) || hex(embedding), '')
    FROM faces WHERE id IN (SELECT value FROM json_each(?))
    """

    def __init__(
        self,
        path: Path,
        model: str,
        dimensions: int = 512,
        patience_s: float = PATIENCE_S,
        records: Records | None = None,
    ) -> None:
        """Open or create the gallery; raises `BackendMisconfigured` where it holds another model's faces.

        With `records` it is held to them, now and at each use: see `bond`.
        """
        if records:
            require_file(path, records)
        self._file = Database(path, GALLERY, patience_s)
        notes = Notes(str(path), MEND, self._file, "meta", STATE)
        super().__init__(self._file, model, dimensions, Bond(notes, records, model) if records else None)
        self._index, self._highest = SketchIndex(dimensions // 8), 0
        self._sketches = np.dtype([("id", ">i8"), ("bits", np.uint8, dimensions // 8)])
        self.require_model(notes, "SELFIEGATE_HOME to a new folder")
        if self._bond:
            self._bond.tie()

    def newest(self) -> int:
        """Return the highest row id; ids only grow, and become visible in their order."""
        return int(self._file.read("SELECT coalesce(max(id), 0) FROM faces")[0][0])

    @contextmanager
    def batch(self) -> Iterator[sqlite3.Connection]:
        """Make what this thread adds one transaction; the records then rely on it."""
        if self._bond is None or self._file.in_transaction:
            with self._file.write() as connection:
                yield connection
            return
        mark = self._bond.mark()  # before the gallery is locked: who holds it waits for no other store
        with self._file.write() as connection:
            self._bond.check_in(mark)
            yield connection
        self._bond.rely_on()

    def add_all(self, faces: Iterable[NewFace]) -> None:
        """Store many faces in one transaction."""
        with self.batch() as connection:
            for face_id, user_id, embedding in faces:
                added = connection.execute(
                    "INSERT OR IGNORE INTO faces (face_id, user_id, embedding) VALUES (?, ?, ?)",
                    (face_id, user_id, embedding.astype(np.float16).tobytes()),
                )
                if added.rowcount:
                    connection.execute(
                        "INSERT INTO sketches (id, bits) VALUES (?, ?)", (added.lastrowid, sketch(embedding))
                    )

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""
        self._check()
        if not self._file.read("SELECT 1 FROM faces WHERE face_id = ?", face_id):
            return
        with self.batch() as connection:
            connection.execute("DELETE FROM sketches WHERE id = (SELECT id FROM faces WHERE face_id = ?)", (face_id,))
            connection.execute("DELETE FROM faces WHERE face_id = ?", (face_id,))
            connection.execute(_REMOVED)

    def _packed(self, sql: str, *parameters: Any) -> bytes:
        return bytes.fromhex(self._file.read(sql, *parameters)[0][0] or "")

    def _read_new_sketches(self) -> SketchIndex:
        while packed := self._packed(_NEW_SKETCHES, self._highest):
            rows = np.frombuffer(packed, self._sketches)
            self._index.extend(rows["id"].astype(np.int64), rows["bits"].tobytes())
            self._highest = int(rows["id"][-1])
        return self._index
