"""Amazon Rekognition as a `ports.FaceBackend`: the collection is the gallery.

An accepted photo takes four calls (DetectFaces, SearchFacesByImage, IndexFaces, SearchFaces), and a fifth later
(SearchFaces, see `late_looks`). One that the policy refuses takes one. Age, gender and emotions are never asked for.

IndexFaces is idempotent for equal bytes and ExternalImageId. So every call sends the same image (see
`rekognition_images`), and the ExternalImageId names user and photo version, so that no two claims ever share a face.
Searches may lag behind it; see `rivals`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from typing import Any

from selfiegate.aws.clients import AwsSettings
from selfiegate.backends.rekognition_bond import CollectionBond
from selfiegate.backends.rekognition_calls import PAGE, Refused, all_faces, call, faces_among
from selfiegate.backends.rekognition_images import Images
from selfiegate.backends.rekognition_removal import remove_face
from selfiegate.backends.rekognition_responses import (
    area,
    enrolled,
    external_id,
    face_of,
    matches,
    why_unindexed,
)
from selfiegate.backends.rekognition_settling import Settling
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, FaceRefused, PhotoRejected
from selfiegate.matching import REKOGNITION, Matching
from selfiegate.model import Detection, Match, PhotoRef, ReasonCode
from selfiegate.paging import Page
from selfiegate.ports import EnrolledFace, GalleryStats, PhotoStore, Thresholds
from selfiegate.records import Records

_ATTRIBUTES = ["DEFAULT", "SUNGLASSES", "EYEGLASSES", "EYES_OPEN", "FACE_OCCLUDED"]
_MAX_MATCHES = 4096
"""All that Rekognition gives: a rival that is cut off would not be seen. It costs nothing."""

_NO_FACE = "no faces in the image"
"""So SearchFacesByImage says it, with the code of all its wrong parameters."""

_log = logging.getLogger(__name__)


class RekognitionBackend:
    """One collection, and the photos that it is asked about."""

    remote = True
    photos_a_call = 1
    device = "Amazon Rekognition"

    def __init__(
        self,
        settings: AwsSettings,
        photos: PhotoStore,
        limits: Limits,
        thresholds: Thresholds = Matching().on(REKOGNITION),  # noqa: B008  immutable
        records: Records | None = None,
    ) -> None:
        """Open the collection; with `records` it is held to them, now and at each use: see `rekognition_bond`."""
        self.thresholds = thresholds
        self._settings, self._photos, self._limits = settings, photos, limits
        self._images = Images(photos, limits)
        self._settling = Settling(settings.settle_s)
        self._bond = CollectionBond(settings, records) if records else None
        self._check()

    def try_out(self) -> str:
        """Name the service: it is not shown a photo, which would cost money."""
        return self.device

    @cached_property
    def model(self) -> str:
        """Name the collection and its model's version: faces of different versions are not compared."""
        found = self._ask("describe_collection")
        return f"rekognition/{self._settings.collection}@{found['FaceModelVersion']}"

    def create(self) -> str:
        """Create the collection where it is not there; returns the model."""
        try:
            call(self._settings, "create_collection", CollectionId=self._settings.collection)
        except Refused as refused:
            if refused.code != "ResourceAlreadyExistsException":
                raise
        return self.model

    def detect(self, photo: PhotoRef) -> Detection:
        """Find the faces of a photo, largest first."""
        try:
            size = self._images.of(photo)[1]
            found = self._images.show(photo, partial(call, self._settings, "detect_faces", Attributes=_ATTRIBUTES))
        except PhotoRejected as rejected:
            measured = self._limits.compare(rejected.measured)
            return Detection(unusable=ReasonCode(rejected.code), measured=measured)
        faces = [face_of(details, size) for details in found["FaceDetails"]]
        return Detection(faces=tuple(sorted(faces, key=lambda face: -face.box.area)))

    def search(self, photo: PhotoRef, user_id: str, unclear: bool = False) -> Sequence[Match]:
        """Match the photo's largest face; the user's own faces come where they resemble it at all."""
        floor = self.thresholds.floor(unclear)
        found = self._look(
            "search_faces_by_image",
            photo,
            FaceMatchThreshold=min(floor, self.thresholds.verify),
            MaxFaces=_MAX_MATCHES,
            QualityFilter="NONE",
        )
        return [match for match in matches(found) if match.user_id == user_id or match.score >= floor]

    def enrol(self, photo: PhotoRef, user_id: str) -> str:
        """Index the photo's largest face; raises `PhotoRejected` where Rekognition will not."""
        found = self._index(photo, user_id)
        if not found["FaceRecords"]:
            raise FaceRefused(*why_unindexed(found))
        face = found["FaceRecords"][0]["Face"]
        if any(area(other["FaceDetail"]) > area(face) for other in found.get("UnindexedFaces", ())):
            self.remove(face["FaceId"])  # it takes the best face, the policy has judged the largest
            raise FaceRefused(ReasonCode.MULTIPLE_FACES)
        self._settling.note(face["FaceId"])
        return str(face["FaceId"])

    def rivals(self, face_id: str, user_id: str, unclear: bool = False) -> Sequence[Match]:
        """Match an enrolled face against the other users' enrolled faces.

        Waits until `settle_s` have passed since the face was indexed here: whoever indexes second then sees
        the first, if a face is found by searches within that time.
        """
        self._settling.wait(face_id)
        floor = self.thresholds.floor(unclear)
        try:
            found = self._ask("search_faces", FaceId=face_id, FaceMatchThreshold=floor, MaxFaces=_MAX_MATCHES)
        except Refused as refused:
            if refused.code == "InvalidParameterException":  # a fresh FaceId may not be known everywhere yet
                raise BackendUnavailable(str(refused)) from refused
            raise
        return [match for match in matches(found) if match.user_id != user_id]

    def late_rivals(self, face_id: str, user_id: str) -> Sequence[Match]:
        """Do the same: Rekognition's searches lag behind no longer."""
        return self.rivals(face_id, user_id)

    def batch(self) -> AbstractContextManager[object]:
        """Index each at once."""
        return nullcontext()

    def remove(self, face_id: str) -> None:
        """Remove a face; an unknown one is fine."""
        remove_face(self._ask, face_id)

    def discard(self, photo: PhotoRef, user_id: str) -> None:
        """Remove the face that may have been indexed from this photo for this user: a run died before it noted the id.

        IndexFaces tells the id again, for it keeps one face of equal bytes and ExternalImageId. Searches would lag
        behind, and a list takes a call for each 4,096 faces of the collection.
        """
        try:
            found = self._index(photo, user_id)
        except PhotoRejected as gone:
            _log.warning(
                "%s is %s, so no face of it can be looked up; if one was indexed, `selfiegate reconcile --repair` "
                "removes it",
                photo.name,
                gone.code,
            )
            return
        for record in found["FaceRecords"]:
            self.remove(record["Face"]["FaceId"])

    def holds(self, face_id: str) -> bool:
        """Say whether the collection has a face now; lists are consistent where searches lag behind."""
        return bool(self.held([face_id]))

    def origin(self, photo: PhotoRef, user_id: str) -> str:
        """Return the ExternalImageId."""
        return external_id(user_id, photo)

    def faces(self) -> Iterable[EnrolledFace]:
        """Go through the collection; a face without an ExternalImageId is a user of its own."""
        self._check()
        yield from map(enrolled, all_faces(self._settings))

    def page(self, after: str = "", limit: int = 1000) -> Page[EnrolledFace]:
        """Return some faces of the collection; from its beginning where AWS does not know the place any more."""
        more = {"NextToken": after} if after else {}
        most = min(limit, PAGE)
        try:
            found = self._ask("list_faces", MaxResults=most, **more)
        except Refused as refused:
            if after and refused.code == "InvalidPaginationTokenException":
                return self.page("", limit)
            raise
        return Page([enrolled(face) for face in found["Faces"]], found.get("NextToken", ""))

    def held(self, face_ids: Collection[str]) -> Set[str]:
        """Return those of many faces that the collection has now."""
        self._check()
        return faces_among(self._settings, list(face_ids))

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of a user's faces, by listing the collection."""
        return [face.face_id for face in self.faces() if face.user_id == user_id]

    def page_of(self, user_id: str, after: str = "") -> Page[str]:
        """Return the same of one page of the list."""
        listed = self.page(after, PAGE)
        mine = [face.face_id for face in listed.items if face.user_id == user_id]
        return Page(mine, listed.next)

    def template(self, face_id: str) -> Sequence[float] | None:
        """Return None: Amazon keeps it."""
        return None

    def stats(self) -> GalleryStats:
        """Return how many faces Rekognition says that it holds; of how many users, only a list would tell."""
        found = self._ask("describe_collection")
        return GalleryStats(faces=found["FaceCount"], users=None, model=self.model)

    def _check(self) -> None:
        if self._bond:
            self._bond.check()

    def _ask(self, operation: str, **arguments: Any) -> Any:
        self._check()
        return call(self._settings, operation, CollectionId=self._settings.collection, **arguments)

    def _index(self, photo: PhotoRef, user_id: str) -> Any:
        return self._look(
            "index_faces",
            photo,
            ExternalImageId=external_id(user_id, photo),
            MaxFaces=1,
            QualityFilter=self._settings.quality_filter,
            DetectionAttributes=["DEFAULT"],
        )

    def _look(self, operation: str, photo: PhotoRef, **arguments: Any) -> Any:
        """Call an operation on a photo's image; a photo that is gone, or shows no face to it, is an outcome."""
        try:
            return self._images.show(photo, partial(self._ask, operation, **arguments))
        except BackendMisconfigured as error:
            if isinstance(error, Refused) and _NO_FACE in str(error):
                raise PhotoRejected(ReasonCode.NO_FACE) from error
            self._photos.read(photo)  # raises `PhotoRejected` where this version is gone
            raise
