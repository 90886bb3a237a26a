"""Rekognition's users: faces of a collection that belong together, as CreateUser and AssociateFaces make them.

From the service model and its texts in botocore. What these leave open, and AWS may do otherwise: a request is refused
as a whole where the user would have more than 100 faces, and the messages of errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tests.rekognition.collections import Collection, Collections, StoredFace, User, similarity
from tests.rekognition.protocol import AwsError

_MOST_FACES = 100
"""Of one user."""

Json = dict[str, Any]


class Users:
    """The users of all collections, behind the collections' lock."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        self._answers: dict[tuple[str, str], tuple[Json, Json]] = {}

    def create(self, asked: Json) -> Json:
        """Add a user without faces."""
        with self._collections.locked(asked["CollectionId"]) as collection:
            if asked["UserId"] in collection.users:
                raise AwsError("ConflictException", f"The user id: {asked['UserId']} already exists")
            collection.users[asked["UserId"]] = User(self._collections.next_number(), asked["UserId"])
        return {}

    def delete(self, asked: Json) -> Json:
        """Remove a user; its faces stay, and are nobody's."""
        with self._collections.locked(asked["CollectionId"]) as collection:
            user = _user(collection, asked["UserId"])
            for face in _faces_of(collection, user):
                face.user_id = None
            del collection.users[user.user_id]
        return {}

    def list(self, collection_id: str) -> Sequence[User]:
        """Return the users in the order they were created."""
        with self._collections.locked(collection_id) as collection:
            return list(collection.users.values())

    def status(self, collection_id: str, user: User) -> str:
        """Return CREATED for a user without faces, else ACTIVE."""
        with self._collections.locked(collection_id) as collection:
            return "ACTIVE" if _faces_of(collection, user) else "CREATED"

    def faces(self, collection_id: str, user_id: str) -> Sequence[StoredFace]:
        """Return a user's faces in the order they were indexed."""
        with self._collections.locked(collection_id) as collection:
            return _faces_of(collection, _user(collection, user_id))

    def associate(self, asked: Json) -> Json:
        """Give faces to a user; those of somebody else, and those that are unlike the user's, are told."""
        done, failed = list[Json](), list[Json]()
        with self._collections.locked(asked["CollectionId"]) as collection:
            user = _user(collection, asked["UserId"])
            mine = _faces_of(collection, user)
            new = [face_id for face_id in dict.fromkeys(asked["FaceIds"]) if face_id not in {f.face_id for f in mine}]
            if len(mine) + len(new) > _MOST_FACES:
                raise AwsError("ServiceQuotaExceededException", f"A user has {_MOST_FACES} faces at most")
            for face_id in new:
                face = collection.faces.get(face_id)
                if face and not (why := _unfit(face, mine, asked.get("UserMatchThreshold", 75.0))):
                    face.user_id = user.user_id
                    done.append({"FaceId": face_id})
                else:
                    failed.append({"FaceId": face_id, **(why if face else _missing(user))})
        return {"AssociatedFaces": done, "UnsuccessfulFaceAssociations": failed, "UserStatus": "UPDATING"}

    def disassociate(self, asked: Json) -> Json:
        """Take faces from a user; those that are nobody's are passed over."""
        done, failed = list[Json](), list[Json]()
        with self._collections.locked(asked["CollectionId"]) as collection:
            user = _user(collection, asked["UserId"])
            for face_id in dict.fromkeys(asked["FaceIds"]):
                face = collection.faces.get(face_id)
                if face is None:
                    failed.append({"FaceId": face_id, **_missing(user)})
                elif face.user_id == user.user_id:
                    face.user_id = None
                    done.append({"FaceId": face_id})
                elif face.user_id:
                    failed.append({"FaceId": face_id, **_somebody_elses(face)})
        return {"DisassociatedFaces": done, "UnsuccessfulFaceDisassociations": failed, "UserStatus": "UPDATING"}

    def once(self, operation: str, asked: Json) -> Json:
        """Do the work of one call; a ClientRequestToken that was used before gets the answer of then."""
        work = {
            "CreateUser": self.create,
            "DeleteUser": self.delete,
            "AssociateFaces": self.associate,
            "DisassociateFaces": self.disassociate,
        }[operation]
        token = operation, asked.get("ClientRequestToken", "")
        before, answer = self._answers.get(token, (asked, None))
        if before != asked:
            raise AwsError("IdempotentParameterMismatchException")
        if answer is None:
            answer = work(asked)
            if token[1]:
                self._answers[token] = asked, answer
        return answer


def _user(collection: Collection, user_id: str) -> User:
    if user_id not in collection.users:
        raise AwsError("ResourceNotFoundException", f"The user id: {user_id} does not exist")
    return collection.users[user_id]


def _faces_of(collection: Collection, user: User) -> list[StoredFace]:
    return [face for face in collection.faces.values() if face.user_id == user.user_id]


def _unfit(face: StoredFace, mine: Iterable[StoredFace], threshold: float) -> Json:
    """Return why a face cannot become a user's; the first one of a user may be anybody's."""
    if face.user_id:
        return _somebody_elses(face)
    best = max((similarity(face.found.embedding, other) for other in mine), default=100.0)
    return {} if best >= threshold else {"Confidence": best, "Reasons": ["LOW_MATCH_CONFIDENCE"]}


def _missing(user: User) -> Json:
    return {"UserId": user.user_id, "Reasons": ["FACE_NOT_FOUND"]}


def _somebody_elses(face: StoredFace) -> Json:
    return {"UserId": face.user_id, "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}
