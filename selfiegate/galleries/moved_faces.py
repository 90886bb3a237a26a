"""The faces of a gallery as rows: a move takes them as they are, numbers and sketches included."""

# ruff: noqa: S608  the only text put into statements are the constants below

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfiegate.galleries.bond import GalleryState
from selfiegate.galleries.bond_of_files import STATE
from selfiegate.galleries.postgres import GALLERY as IN_POSTGRES
from selfiegate.galleries.postgres import STATE_SQL, FaceRow, copy_in
from selfiegate.galleries.sketch import sketch
from selfiegate.galleries.sqlite import GALLERY as IN_SQLITE
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.postgres_schema import migrate
from selfiegate.sql_database import SqlDatabase
from selfiegate.sqlite_database import Database

_AT_ONCE = 5_000
"""Faces: 6 MB."""


class FaceRows(ABC):
    """The faces of one gallery. Their numbers only grow, so what is there already of a move is all up to a number."""

    notes: str
    """The table of what the gallery says of itself."""
    state_sql: str

    def __init__(self, database: SqlDatabase) -> None:
        self.database = database

    def pages(self, after: int = 0) -> Iterator[Sequence[FaceRow]]:
        """Go through all faces behind a number, in the order of their numbers."""
        while rows := self._page(after):
            yield rows
            after = rows[-1].id

    def _page(self, after: int) -> Sequence[FaceRow]:
        sql = f"""SELECT faces.id AS id, face_id, user_id, embedding, bits
            FROM faces LEFT JOIN sketches ON sketches.id = faces.id
            WHERE faces.id > ? ORDER BY faces.id LIMIT {_AT_ONCE}"""
        return [_face(row) for row in self._read(sql, after)]

    def _read(self, sql: str, *parameters: Any) -> Sequence[Mapping[str, Any]]:
        return self.database.read(sql, *parameters)  # type: ignore[return-value]

    @abstractmethod
    def put(self, rows: Sequence[FaceRow]) -> None:
        """Store more faces, whose numbers are above all others."""

    def same(self, rows: Sequence[FaceRow]) -> bool:
        """Say whether just these faces are there between the first and the last of them."""
        return bool(rows) and list(self._page(rows[0].id - 1))[: len(rows)] == list(rows)

    def last(self) -> int:
        """Return the highest number of a face that is there."""
        return int(self.database.read("SELECT coalesce(max(id), 0) AS last FROM faces")[0]["last"])

    def count(self) -> int:
        """Count all faces."""
        return int(self.database.read("SELECT count(*) AS faces FROM faces")[0]["faces"])

    def empty(self) -> None:
        """Remove all faces, some at a time; numbers go on."""
        for table in ("sketches", "faces"):
            some = f"SELECT id FROM {table} LIMIT {_AT_ONCE}"
            while self.database.execute(f"DELETE FROM {table} WHERE id IN ({some})"):
                pass

    def state(self) -> GalleryState:
        """Return what the gallery says of itself."""
        (row,) = self.database.read(self.state_sql)
        return GalleryState(row["id"] or "", row["records"], row["relied_on"], row["newest"])

    def model(self) -> str:
        """Return whose faces these are; empty where nobody used the gallery yet."""
        rows = self.database.read(f"SELECT value FROM {self.notes} WHERE name = 'model'")
        return str(rows[0]["value"]) if rows else ""

    def tie(self, gallery_id: str, records_id: str, model: str, newest: int) -> None:
        """Let the gallery be another one, of these records, which goes on from a number; may be repeated."""
        told = {"id": gallery_id, "records": records_id, "relied_on": "0", "model": model}
        sql = f"""INSERT INTO {self.notes} (name, value) VALUES (?, ?)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
        with self.database.write():
            self.database.execute_many(sql, list(told.items()))
            self._go_on_from(newest)

    @abstractmethod
    def _go_on_from(self, newest: int) -> None:
        """Let the next face have a higher number than this."""


class SqliteFaces(FaceRows):
    """Those of `gallery.db`."""

    notes, state_sql = "meta", STATE

    def __init__(self, path: Path, patience_s: float) -> None:
        self._file = Database(path, IN_SQLITE, patience_s)
        super().__init__(self._file)

    def put(self, rows: Sequence[FaceRow]) -> None:
        """Store more faces."""
        with self.database.write():
            sql = "INSERT INTO faces (id, face_id, user_id, embedding) VALUES (?, ?, ?, ?)"
            self.database.execute_many(sql, [row[:4] for row in rows])
            self.database.execute_many(
                "INSERT INTO sketches (id, bits) VALUES (?, ?)", [(row.id, row.bits) for row in rows]
            )

    def close(self) -> None:
        """Use the file no more."""
        self._file.close()

    def _go_on_from(self, newest: int) -> None:
        self.database.execute("DELETE FROM sqlite_sequence WHERE name = 'faces'")
        self.database.execute("INSERT INTO sqlite_sequence VALUES ('faces', ?)", newest)


class PostgresFaces(FaceRows):
    """Those in PostgreSQL."""

    notes, state_sql = "gallery_notes", STATE_SQL

    def __init__(self, database: PostgresDatabase) -> None:
        migrate(database, "gallery", IN_POSTGRES)
        self._tables = database
        super().__init__(database)

    def _read(self, sql: str, *parameters: Any) -> Sequence[Mapping[str, Any]]:
        return self._tables.read_binary(sql, *parameters)

    def put(self, rows: Sequence[FaceRow]) -> None:
        """Store more faces."""
        with self._tables.write() as connection:
            copy_in(connection, rows)

    def _go_on_from(self, newest: int) -> None:
        self.database.execute("UPDATE gallery_notes SET value = ? WHERE name = 'newest'", str(newest))
        # The highest number has its row, as after each change: by its token a takeover is found out.
        self.database.execute("INSERT INTO sketches (id) SELECT ? WHERE ? > 0 ON CONFLICT DO NOTHING", newest, newest)


def _face(row: Mapping[str, Any]) -> FaceRow:
    bits = row["bits"] or sketch(np.frombuffer(row["embedding"], np.float16).astype(np.float32))
    return FaceRow(row["id"], row["face_id"], row["user_id"], bytes(row["embedding"]), bytes(bits))
