"""What a backend that computes its own embeddings asks of its gallery; tests/contract/gallery.py holds the promises.

What holds for the protocols of `ports` holds for this one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence, Set
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from selfiegate.model import Match
from selfiegate.paging import Page
from selfiegate.ports import EnrolledFace, GalleryStats


class Gallery(Protocol):
    """Enrolled embeddings and whose they are, for backends that compute their own."""

    model: str

    def search(
        self, embedding: NDArray[np.float32], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Match]:
        """Return the `limit` nearest faces of this cosine (-1..1) or more, best first; of those added after a mark."""

    def search_many(
        self, embeddings: Sequence[NDArray[np.float32]], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Sequence[Match]]:
        """Return what a search by each embedding returns; in one go, which is cheaper."""

    def newest(self) -> int:
        """Return a mark: a search that begins now, and one above the mark later, have seen all faces between them."""

    def batch(self) -> AbstractContextManager[object]:
        """Let the faces that this thread adds become durable and visible together, at the end; do not search inside."""

    def add(self, face_id: str, user_id: str, embedding: NDArray[np.float32]) -> None:
        """Store a face under its id; storing it again changes nothing. Visible to all processes on return."""

    def embedding(self, face_id: str) -> NDArray[np.float32] | None:
        """Return a stored embedding, or None."""

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of a user's faces."""

    def faces(self) -> Iterable[EnrolledFace]:
        """Go through all faces."""

    def page(self, after: str = "", limit: int = 1000) -> Page[EnrolledFace]:
        """Return at most so many faces, and where they go on; one that is added meanwhile may be missed or not."""

    def held(self, face_ids: Collection[str]) -> Set[str]:
        """Return those of many faces that are there."""

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""

    def stats(self) -> GalleryStats:
        """Count faces and users."""
