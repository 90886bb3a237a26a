"""Rekognition's operations, each from checked parameters to an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.rekognition.collections import Collections, FoundFace, StoredFace, page
from tests.rekognition.details import bounding_box, face_detail, quality_reasons
from tests.rekognition.images import Images, Look
from tests.rekognition.protocol import HOME, USER_CALLS, AwsError
from tests.rekognition.switches import MODEL, MOST_LISTED, Journal
from tests.rekognition.users import Users

ACCOUNT = "123456789012"
_MOST_USERS = 500
_NO_FACE = "There are no faces in the image. Should be at least 1."

Json = dict[str, Any]


class Operations:
    """The operations, by name, of one region."""

    def __init__(
        self, collections: Collections, images: Images, journal: Journal, account: str = ACCOUNT, region: str = HOME
    ) -> None:
        self._arn = f"aws:rekognition:{region}:{account}:collection/"
        self._collections, self._images, self._journal, self._region = collections, images, journal, region
        self._users = Users(collections)
        self._methods: dict[str, Callable[[Json], Json]] = {
            "CreateCollection": self._create_collection,
            "DeleteCollection": self._delete_collection,
            "DescribeCollection": self._describe_collection,
            "ListCollections": self._list_collections,
            "DetectFaces": self._detect_faces,
            "SearchFacesByImage": self._search_faces_by_image,
            "IndexFaces": self._index_faces,
            "SearchFaces": self._search_faces,
            "ListFaces": self._list_faces,
            "DeleteFaces": self._delete_faces,
            "ListUsers": self._list_users,
            **{name: partial(self._users.once, name) for name in USER_CALLS},
        }

    def __call__(self, operation: str, asked: Json) -> Json:
        """Do the work of one call."""
        return {key: value for key, value in self._methods[operation](asked).items() if value is not None}

    def _create_collection(self, asked: Json) -> Json:
        self._collections.create(asked["CollectionId"])
        return {"StatusCode": 200, "CollectionArn": self._arn + asked["CollectionId"], "FaceModelVersion": MODEL}

    def _delete_collection(self, asked: Json) -> Json:
        self._collections.delete(asked["CollectionId"])
        return {"StatusCode": 200}

    def _describe_collection(self, asked: Json) -> Json:
        faces, users, created, model = self._collections.describe(asked["CollectionId"])
        described = {"FaceCount": faces, "FaceModelVersion": model, "CreationTimestamp": created, "UserCount": users}
        return {**described, "CollectionARN": f"arn:{self._arn}{asked['CollectionId']}"}

    def _list_collections(self, asked: Json) -> Json:
        shown, token = page(self._collections.list(), asked.get("NextToken"), asked.get("MaxResults"))
        ids = [collection.collection_id for collection in shown]
        return {"CollectionIds": ids, "FaceModelVersions": [MODEL] * len(ids), "NextToken": token}

    def _detect_faces(self, asked: Json) -> Json:
        attributes = asked.get("Attributes", [])
        self._journal.detections.append({"image": next(iter(asked["Image"]), None), "attributes": attributes})
        look = self._images.look(asked["Image"], self._region)
        return {"FaceDetails": [face_detail(face, look.size, attributes) for face in look.faces]}

    def _search_faces_by_image(self, asked: Json) -> Json:
        self._collections.describe(asked["CollectionId"])
        look = self._images.look(asked["Image"], self._region)
        usable = _usable(look, asked.get("QualityFilter", "NONE"))
        if not usable:
            raise AwsError("InvalidParameterException", _NO_FACE)
        face, embedding = look.faces[usable[0]], look.embeddings[usable[0]]
        return {
            "SearchedFaceBoundingBox": bounding_box(face.box),
            "SearchedFaceConfidence": 100 * face.confidence,
            "FaceMatches": self._matches(asked, embedding),
            "FaceModelVersion": MODEL,
        }

    def _index_faces(self, asked: Json) -> Json:
        self._collections.describe(asked["CollectionId"])
        look = self._images.look(asked["Image"], self._region)
        attributes = asked.get("DetectionAttributes", [])
        details = [face_detail(face, look.size, attributes) for face in look.faces]
        chosen = largest(look, _usable(look, asked.get("QualityFilter", "AUTO")), asked.get("MaxFaces"))
        found = [_found(look, number) for number in chosen]
        external_id = asked.get("ExternalImageId")
        stored = self._collections.index(asked["CollectionId"], look.image_id, external_id, found)
        return {
            "FaceRecords": [
                {"Face": _face(face), "FaceDetail": details[number]}
                for face, number in zip(stored, chosen, strict=True)
            ],
            "UnindexedFaces": [
                {"Reasons": _reasons(look, number, asked), "FaceDetail": details[number]}
                for number in range(len(details))
                if number not in chosen
            ],
            "FaceModelVersion": MODEL,
        }

    def _search_faces(self, asked: Json) -> Json:
        probe = self._collections.embedding(asked["CollectionId"], asked["FaceId"])
        matches = self._matches(asked, probe, but=asked["FaceId"])
        return {"SearchedFaceId": asked["FaceId"], "FaceMatches": matches, "FaceModelVersion": MODEL}

    def _list_faces(self, asked: Json) -> Json:
        faces = self._collections.faces(asked["CollectionId"])
        if "UserId" in asked:
            faces = self._users.faces(asked["CollectionId"], asked["UserId"])
        if "FaceIds" in asked:
            faces = [face for face in faces if face.face_id in asked["FaceIds"]]
        most = min(asked.get("MaxResults") or MOST_LISTED, self._collections.most_listed)
        shown, token = page(faces, asked.get("NextToken"), most)
        return {"Faces": [_face(face) for face in shown], "FaceModelVersion": MODEL, "NextToken": token}

    def _delete_faces(self, asked: Json) -> Json:
        removed, failed = self._collections.remove(asked["CollectionId"], asked["FaceIds"])
        # the model's list has at least one member
        return {"DeletedFaces": removed or None, "UnsuccessfulFaceDeletions": failed}

    def _list_users(self, asked: Json) -> Json:
        users = self._users.list(asked["CollectionId"])
        shown, token = page(users, asked.get("NextToken"), asked.get("MaxResults") or _MOST_USERS)
        statuses = [self._users.status(asked["CollectionId"], user) for user in shown]
        return {
            "Users": [{"UserId": u.user_id, "UserStatus": status} for u, status in zip(shown, statuses, strict=True)],
            "NextToken": token,
        }

    def _matches(self, asked: Json, probe: Any, but: str | None = None) -> list[Json]:
        threshold, limit = asked.get("FaceMatchThreshold", 80.0), asked.get("MaxFaces", 4096)
        found = self._collections.search(asked["CollectionId"], probe, threshold, limit, but)
        return [{"Similarity": score, "Face": _face(face)} for score, face in found]


def _usable(look: Look, quality_filter: str) -> Sequence[int]:
    """Return the numbers of the faces that meet the quality bar, largest first."""
    return [n for n, face in enumerate(look.faces) if not quality_reasons(face, look.size, quality_filter)]


def largest(look: Look, usable: Sequence[int], limit: int | None) -> Sequence[int]:
    """Return at most so many of these faces, largest first: poor ones are left out before small ones.

    AWS documents this order, "the lowest quality first", and does not say how low that is.
    """
    poor = [number for number in usable if quality_reasons(look.faces[number], look.size, "LOW")]
    ranked = sorted(usable, key=lambda number: (number in poor, number))
    return sorted(ranked[:limit])


def _reasons(look: Look, number: int, asked: Json) -> list[str]:
    """Return why a face was not indexed; one that met the quality bar can only be too many."""
    reasons = quality_reasons(look.faces[number], look.size, asked.get("QualityFilter", "AUTO"))
    return reasons or ["EXCEEDS_MAX_FACES"]


def _found(look: Look, number: int) -> FoundFace:
    return FoundFace(look.faces[number].box, 100 * look.faces[number].confidence, look.embeddings[number])


def _face(stored: StoredFace) -> Json:
    external = {"ExternalImageId": stored.external_image_id} if stored.external_image_id else {}
    user = {"UserId": stored.user_id} if stored.user_id else {}
    return (
        external
        | user
        | {
            "FaceId": stored.face_id,
            "BoundingBox": bounding_box(stored.found.box),
            "ImageId": stored.image_id,
            "Confidence": stored.found.confidence,
            "IndexFacesModelVersion": MODEL,
        }
    )
