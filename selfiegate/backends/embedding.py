"""The face backend of those who compute embeddings themselves: an analyser for photos, a gallery for faces."""

from __future__ import annotations

import math
import threading
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence, Set
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfiegate.decoding.decode import Limits
from selfiegate.decoding.process_pool import decode
from selfiegate.errors import BackendUnavailable, PhotoRejected
from selfiegate.face import Face
from selfiegate.gallery import Gallery
from selfiegate.model import Detection, Match, PhotoRef, ReasonCode
from selfiegate.paging import Page
from selfiegate.ports import EnrolledFace, GalleryStats, PhotoStore, Thresholds

_REMEMBERED = 64
"""Photos whose aligned face is kept between a run's steps: 38 kB each. Forgotten ones are looked at again."""
_EMBEDDINGS = 2048
"""Photos whose embedding (2 kB) and search are kept: a backfill enrols a chunk after it looked at all of it."""
_AT_ONCE = 64
"""Matches asked for; few faces have as many."""
_LATE = 1024
"""The same of a search that makes up for another that missed: an approximate gallery scores as many faces exactly."""


class Analyser(Protocol):
    """Finds faces in pictures and turns aligned faces into embeddings."""

    model: str
    device: str
    photos_a_call: int
    """How many photos of several threads share a call of the models at most."""

    def try_out(self) -> str:
        """Look at a picture of nothing; say what that ran on."""

    def analyse(self, picture: Image.Image, size: tuple[int, int]) -> Sequence[tuple[Face, NDArray[np.uint8]]]:
        """Return the faces, largest first, each with its aligned picture; `size` is the full photo's.

        Where `Face.turned` is set, they are of the photo turned by it.
        """

    def embed(self, aligned: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return unit embeddings, shape (n, d)."""


class EmbeddingBackend:
    """Joins an analyser and a gallery into a `ports.FaceBackend`."""

    remote = False

    def __init__(
        self, analyser: Analyser, gallery: Gallery, photos: PhotoStore, limits: Limits, thresholds: Thresholds
    ) -> None:
        self.model, self.device = analyser.model, analyser.device
        self.photos_a_call = analyser.photos_a_call
        self.thresholds = thresholds
        self._analyser, self._gallery, self._photos, self._limits = analyser, gallery, photos, limits
        # A run's steps may be taken by different processes, so each step can start from the photo alone.
        self._look = lru_cache(max(_REMEMBERED, 8 * self.photos_a_call))(self._look_at)
        self._embed = lru_cache(_EMBEDDINGS)(self._embedding_of)
        # What a search saw need not be searched again to confirm: only what was added since.
        self._seen: OrderedDict[str, tuple[int, float, Sequence[Match]] | None] = OrderedDict()
        self._lock = threading.Lock()

    def try_out(self) -> str:
        """Let the models look at a picture of nothing; say what they ran on."""
        return self._analyser.try_out()

    def detect(self, photo: PhotoRef) -> Detection:
        """Find the faces of a photo, largest first."""
        return self._look(photo)[0]

    def search(self, photo: PhotoRef, user_id: str, unclear: bool = False) -> Sequence[Match]:
        """Match the photo's main face against the gallery; the user's own faces are scored one by one."""
        probe, face_id, floor = self._embed(photo), _face_id(photo, user_id), self.thresholds.floor(unclear)
        now, (mark, before) = self._gallery.newest(), self._seen_before(face_id, floor)
        since, complete = self._others(probe, user_id, floor, mark, enough=1)
        found = {match.face_id: match for match in (*before, *since)}  # a face may have been added again
        others = sorted(found.values(), key=lambda match: -match.score)
        self._remember(face_id, (now, floor, others) if complete else None)
        own = [
            Match(face_id=face_id, user_id=user_id, score=float(stored @ probe))
            for face_id in self._gallery.faces_of(user_id)
            if (stored := self._gallery.embedding(face_id)) is not None
        ]
        return [*others, *own]

    def prepare(self, photo: PhotoRef) -> None:
        """Compute the main face's embedding, which is kept."""
        self._embed(photo)

    def search_together(self, photos: Sequence[tuple[PhotoRef, str, bool]]) -> None:
        """Search photos together, and remember what was seen of each, as `search` does."""
        mark, probes = self._gallery.newest(), [self._embed(photo) for photo, _, _ in photos]
        found = self._gallery.search_many(probes, _AT_ONCE, self.thresholds.floor(unclear=True))
        for (photo, user_id, unclear), matches in zip(photos, found, strict=True):
            floor = self.thresholds.floor(unclear)
            others = [match for match in matches if match.user_id != user_id and match.score >= floor]
            seen = (mark, floor, others) if _complete(matches, _AT_ONCE) else None
            self._remember(_face_id(photo, user_id), seen)

    def enrol(self, photo: PhotoRef, user_id: str) -> str:
        """Put the photo's main face into the gallery."""
        face_id = _face_id(photo, user_id)
        self._gallery.add(face_id, user_id, self._embed(photo))
        return face_id

    def rivals(self, face_id: str, user_id: str, unclear: bool = False) -> Sequence[Match]:
        """Match an enrolled face against the other users' enrolled faces."""
        stored, floor = self._stored(face_id), self.thresholds.floor(unclear)
        mark, before = self._seen_before(face_id, floor)
        return [*before, *self._others(stored, user_id, floor, mark)[0]]

    def late_rivals(self, face_id: str, user_id: str) -> Sequence[Match]:
        """Do the same, from the beginning and among more candidates."""
        return self._others(self._stored(face_id), user_id, self.thresholds.floor(), limit=_LATE)[0]

    def batch(self) -> AbstractContextManager[object]:
        """Let enrolled faces become durable and visible together."""
        return self._gallery.batch()

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""
        self._gallery.remove(face_id)

    def discard(self, photo: PhotoRef, user_id: str) -> None:
        """Remove the face enrolled from this photo for this user, if there is one."""
        self._gallery.remove(_face_id(photo, user_id))

    def holds(self, face_id: str) -> bool:
        """Say whether a face is in the gallery now."""
        return self._gallery.embedding(face_id) is not None

    def origin(self, photo: PhotoRef, user_id: str) -> str:
        """Return the face's id: it is made of these two."""
        return _face_id(photo, user_id)

    def faces(self) -> Iterable[EnrolledFace]:
        """Go through all enrolled faces."""
        return self._gallery.faces()

    def page(self, after: str = "", limit: int = 1000) -> Page[EnrolledFace]:
        """Return some enrolled faces."""
        return self._gallery.page(after, limit)

    def held(self, face_ids: Collection[str]) -> Set[str]:
        """Return those of many faces that are in the gallery now."""
        return self._gallery.held(face_ids)

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of a user's faces."""
        return self._gallery.faces_of(user_id)

    def page_of(self, user_id: str, after: str = "") -> Page[str]:
        """Return the same at once: galleries find a user's faces by the user."""
        return Page(self.faces_of(user_id), "")

    def template(self, face_id: str) -> Sequence[float] | None:
        """Return a face's embedding."""
        stored = self._gallery.embedding(face_id)
        return None if stored is None else [float(value) for value in stored]

    def stats(self) -> GalleryStats:
        """Count what is enrolled."""
        return self._gallery.stats()

    def _stored(self, face_id: str) -> NDArray[np.float32]:
        stored = self._gallery.embedding(face_id)
        if stored is None:
            raise BackendUnavailable(f"the face {face_id} is not in the gallery")
        return stored

    def _remember(self, face_id: str, seen: tuple[int, float, Sequence[Match]] | None) -> None:
        with self._lock:
            self._seen[face_id] = seen
            while len(self._seen) > _EMBEDDINGS:
                self._seen.popitem(last=False)

    def _seen_before(self, face_id: str, floor: float) -> tuple[int, Sequence[Match]]:
        """Return what a search saw before and is still there, and its mark; a search above the mark finds the rest."""
        with self._lock:
            seen = self._seen.get(face_id)
        if seen is None or seen[1] != floor:
            return 0, ()
        mark, _, before = seen
        return mark, [match for match in before if self._gallery.embedding(match.face_id) is not None]

    def _others(
        self,
        probe: NDArray[np.float32],
        user_id: str,
        floor: float,
        above: int = 0,
        enough: float = math.inf,
        limit: int = _AT_ONCE,
    ) -> tuple[list[Match], bool]:
        """Return the other users' matches, best first, and whether these are all.

        `enough` of them will do: of very many the least near are left out then, one that calls for a review, say.
        """
        while True:  # a user's own faces must not crowd the others out
            found = self._gallery.search(probe, limit, floor, above)
            others = [match for match in found if match.user_id != user_id]
            complete = _complete(found, limit)
            if complete or len(others) >= enough:
                return others, complete
            limit *= 4

    def _look_at(self, photo: PhotoRef) -> tuple[Detection, NDArray[np.uint8] | None]:
        try:
            data = self._photos.read(photo)
            picture, size = decode(data, self._limits, self._limits.working_side)
        except PhotoRejected as rejected:
            measured = self._limits.compare(rejected.measured)
            return Detection(unusable=ReasonCode(rejected.code), measured=measured), None
        found = self._analyser.analyse(picture, size)
        aligned = found[0][1] if found else None
        return Detection(faces=tuple(face for face, _ in found)), aligned

    def _embedding_of(self, photo: PhotoRef) -> NDArray[np.float32]:
        aligned = self._look(photo)[1]
        if aligned is None:
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
        embedding: NDArray[np.float32] = self._analyser.embed([aligned])[0]
        return embedding


def _complete(found: Sequence[Match], limit: int) -> bool:
    """Say whether a search found all; where half of what was scored is near, there may be more."""
    return 2 * len(found) <= limit


def _face_id(photo: PhotoRef, user_id: str) -> str:
    """Name a face after what it was made from, so that enrolling it twice is enrolling it once."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"selfiegate:{photo.id}:{user_id}"))
