"""A gallery in memory, exact and gone with the process: for tests and for trying things out."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Sequence, Set
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

from selfiegate.model import Match
from selfiegate.paging import Page
from selfiegate.ports import EnrolledFace, GalleryStats


class MemoryGallery:
    """Keeps every embedding and compares them all."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._faces: dict[str, tuple[str, NDArray[np.float32]]] = {}
        self._added, self._numbers = 0, dict[str, int]()
        self._lock = threading.Lock()

    def search(
        self, embedding: NDArray[np.float32], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Match]:
        """Return the `limit` nearest faces of this cosine or more, best first."""
        with self._lock:
            found = [
                Match(face_id=face_id, user_id=user_id, score=float(stored @ embedding))
                for face_id, (user_id, stored) in self._faces.items()
                if self._numbers[face_id] > above
            ]
        return sorted((match for match in found if match.score >= floor), key=lambda match: -match.score)[:limit]

    def search_many(
        self, embeddings: Sequence[NDArray[np.float32]], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Sequence[Match]]:
        """Search by each."""
        return [self.search(embedding, limit, floor, above) for embedding in embeddings]

    def newest(self) -> int:
        """Return how many faces were ever added."""
        with self._lock:
            return self._added

    def batch(self) -> AbstractContextManager[object]:
        """Add each at once."""
        return nullcontext()

    def add(self, face_id: str, user_id: str, embedding: NDArray[np.float32]) -> None:
        """Store a face; an id that is stored already stays as it is."""
        with self._lock:
            if face_id not in self._faces:
                self._added += 1
                self._faces[face_id], self._numbers[face_id] = (user_id, embedding), self._added

    def embedding(self, face_id: str) -> NDArray[np.float32] | None:
        """Return a stored embedding, or None."""
        with self._lock:
            return self._faces[face_id][1] if face_id in self._faces else None

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of a user's faces, in the order they were enrolled."""
        with self._lock:
            return [face_id for face_id, (owner, _) in self._faces.items() if owner == user_id]

    def faces(self) -> Iterable[EnrolledFace]:
        """Go through all faces."""
        with self._lock:
            return [
                EnrolledFace(face_id=face_id, user_id=user_id, origin=face_id)
                for face_id, (user_id, _) in self._faces.items()
            ]

    def page(self, after: str = "", limit: int = 1000) -> Page[EnrolledFace]:
        """Return some faces, sorted by their ids."""
        found = sorted((face for face in self.faces() if face.face_id > after), key=lambda face: face.face_id)[:limit]
        return Page(found, found[-1].face_id if len(found) == limit else "")

    def held(self, face_ids: Collection[str]) -> Set[str]:
        """Return those of many faces that are there."""
        with self._lock:
            return self._faces.keys() & set(face_ids)

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""
        with self._lock:
            self._faces.pop(face_id, None)
            self._numbers.pop(face_id, None)

    def stats(self) -> GalleryStats:
        """Count faces and users."""
        with self._lock:
            users = {user_id for user_id, _ in self._faces.values()}
            return GalleryStats(faces=len(self._faces), users=len(users), model=self.model)
