"""The embedded gallery: embeddings in SQLite, their sign sketches in memory, exact scores at the end.

Search takes the `CANDIDATES` nearest by their sketches (see `sketch`) and scores them by the stored embeddings.
Embeddings are kept as float16: the cosine of a unit vector moves by less than 0.0005, a hundredth of what two photos
of one person differ by, and a page holds three rows instead of one.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.bond import Bond
from selfiegate.galleries.sketch import SketchIndex, dots, sketch
from selfiegate.model import Match
from selfiegate.paging import Page
from selfiegate.ports import EnrolledFace, GalleryStats
from selfiegate.records import Records
from selfiegate.sql_database import PATIENCE_S
from selfiegate.sqlite_database import Database
from selfiegate.sqlite_schema import Migration, Schema

CANDIDATES = 64
"""Faces scored exactly, at least."""
_TOGETHER = 20
"""Faces searched together: what is kept of each meanwhile is 0.6 MB at ten million faces."""
_AT_ONCE = 20_000
"""Rows packed into one text, whose length SQLite bounds: 40 MB of embeddings."""

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

# Many rows' ids and blobs as one text: Python would step through them one by one, and let other threads in at each.
_NEW_SKETCHES = """
SELECT group_concat(printf('%016x', id) || hex(bits), '')
FROM (SELECT id, bits FROM sketches WHERE id > ? ORDER BY id LIMIT 20000)
"""
_EMBEDDINGS = """
SELECT group_concat(printf('%016x', id) || hex(embedding), '') FROM faces WHERE id IN (SELECT value FROM json_each(?))
"""
_NAMES = "SELECT id, face_id, user_id FROM faces WHERE id IN (SELECT value FROM json_each(?))"


class SqliteGallery:
    """A gallery in one file, shared by any number of processes."""

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
        self.model = model
        self._bond = Bond(path, records) if records else None
        self._db = Database(path, GALLERY, patience_s)
        self._index = SketchIndex(dimensions // 8)
        self._highest = 0
        self._sketches = np.dtype([("id", ">i8"), ("bits", np.uint8, dimensions // 8)])
        self._embeddings = np.dtype([("id", ">i8"), ("embedding", np.float16, dimensions)])
        self._lock = threading.Lock()
        self._db.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('model', ?)", model)
        held = self._db.read("SELECT value FROM meta WHERE name = 'model'")[0][0]
        if held != model:
            raise BackendMisconfigured(
                f"{path} holds faces of the model {held}, but {model} is loaded, and the two cannot be "
                "compared; set SELFIEGATE_INSIGHTFACE__PACK to the former pack (rec_tiny is of selfiegate_tiny, "
                "w600k_r50 of buffalo_l), or SELFIEGATE_HOME to a new folder and enrol everybody again"
            )
        if self._bond:
            self._bond.tie(self._db)

    def search(
        self, embedding: NDArray[np.float32], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Match]:
        """Return the `limit` nearest faces of this cosine or more, best first, as of all commits before this call."""
        return self.search_many([embedding], limit, floor, above)[0]

    def search_many(
        self, embeddings: Sequence[NDArray[np.float32]], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Sequence[Match]]:
        """Do the same for many faces; their sketches are compared together, `_TOGETHER` at a time."""
        self._check()
        with self._lock:
            self._refresh()
        found: list[Sequence[Match]] = []
        for at in range(0, len(embeddings), _TOGETHER):
            some = embeddings[at : at + _TOGETHER]
            near = self._index.nearest(some, max(CANDIDATES, limit), above)
            found += [self._best(one, ids, limit, floor, above) for one, ids in zip(some, near, strict=True)]
        return found

    def _best(
        self, embedding: NDArray[np.float32], ids: NDArray[np.int64], limit: int, floor: float, above: int
    ) -> Sequence[Match]:
        """Score the candidates exactly; where some were removed meanwhile, look for others."""
        while True:
            scores = self._scores(ids, embedding)
            near = [row_id for row_id, score in scores.items() if score >= floor]
            best = sorted(near, key=lambda row_id: -scores[row_id])[:limit]
            names = self._names(best)
            removed = (set(ids.tolist()) - scores.keys()) | (set(best) - names.keys())  # here or elsewhere
            if not removed:
                return [Match(**names[row_id], score=scores[row_id]) for row_id in best]
            with self._lock:
                for row_id in removed:
                    self._index.discard(row_id)
            (ids,) = self._index.nearest([embedding], max(CANDIDATES, limit), above)

    def newest(self) -> int:
        """Return the highest row id; ids only grow, and become visible in their order."""
        return int(self._db.read("SELECT coalesce(max(id), 0) FROM faces")[0][0])

    @contextmanager
    def batch(self) -> Iterator[sqlite3.Connection]:
        """Make what this thread adds one transaction; the records then rely on it."""
        if self._bond is None or self._db.in_transaction:
            with self._db.write() as connection:
                yield connection
            return
        mark = self._bond.mark()  # before the gallery is locked: who holds it waits for no other store
        with self._db.write() as connection:
            self._bond.check_in(connection, mark)
            yield connection
        self._bond.rely_on(self._db)

    def add(self, face_id: str, user_id: str, embedding: NDArray[np.float32]) -> None:
        """Store a face; an id that is stored already stays as it is."""
        self.add_all([(face_id, user_id, embedding)])

    def add_all(self, faces: Iterable[tuple[str, str, NDArray[np.float32]]]) -> None:
        """Store many faces (face id, user id, embedding) in one transaction."""
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

    def embedding(self, face_id: str) -> NDArray[np.float32] | None:
        """Return a stored embedding, or None."""
        rows = self._db.read("SELECT embedding FROM faces WHERE face_id = ?", face_id)
        return _unit(np.frombuffer(rows[0][0], np.float16)) if rows else None

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of a user's faces, in the order they were enrolled."""
        self._check()
        return [row[0] for row in self._db.read("SELECT face_id FROM faces WHERE user_id = ? ORDER BY id", user_id)]

    def faces(self) -> Iterable[EnrolledFace]:
        """Go through all faces, ten thousand at a time."""
        page = self.page(limit=10_000)
        yield from page.items
        while page.next:
            page = self.page(page.next, 10_000)
            yield from page.items

    def page(self, after: str = "", limit: int = 1000) -> Page[EnrolledFace]:
        """Return some faces, in the order they were enrolled."""
        sql = "SELECT id, face_id, user_id FROM faces WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._db.read(sql, int(after or 0), limit)
        faces = [EnrolledFace(face_id=row[1], user_id=row[2], origin=row[1]) for row in rows]
        return Page(faces, str(rows[-1][0]) if len(rows) == limit else "")

    def held(self, face_ids: Collection[str]) -> Set[str]:
        """Return those of many faces that are there."""
        sql = "SELECT face_id FROM faces WHERE face_id IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._db.read(sql, json.dumps(list(face_ids)))}

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""
        self._check()
        if not self._db.read("SELECT 1 FROM faces WHERE face_id = ?", face_id):
            return
        with self.batch() as connection:
            connection.execute("DELETE FROM sketches WHERE id = (SELECT id FROM faces WHERE face_id = ?)", (face_id,))
            connection.execute("DELETE FROM faces WHERE face_id = ?", (face_id,))
            Bond.note_removal(connection)

    def stats(self) -> GalleryStats:
        """Count faces and users."""
        faces, users = self._db.read("SELECT count(*), count(DISTINCT user_id) FROM faces")[0]
        return GalleryStats(faces=faces, users=users, model=self.model)

    def _check(self) -> None:
        if self._bond:
            self._bond.check(self._db)

    def _refresh(self) -> None:
        while packed := self._db.read(_NEW_SKETCHES, self._highest)[0][0]:
            rows = np.frombuffer(bytes.fromhex(packed), self._sketches)
            self._index.extend(rows["id"].astype(np.int64), rows["bits"].tobytes())
            self._highest = int(rows["id"][-1])

    def _scores(self, ids: NDArray[np.int64], probe: NDArray[np.float32]) -> dict[int, float]:
        """Return row id to exact cosine; removed rows are left out."""
        scores: dict[int, float] = {}
        for at in range(0, len(ids), _AT_ONCE):
            packed = self._db.read(_EMBEDDINGS, json.dumps(ids[at : at + _AT_ONCE].tolist()))[0][0] or ""
            rows = np.frombuffer(bytes.fromhex(packed), self._embeddings)
            scores |= zip(rows["id"].tolist(), dots(_unit(rows["embedding"]), probe).tolist(), strict=True)
        return scores

    def _names(self, ids: Sequence[int]) -> dict[int, dict[str, str]]:
        rows = self._db.read(_NAMES, json.dumps(ids)) if ids else []
        return {row["id"]: {"face_id": row["face_id"], "user_id": row["user_id"]} for row in rows}


def _unit(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    vectors = halves.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors
