"""The embedded gallery: embeddings in SQLite, their sign sketches in memory, exact scores at the end.

Search takes the `CANDIDATES` nearest sketches and scores them by the stored embeddings. Embeddings are
kept as float16: the cosine of a unit vector moves by less than 0.0005, a hundredth of what two photos
of one person differ by, and a page holds three rows instead of one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.sketch import SketchIndex, sketch
from selfiegate.model import EnrolledFace, GalleryStats, Match
from selfiegate.sqlite import Database

CANDIDATES = 500
"""Sketches scored exactly among half a million and more. With 200, 0.12 % of true duplicates were missed among a
million: benchmarks/gallery."""
_FEWEST, _SHARE = 32, 0.001
"""Among fewer faces, fewer strangers come before a true match, in proportion: 32 missed none of 4,299 among 30,000."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: a reader that knows the highest knows all below it
    face_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    embedding BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS faces_by_user ON faces (user_id);
CREATE TABLE IF NOT EXISTS sketches (id INTEGER PRIMARY KEY, bits BLOB NOT NULL)
"""


class SqliteGallery:
    """A gallery in one file, shared by any number of processes."""

    def __init__(self, path: Path, model: str, dimensions: int = 512) -> None:
        """Open or create the gallery; raises `BackendMisconfigured` where it holds another model's faces."""
        self.model = model
        self._db = Database(path, _SCHEMA)
        self._index = SketchIndex(dimensions // 8)
        self._highest = 0
        self._lock = threading.Lock()
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('model', ?)", model)
        held = self._db.read("SELECT value FROM meta WHERE name = 'model'")[0][0]
        if held != model:
            raise BackendMisconfigured(
                f"{path} holds faces of the model {held}, but {model} is loaded, and the two cannot be "
                "compared; set SELFIEGATE_INSIGHTFACE__PACK to the former pack, or SELFIEGATE_HOME to a new folder "
                "and enrol everybody again"
            )

    def search(self, embedding: NDArray[np.float32], limit: int = 10, above: int = 0) -> Sequence[Match]:
        """Return the `limit` nearest faces by cosine, best first, as of all commits before this call."""
        with self._lock:
            self._refresh()
        while True:
            ids = self._index.nearest(sketch(embedding), _candidates(len(self._index)), above)
            rows = self._rows(ids)
            if len(rows) == len(ids):
                return _best(rows, embedding, limit)
            with self._lock:
                for gone in set(ids.tolist()) - {row[0] for row in rows}:  # removed meanwhile, here or elsewhere
                    self._index.discard(gone)

    def newest(self) -> int:
        """Return the highest row id; ids only grow, and become visible in their order."""
        return int(self._db.read("SELECT coalesce(max(id), 0) FROM faces")[0][0])

    def batch(self) -> AbstractContextManager[object]:
        """Make what this thread adds one transaction."""
        return self._db.write()

    def add(self, face_id: str, user_id: str, embedding: NDArray[np.float32]) -> None:
        """Store a face; an id that is stored already stays as it is."""
        self.add_all([(face_id, user_id, embedding)])

    def add_all(self, faces: Iterable[tuple[str, str, NDArray[np.float32]]]) -> None:
        """Store many faces (face id, user id, embedding) in one transaction."""
        with self._db.write() as connection:
            for face_id, user_id, embedding in faces:
                added = connection.execute(
                    "INSERT OR IGNORE INTO faces (face_id, user_id, embedding) VALUES (?, ?, ?)",
                    (face_id, user_id, embedding.astype(np.float16).tobytes()),
                )
                if added.rowcount:
                    connection.execute("INSERT INTO sketches VALUES (?, ?)", (added.lastrowid, sketch(embedding)))

    def embedding(self, face_id: str) -> NDArray[np.float32] | None:
        """Return a stored embedding, or None."""
        rows = self._db.read("SELECT embedding FROM faces WHERE face_id = ?", face_id)
        return _vectors([rows[0][0]])[0] if rows else None

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of a user's faces, in the order they were enrolled."""
        return [row[0] for row in self._db.read("SELECT face_id FROM faces WHERE user_id = ? ORDER BY id", user_id)]

    def faces(self) -> Iterable[EnrolledFace]:
        """Go through all faces, ten thousand at a time."""
        last = 0
        while rows := self._db.read(
            "SELECT id, face_id, user_id FROM faces WHERE id > ? ORDER BY id LIMIT 10000", last
        ):
            yield from (EnrolledFace(face_id=row[1], user_id=row[2], origin=row[1]) for row in rows)
            last = rows[-1][0]

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""
        with self._db.write() as connection:
            connection.execute("DELETE FROM sketches WHERE id = (SELECT id FROM faces WHERE face_id = ?)", (face_id,))
            connection.execute("DELETE FROM faces WHERE face_id = ?", (face_id,))

    def stats(self) -> GalleryStats:
        """Count faces and users."""
        faces, users = self._db.read("SELECT count(*), count(DISTINCT user_id) FROM faces")[0]
        return GalleryStats(faces=faces, users=users, model=self.model)

    def _refresh(self) -> None:
        rows = self._db.read("SELECT id, bits FROM sketches WHERE id > ? ORDER BY id", self._highest)
        if rows:
            ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
            self._index.extend(ids, b"".join(row[1] for row in rows))
            self._highest = int(ids[-1])

    def _rows(self, ids: NDArray[np.int64]) -> list[tuple[int, str, str, bytes]]:
        marks = ",".join(map(str, ids.tolist()))  # integers of our own: nothing to escape
        sql = f"SELECT id, face_id, user_id, embedding FROM faces WHERE id IN ({marks})"  # noqa: S608
        return [tuple(row) for row in self._db.read(sql)]


def _candidates(faces: int) -> int:
    return min(max(_FEWEST, int(_SHARE * faces)), CANDIDATES)


def _vectors(blobs: Sequence[bytes]) -> NDArray[np.float32]:
    halves = np.frombuffer(b"".join(blobs), np.float16).reshape(len(blobs), -1)
    vectors = halves.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _best(rows: Sequence[tuple[int, str, str, bytes]], probe: NDArray[np.float32], limit: int) -> list[Match]:
    if not rows:
        return []
    scores = _vectors([row[3] for row in rows]) @ probe
    order = np.argsort(-scores, kind="stable")[:limit]
    return [Match(face_id=rows[i][1], user_id=rows[i][2], score=float(scores[i])) for i in order]
