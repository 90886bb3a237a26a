"""The gallery in PostgreSQL: `sql`'s, for processes on any number of machines.

A process knows a face by its number, and asks for those above the highest that it knows. So numbers must become visible
in their order, which those of a sequence do not: a transaction may commit after another that drew a later number. Here
a number is the value of one row plus one. The row's lock is held until the commit, so one transaction adds at a time.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfiegate.galleries.bond import Bond, Notes
from selfiegate.galleries.postgres_sketches import PostgresSketches
from selfiegate.galleries.sketch import SketchIndex, sketch
from selfiegate.galleries.sql import NewFace, SqlGallery
from selfiegate.model import Match
from selfiegate.postgres_connections import Connection
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.postgres_schema import Migration, migrate
from selfiegate.records import Records

_MEND = "restore the whole database from one backup; see 'A gallery or records that are lost' in docs/operations.md"
_COPIED = 10_000
"""Faces written at once, 11 MB."""

_FIRST = """
CREATE TABLE gallery_notes (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO gallery_notes VALUES ('newest', '0');
CREATE TABLE faces (
    id bigint PRIMARY KEY,
    face_id text COLLATE "C" NOT NULL UNIQUE,
    user_id text COLLATE "C" NOT NULL,
    embedding bytea NOT NULL);
CREATE INDEX faces_by_user ON faces (user_id, id);
CREATE TABLE sketches (
    id bigint PRIMARY KEY,
    bits bytea,  -- NULL once the face is removed, and for a removal
    removed bigint,  -- the face that a removal removed
    token uuid NOT NULL DEFAULT gen_random_uuid());
ALTER TABLE faces ALTER COLUMN embedding SET STORAGE PLAIN;
ALTER TABLE sketches ALTER COLUMN bits SET STORAGE PLAIN;
"""
GALLERY = (Migration(_FIRST, oldest_program=1),)

STATE_SQL = """
SELECT (SELECT value FROM gallery_notes WHERE name = 'id') AS id,
       (SELECT value FROM gallery_notes WHERE name = 'records') AS records,
       coalesce((SELECT value::bigint FROM gallery_notes WHERE name = 'relied_on'), 0) AS relied_on,
       (SELECT value::bigint FROM gallery_notes WHERE name = 'newest') AS newest
"""
_NEWEST = "SELECT value::bigint AS newest FROM gallery_notes WHERE name = 'newest'"
_ADD = """
WITH numbered AS (
    UPDATE gallery_notes SET value = (value::bigint + 1)::text
    WHERE name = 'newest' AND NOT EXISTS (SELECT 1 FROM faces WHERE face_id = :face_id)
    RETURNING value::bigint AS id
), face AS (
    INSERT INTO faces (id, face_id, user_id, embedding) SELECT id, :face_id, :user_id, :embedding FROM numbered
)
INSERT INTO sketches (id, bits) SELECT id, :bits FROM numbered
"""
_REMOVE = """
WITH gone AS (
    DELETE FROM faces WHERE face_id = ? RETURNING id
), blank AS (
    UPDATE sketches SET bits = NULL FROM gone WHERE sketches.id = gone.id
), numbered AS (
    UPDATE gallery_notes SET value = (value::bigint + 1)::text WHERE name = 'newest' AND EXISTS (SELECT 1 FROM gone)
    RETURNING value::bigint AS id
)
INSERT INTO sketches (id, removed) SELECT numbered.id, gone.id FROM numbered, gone
"""


class FaceRow(NamedTuple):
    """One face, as it is stored."""

    id: int
    face_id: str
    user_id: str
    embedding: bytes
    bits: bytes


def copy_in(connection: Connection, rows: Sequence[FaceRow]) -> None:
    """Write faces whose numbers are above all others."""
    with connection.cursor().copy("COPY faces (id, face_id, user_id, embedding) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row[:4])
    with connection.cursor().copy("COPY sketches (id, bits) FROM STDIN") as copy:
        for row in rows:
            copy.write_row((row.id, row.bits))


class PostgresGallery(SqlGallery):
    """A gallery in a database that processes on any number of machines share."""

    embeddings_sql = f"""
    SELECT string_agg(int8send(id) || embedding, ''::bytea) FROM faces WHERE id {PostgresDatabase.among_numbers}
    """  # noqa: S608  a constant

    def __init__(
        self,
        database: PostgresDatabase,
        model: str,
        dimensions: int = 512,
        records: Records | None = None,
        together: bool = False,
        snapshot: Path | None = None,
    ) -> None:
        """Bring the tables up to date; raises `BackendMisconfigured` where they hold another model's faces.

        With `records` the gallery is held to them, now and at each use: see `bond`. `together`: they are written
        through the same `database`. With `snapshot`, a file, sketches are kept there for the next start.
        """
        migrate(database, "gallery", GALLERY)
        self._tables, self._together = database, together
        notes = Notes(f"the gallery in {database.place}", _MEND, database, "gallery_notes", STATE_SQL)
        bond = Bond(notes, records, model, together) if records else None
        super().__init__(database, model, dimensions, bond)
        self._local = threading.local()
        self.require_model(notes, "SELFIEGATE_DATABASE to a new database")
        if bond:
            bond.tie()
        self._sketches_here = PostgresSketches(database, dimensions // 8, notes.state().id, snapshot)

    def newest(self) -> int:
        """Return the highest number; numbers only grow, and become visible in their order."""
        with self._tables.apart(), self._lock:
            return self._sketches_here.newest()

    def search_many(
        self, embeddings: Sequence[NDArray[np.float32]], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Sequence[Match]]:
        """Search what is committed, also within a transaction; a mark from before a takeover leaves nothing out."""
        with self._tables.apart():
            found = super().search_many(embeddings, limit, floor, above)
            trusted = not 0 < above <= self._sketches_here.distrusted
            return found if trusted else super().search_many(embeddings, limit, floor)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make what this thread adds one transaction; the records then rely on it, by the same one where they can."""
        if getattr(self._local, "adds", False):
            yield
            return
        mark = self._bond.mark() if self._bond and not self._together else None
        with self._tables.write():
            self._tables.read(f"{_NEWEST} FOR UPDATE")  # the lock: no other transaction adds until this one has ended
            if self._bond:
                self._bond.check_in(self._bond.mark() if self._together else mark)
            self._local.adds = True
            try:
                yield
            finally:
                self._local.adds = False
            if self._bond and self._together:
                self._bond.rely_on()
        if self._bond and not self._together:
            self._bond.rely_on()

    def add(self, face_id: str, user_id: str, embedding: NDArray[np.float32]) -> None:
        """Store a face; an id that is stored already stays as it is."""
        halves, bits = embedding.astype(np.float16).tobytes(), sketch(embedding)
        with self.batch():
            face = {"face_id": face_id, "user_id": user_id, "embedding": halves, "bits": bits}
            self._tables.execute(_ADD, face)

    def add_all(self, faces: Iterable[NewFace]) -> None:
        """Store many faces in one transaction."""
        faces = iter(faces)
        with self.batch():
            while some := list(itertools.islice(faces, _COPIED)):
                self._copy_in(some)

    def _copy_in(self, faces: Sequence[NewFace]) -> None:
        held = self.held([face_id for face_id, _, _ in faces])
        first_of_each = {face[0]: face for face in reversed(faces)}
        new = [face for face in reversed(first_of_each.values()) if face[0] not in held]
        (row,) = self._tables.read(_NEWEST)
        numbered = [
            FaceRow(number, face_id, user_id, embedding.astype(np.float16).tobytes(), sketch(embedding))
            for number, (face_id, user_id, embedding) in enumerate(new, row["newest"] + 1)
        ]
        with self._tables.write() as connection:
            copy_in(connection, numbered)
        sql = "UPDATE gallery_notes SET value = ? WHERE name = 'newest'"
        self._tables.execute(sql, str(row["newest"] + len(new)))

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""
        self._check()
        if self._tables.read("SELECT 1 FROM faces WHERE face_id = ?", face_id):
            with self.batch():
                self._tables.execute(_REMOVE, face_id)

    def close(self) -> None:
        """Wait for the copy that is being written, if there is one."""
        self._sketches_here.close()

    def _packed(self, sql: str, *parameters: Any) -> bytes:
        (row,) = self._tables.read_binary(sql, *parameters)
        return bytes(next(iter(row.values())) or b"")

    def _read_new_sketches(self) -> SketchIndex:
        return self._sketches_here.current()
