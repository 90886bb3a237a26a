"""What selfiegate asks of the world: one protocol per collaborator; tests/contract holds what its adapters promise.

What it asks of the stores of its own records stands in `records`.

Every method may raise `BackendUnavailable` (try again) or `BackendMisconfigured` (mend the set-up).
All are safe to call from several threads, and all writes may be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import Field

from selfiegate.model import Detection, Match, PhotoRef, Verdict
from selfiegate.paging import Page
from selfiegate.values import Value


@dataclass(frozen=True)
class Thresholds:
    """Similarities in a backend's own scale.

    Another user's face at or above `match` is the same person, from `review` up it is doubtful, and from `unclear` up
    it counts against a photo of an unclear face. The user's own face below `verify` is a different person.
    """

    match: float
    verify: float
    review: float
    unclear: float

    def floor(self, unclear: bool = False) -> float:
        """Return the similarity from which another user's face counts against a photo, of an unclear face or not."""
        least = min(self.match, self.review)
        return min(least, self.unclear) if unclear else least


class EnrolledFace(Value):
    """A face in the gallery and whose it is."""

    face_id: str
    user_id: str
    origin: str = Field(description="Equals `FaceBackend.origin` of the photo and user it was enrolled for")


class GalleryStats(Value):
    """How much a gallery holds, and of which model."""

    faces: int
    users: int | None = Field(description="None where only a list of all faces would tell")
    model: str


class FaceBackend(Protocol):
    """Finds faces in photos and knows which are enrolled: InsightFace with a gallery, or Rekognition."""

    remote: bool
    """Whether calls wait for a network: many at once are faster then, where others are faster in a batch."""

    photos_a_call: int
    """How many photos of several threads share a call of the model at most; 1: each has its own."""

    @property
    def model(self) -> str:
        """Name the model and its weights; faces of different models are never compared."""

    @property
    def device(self) -> str:
        """Name what the model runs on, as far as it is known."""

    thresholds: Thresholds

    def try_out(self) -> str:
        """Let the model look at a picture of nothing; say what it ran on, as far as it is known."""

    def detect(self, photo: PhotoRef) -> Detection:
        """Find the faces of a photo, largest first; a photo that cannot be read is an outcome, not an error."""

    def search(self, photo: PhotoRef, user_id: str, unclear: bool = False) -> Sequence[Match]:
        """Match the photo's main face: others from `thresholds.floor(unclear)` up, best first, and the user's own.

        The user's own enrolled faces come whatever their score, where the backend can tell it.
        """

    def enrol(self, photo: PhotoRef, user_id: str) -> str:
        """Put the photo's main face into the gallery and return its face id; the same photo gives the same id.

        Raises `FaceRefused` where the gallery does not take the face, and holds none of this photo for this user.
        """

    def rivals(self, face_id: str, user_id: str, unclear: bool = False) -> Sequence[Match]:
        """Match an enrolled face against the other users' enrolled faces, from `thresholds.floor(unclear)` up."""

    def late_rivals(self, face_id: str, user_id: str) -> Sequence[Match]:
        """Do the same long after the face was enrolled, among more candidates where the search is approximate."""

    def batch(self) -> AbstractContextManager[object]:
        """Let the faces that this thread enrols become durable and visible together, at the end of the block."""

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""

    def discard(self, photo: PhotoRef, user_id: str) -> None:
        """Remove the face that may have been enrolled from this photo for this user, where its id was never noted.

        A service may have to be shown the photo again; what it then cannot tell is left to the audit.
        """

    def holds(self, face_id: str) -> bool:
        """Say whether a face is in the gallery now, whatever searches still show."""

    def origin(self, photo: PhotoRef, user_id: str) -> str:
        """Return what the face of this photo and user is known by in the gallery."""

    def held(self, face_ids: Collection[str]) -> Set[str]:
        """Return those of many faces that are in the gallery now."""

    def faces(self) -> Iterable[EnrolledFace]:
        """Go through all enrolled faces; one that is enrolled meanwhile may be missed or not."""

    def page(self, after: str = "", limit: int = 1000) -> Page[EnrolledFace]:
        """Return at most so many of them, and where they go on."""

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of all faces enrolled for a user."""

    def page_of(self, user_id: str, after: str = "") -> Page[str]:
        """Return the same of one part of the gallery: one call, however many faces there are.

        A page that the gallery no longer knows is the first again.
        """

    def template(self, face_id: str) -> Sequence[float] | None:
        """Return the numbers that are kept of a face; None where there are none, or the backend gives none out."""

    def stats(self) -> GalleryStats:
        """Count what is enrolled, without a look at each face."""


@runtime_checkable
class Creatable(Protocol):
    """A face backend whose gallery has to be created before its first use."""

    def create(self) -> str:
        """Create the gallery where it is not there; returns the model's name."""


@runtime_checkable
class SearchesTogether(Protocol):
    """A face backend for which searching many photos in one go costs less than one by one."""

    def prepare(self, photo: PhotoRef) -> None:
        """Run the models over the photo's main face, so that searches of it only compare."""

    def search_together(self, photos: Sequence[tuple[PhotoRef, str, bool]]) -> None:
        """Search photos, each with its user and whether its face is unclear; `search` then adds what came since."""


class PhotoStore(Protocol):
    """Where uploaded photos lie."""

    def find(self, uri: str) -> PhotoRef:
        """Pin the present version of a photo; raise `WrongInput` where there is none."""

    def read(self, photo: PhotoRef) -> bytes:
        """Return the bytes of exactly this version.

        Raises `PhotoRejected`: `photo_too_large` before anything is read, `unreadable_photo` where this
        version is gone.
        """

    def metadata(self, photo: PhotoRef) -> Mapping[str, str]:
        """Return what the uploader wrote beside this version, names in lower case.

        Raises `WrongInput` where this version is gone.
        """

    def erase(self, photo: PhotoRef, asked_at: int) -> None:
        """Remove a photo for good, and what came under its key until this time (microseconds since 1970).

        In S3 these are all versions of the key up to then, on disk the file while it is this version.
        """


class ThumbnailStore(Protocol):
    """Where thumbnails lie, one object per photo version and size."""

    def put(self, key: str, data: bytes, content_type: str) -> str:
        """Store a thumbnail and return where it lies, for people."""

    def remove(self, folder: str) -> None:
        """Remove all thumbnails whose keys begin with this folder; none is fine."""

    def erase(self, uri: str) -> None:
        """Remove a thumbnail that an older system put here, by its address; one that lies elsewhere is left."""

    def read(self, key: str) -> bytes | None:
        """Return a thumbnail, None where there is none."""

    def keys(self, folder: str = "") -> Sequence[str]:
        """List all keys, or those that lie in a folder or below it."""

    def folders(self, after: str = "", limit: int = 1000) -> Page[str]:
        """List at most so many folders two levels deep that hold thumbnails, sorted as S3 does.

        A page's folders are those for which `after < f"{folder}/" < next` holds, so that it is known what it lacks.
        """


class Notifier(Protocol):
    """Tells a user what is wrong with a photo."""

    way: str
    """Names it among several, the same in every process."""

    def notify(self, verdict: Verdict, told: Collection[str] = ()) -> None:
        """Send a verdict's reasons to its user; of several ways, not by those of `told`.

        Several ways raise `PartlyTold` where one fails.
        """
