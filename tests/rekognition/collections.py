"""Face collections in memory: exact search, AWS's idempotence, and its lag where a test asks for it."""

from __future__ import annotations

import base64
import binascii
import itertools
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfiegate.face import Box
from tests.rekognition.protocol import AwsError
from tests.rekognition.switches import Delays, Switches

_COSINES, _SIMILARITIES = [0.0, 0.40, 1.0], [0.0, 90.0, 100.0]
"""Our match threshold (cosine 0.40) is similarity 90; between these points the map is linear."""

_PAGE = 4096
"""Entries of a page where a request names no MaxResults; AWS's upper bound."""


class FoundFace(NamedTuple):
    """A face of an image, to be stored."""

    box: Box
    confidence: float
    embedding: NDArray[np.float32]


@dataclass
class StoredFace:
    """A face of a collection; times are of `time.monotonic`."""

    sequence: int
    face_id: str
    image_id: str
    external_image_id: str | None
    found: FoundFace
    indexed_at: float
    hidden_for: float
    unknown_for: float
    user_id: str | None = None
    """The user of Rekognition that it is associated with."""
    deleted_at: float = float("inf")
    lingers_for: float = 0.0

    def is_visible(self, now: float) -> bool:
        """Whether a search finds it."""
        return self.indexed_at + self.hidden_for <= now < self.deleted_at + self.lingers_for

    def catch_up(self, delays: Delays) -> None:
        """Shorten this face's lag to the present delays: faces then never overtake those indexed before them."""
        self.hidden_for = min(self.hidden_for, delays.visible)
        self.unknown_for = min(self.unknown_for, delays.known)
        self.lingers_for = min(self.lingers_for, delays.gone)


@dataclass
class User:
    """A user of a collection."""

    sequence: int
    user_id: str


@dataclass
class Collection:
    """The faces by FaceId, the deleted ones that searches may still find, and the users by UserId."""

    sequence: int
    collection_id: str
    model: str
    created: float = field(default_factory=time.time)
    faces: dict[str, StoredFace] = field(default_factory=dict)
    deleted: list[StoredFace] = field(default_factory=list)
    users: dict[str, User] = field(default_factory=dict)


class Listed(Protocol):
    """Whatever can be listed by pages."""

    sequence: int


T = TypeVar("T", bound=Listed)
Answers = Sequence[dict[str, object]]


class Collections:
    """All collections, behind one lock."""

    def __init__(self, switches: Switches) -> None:
        self._switches, self._lock = switches, threading.Lock()
        self._numbers = itertools.count(1)
        self._all: dict[str, Collection] = {}

    def create(self, collection_id: str) -> None:
        """Add an empty collection."""
        with self._lock:
            if collection_id in self._all:
                message = f"The collection id: {collection_id} already exists"
                raise AwsError("ResourceAlreadyExistsException", message)
            self._all[collection_id] = Collection(next(self._numbers), collection_id, self._switches.model)

    def delete(self, collection_id: str) -> None:
        """Remove a collection with its faces."""
        with self._lock:
            self._get(collection_id)
            del self._all[collection_id]

    def clear(self) -> None:
        """Remove them all."""
        with self._lock:
            self._all.clear()

    def list(self) -> Sequence[Collection]:
        """Return them in the order they were created."""
        with self._lock:
            return list(self._all.values())

    def describe(self, collection_id: str) -> tuple[int, int, float, str]:
        """Return the numbers of faces and users, when it was created (seconds since 1970), and its face model."""
        with self._lock:
            collection = self._get(collection_id)
            return len(collection.faces), len(collection.users), collection.created, collection.model

    @contextmanager
    def locked(self, collection_id: str) -> Iterator[Collection]:
        """Yield a collection that nobody else reads or changes meanwhile."""
        with self._lock:
            yield self._get(collection_id)

    def next_number(self) -> int:
        """Return a number for a thing that is listed by it."""
        return next(self._numbers)

    @property
    def most_listed(self) -> int:
        """Faces of a page of ListFaces at most."""
        return self._switches.most_listed

    def faces(self, collection_id: str) -> Sequence[StoredFace]:
        """Return the stored faces in the order they were indexed, visible to searches or not."""
        with self._lock:
            return list(self._get(collection_id).faces.values())

    def index(
        self, collection_id: str, image_id: str, external_image_id: str | None, found: Iterable[FoundFace]
    ) -> Sequence[StoredFace]:
        """Store faces of one image; those stored before under the same ExternalImageId are returned as they are."""
        with self._lock:
            collection = self._get(collection_id)
            known = {
                face.found.box: face
                for face in collection.faces.values()
                if external_image_id and (face.image_id, face.external_image_id) == (image_id, external_image_id)
            }
            stored = [known.get(face.box) or self._new(image_id, external_image_id, face) for face in found]
            collection.faces.update((face.face_id, face) for face in stored)
            return stored

    def search(
        self, collection_id: str, probe: NDArray[np.float32], threshold: float, limit: int, but: str | None = None
    ) -> Sequence[tuple[float, StoredFace]]:
        """Return the visible faces of at least this similarity, best first, without the face `but`."""
        with self._lock:
            collection, now = self._get(collection_id), time.monotonic()
            present = [*collection.faces.values(), *collection.deleted]
            scored = [(similarity(probe, f), f) for f in present if f.is_visible(now) and f.face_id != but]
        near = [(score, face) for score, face in scored if score >= threshold]
        return sorted(near, key=lambda match: -match[0])[:limit]

    def embedding(self, collection_id: str, face_id: str) -> NDArray[np.float32]:
        """Return a stored face's embedding."""
        with self._lock:
            face = self._get(collection_id).faces.get(face_id)
        if face is None or face.indexed_at + face.unknown_for > time.monotonic():
            raise AwsError("InvalidParameterException", "faceId was not found in the collection.")
        return face.found.embedding

    def remove(self, collection_id: str, face_ids: Iterable[str]) -> tuple[Sequence[str], Answers]:
        """Remove faces that no user is associated with; return their ids, and why others were not removed."""
        with self._lock:
            collection, failed = self._get(collection_id), list[dict[str, object]]()
            present = {face_id: collection.faces.get(face_id) for face_id in face_ids}
            for face_id, face in present.items():
                if face is None:
                    failed.append({"FaceId": face_id, "Reasons": ["FACE_NOT_FOUND"]})
                elif face.user_id:
                    why = ["ASSOCIATED_TO_AN_EXISTING_USER"]
                    failed.append({"FaceId": face_id, "UserId": face.user_id, "Reasons": why})
            removed = [collection.faces.pop(face.face_id) for face in present.values() if face and not face.user_id]
            for face in removed:
                face.deleted_at, face.lingers_for = time.monotonic(), self._switches.delays.gone
            collection.deleted += removed
            return [face.face_id for face in removed], failed

    def _get(self, collection_id: str) -> Collection:
        if collection_id not in self._all:
            raise AwsError("ResourceNotFoundException", f"The collection id: {collection_id} does not exist")
        collection = self._all[collection_id]
        for face in (*collection.faces.values(), *collection.deleted):
            face.catch_up(self._switches.delays)
        return collection

    def _new(self, image_id: str, external_image_id: str | None, found: FoundFace) -> StoredFace:
        delays, number = self._switches.delays, next(self._numbers)
        return StoredFace(
            number,
            str(uuid.uuid4()),
            image_id,
            external_image_id,
            found,
            time.monotonic(),
            hidden_for=delays.visible,
            unknown_for=delays.known,
        )


def similarity(probe: NDArray[np.float32], face: StoredFace) -> float:
    """Map the cosine of two unit embeddings to Rekognition's 0..100, monotonely."""
    return float(np.interp(float(probe @ face.found.embedding), _COSINES, _SIMILARITIES))


def page(items: Sequence[T], token: str | None, limit: int | None) -> tuple[Sequence[T], str | None]:
    """Return one page and the token of the next; entries removed between two pages shift nothing."""
    try:
        last = int(base64.b64decode(token, validate=True)) if token else 0
    except (binascii.Error, ValueError):
        raise AwsError("InvalidPaginationTokenException") from None
    rest = [item for item in items if item.sequence > last]
    shown = rest[: limit or _PAGE]
    return shown, base64.b64encode(str(shown[-1].sequence).encode()).decode() if len(shown) < len(rest) else None
