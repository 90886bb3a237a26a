"""A gallery in a SQL database: embeddings in rows, their sign sketches in memory, exact scores at the end.

Search takes the `CANDIDATES` nearest by their sketches (see `sketch`) and scores them by the stored embeddings.
Embeddings are kept as float16: the cosine of a unit vector moves by less than 0.0005, a hundredth of what two photos
of one person differ by. SQLite (`sqlite`) and PostgreSQL (`postgres`) differ in how rows are numbered and fetched.
"""

from __future__ import annotations

import json
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence, Set
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.bond import Bond, Notes
from selfiegate.galleries.sketch import SketchIndex, dots
from selfiegate.model import Match
from selfiegate.paging import Page
from selfiegate.ports import EnrolledFace, GalleryStats
from selfiegate.sql_database import SqlDatabase

CANDIDATES = 64
"""Faces scored exactly, at least."""
_TOGETHER = 20
"""Faces searched together: what is kept of each meanwhile is 0.6 MB at ten million faces."""
_AT_ONCE = 20_000
"""Embeddings fetched at once: 20 MB."""

NewFace = tuple[str, str, NDArray[np.float32]]
"""Face id, user id, embedding."""


class SqlGallery(ABC):
    """A gallery that any number of processes share by its database."""

    embeddings_sql: str
    """Selects ids (8 bytes, the highest first) and embeddings of a JSON array of ids, as one value."""

    def __init__(self, database: SqlDatabase, model: str, dimensions: int, bond: Bond | None) -> None:
        self.model = model
        self._db, self._bond = database, bond
        self._embeddings = np.dtype([("id", ">i8"), ("embedding", np.float16, dimensions)])
        self._lock = threading.Lock()
        self._names_sql = f"SELECT id, face_id, user_id FROM faces WHERE id {database.among_numbers}"  # noqa: S608
        self._held_sql = f"SELECT face_id FROM faces WHERE face_id IN {database.each_of_json}"  # noqa: S608

    def require_model(self, notes: Notes, anew: str) -> None:
        """Refuse a gallery that holds another model's faces; `anew` is what to set to begin with an empty one."""
        notes.note_once("model", self.model)
        (row,) = notes.database.read(f"SELECT value FROM {notes.table} WHERE name = 'model'")  # noqa: S608  a constant
        if row["value"] != self.model:
            raise BackendMisconfigured(
                f"{notes.place} holds faces of the model {row['value']}, but {self.model} is loaded, and the two "
                "cannot be compared; set SELFIEGATE_INSIGHTFACE__PACK to the former pack (rec_tiny is of "
                f"selfiegate_tiny, w600k_r50 of buffalo_l), or {anew} and enrol everybody again"
            )

    @abstractmethod
    def _packed(self, sql: str, *parameters: Any) -> bytes:
        """Return the one value that a statement selects; Python would step through many rows one by one."""

    @abstractmethod
    def _read_new_sketches(self) -> SketchIndex:
        """Bring the index up to date with all commits before this call, and return it; `_lock` is held."""

    @abstractmethod
    def batch(self) -> AbstractContextManager[object]:
        """Make what this thread adds one transaction; the records then rely on it."""

    @abstractmethod
    def add_all(self, faces: Iterable[NewFace]) -> None:
        """Store many faces in one transaction; ids that are stored already stay as they are."""

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
            index = self._read_new_sketches()
        found: list[Sequence[Match]] = []
        for at in range(0, len(embeddings), _TOGETHER):
            some = embeddings[at : at + _TOGETHER]
            near = index.nearest(some, max(CANDIDATES, limit), above)
            found += [self._best(index, one, ids, limit, floor, above) for one, ids in zip(some, near, strict=True)]
        return found

    def _best(
        self,
        index: SketchIndex,
        embedding: NDArray[np.float32],
        ids: NDArray[np.int64],
        limit: int,
        floor: float,
        above: int,
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
                    index.discard(row_id)
            (ids,) = index.nearest([embedding], max(CANDIDATES, limit), above)

    def add(self, face_id: str, user_id: str, embedding: NDArray[np.float32]) -> None:
        """Store a face; an id that is stored already stays as it is."""
        self.add_all([(face_id, user_id, embedding)])

    def embedding(self, face_id: str) -> NDArray[np.float32] | None:
        """Return a stored embedding, or None."""
        rows = self._db.read("SELECT embedding FROM faces WHERE face_id = ?", face_id)
        return unit(np.frombuffer(rows[0]["embedding"], np.float16)) if rows else None

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of a user's faces, in the order they were enrolled."""
        self._check()
        rows = self._db.read("SELECT face_id FROM faces WHERE user_id = ? ORDER BY id", user_id)
        return [row["face_id"] for row in rows]

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
        faces = [EnrolledFace(face_id=row["face_id"], user_id=row["user_id"], origin=row["face_id"]) for row in rows]
        return Page(faces, str(rows[-1]["id"]) if len(rows) == limit else "")

    def held(self, face_ids: Collection[str]) -> Set[str]:
        """Return those of many faces that are there."""
        return {row["face_id"] for row in self._db.read(self._held_sql, json.dumps(list(face_ids)))}

    def stats(self) -> GalleryStats:
        """Count faces and users."""
        (row,) = self._db.read("SELECT count(*) AS faces, count(DISTINCT user_id) AS users FROM faces")
        return GalleryStats(faces=row["faces"], users=row["users"], model=self.model)

    @abstractmethod
    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""

    def _check(self) -> None:
        if self._bond:
            self._bond.check()

    def _scores(self, ids: NDArray[np.int64], probe: NDArray[np.float32]) -> dict[int, float]:
        """Return row id to exact cosine; removed rows are left out."""
        scores: dict[int, float] = {}
        for at in range(0, len(ids), _AT_ONCE):
            packed = self._packed(self.embeddings_sql, json.dumps(ids[at : at + _AT_ONCE].tolist()))
            rows = np.frombuffer(packed, self._embeddings)
            scores |= zip(rows["id"].tolist(), dots(unit(rows["embedding"]), probe).tolist(), strict=True)
        return scores

    def _names(self, ids: Sequence[int]) -> dict[int, dict[str, str]]:
        rows = self._db.read(self._names_sql, json.dumps(ids)) if ids else []
        return {row["id"]: {"face_id": row["face_id"], "user_id": row["user_id"]} for row in rows}


def unit(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Turn stored embeddings into unit vectors."""
    vectors = halves.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors
