"""Calls of Rekognition on one collection, with the errors of selfiegate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from selfiegate.aws.clients import AwsSettings, client, code_of, throttle, translated
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, PhotoRejected
from selfiegate.model import ReasonCode

_REASONS = {
    "ImageTooLargeException": ReasonCode.PHOTO_TOO_LARGE,
    "InvalidImageFormatException": ReasonCode.UNSUPPORTED_FORMAT,
}

_REFUSALS = (
    "InvalidPaginationTokenException",
    "InvalidParameterException",
    "InvalidS3ObjectException",
    "ResourceAlreadyExistsException",
)


PAGE = 4096
"""Faces of a page of a list, AWS's upper bound."""


class Refused(BackendMisconfigured):
    """AWS refused a call for a reason that the caller may know what to do with; the same call is refused again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def call(settings: AwsSettings, operation: str, **arguments: Any) -> Any:
    """Call an operation, after its turn where calls are throttled; raises `Refused` for what the caller may expect."""
    name = "".join(word.capitalize() for word in operation.split("_"))
    action = f"rekognition:{name}"
    throttle(name)
    with translated(f"{action} on the collection {settings.collection}"):
        try:
            return getattr(client("rekognition", settings), operation)(**arguments)
        except ClientError as error:
            if code_of(error) in _REASONS:
                raise PhotoRejected(_REASONS[code_of(error)]) from error
            if code_of(error) in _REFUSALS:
                raise Refused(code_of(error), f"{action}: {error}") from error
            if code_of(error) == "ConflictException":  # another call changes the same
                raise BackendUnavailable(f"{action}: {error}") from error
            raise


class Description(NamedTuple):
    """What tells a collection from all others, and what it holds."""

    arn: str
    created_ms: int
    """Since 1970. A collection that is deleted and made anew has another time under the same ARN."""
    faces: int
    model: str
    """The version of the model that faces are stored for. A collection keeps its version."""


def described(settings: AwsSettings) -> Description | None:
    """Describe the collection; None where there is none."""
    throttle("DescribeCollection")
    with translated(f"rekognition:DescribeCollection on the collection {settings.collection}"):
        try:
            found = client("rekognition", settings).describe_collection(CollectionId=settings.collection)
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise
    created_ms = round(found["CreationTimestamp"].timestamp() * 1000)
    return Description(found["CollectionARN"], created_ms, found["FaceCount"], found["FaceModelVersion"])


def faces_among(settings: AwsSettings, face_ids: Sequence[str]) -> Set[str]:
    """Return those of many faces that the collection has; AWS may tell them on more pages than were asked for."""
    there = set[str]()
    for at in range(0, len(face_ids), PAGE):
        there |= _among(settings, list(face_ids[at : at + PAGE]))
    return there


def _among(settings: AwsSettings, face_ids: list[str]) -> Set[str]:
    there, more = set[str](), dict[str, str]()
    asked = {"CollectionId": settings.collection, "FaceIds": face_ids, "MaxResults": len(face_ids)}
    for _ in range(len(face_ids) + 1):  # a page may hold a single face
        found = call(settings, "list_faces", **asked, **more)
        there |= {face["FaceId"] for face in found["Faces"]}
        if not found.get("NextToken"):
            return there
        more = {"NextToken": found["NextToken"]}
    raise BackendUnavailable(f"rekognition:ListFaces came to no end for {len(face_ids)} faces")


def all_faces(settings: AwsSettings) -> Iterator[Mapping[str, Any]]:
    """Go through the collection, as Rekognition describes its faces."""
    with translated("rekognition:ListFaces"):
        pages = client("rekognition", settings).get_paginator("list_faces")
        for page in pages.paginate(CollectionId=settings.collection):
            yield from page["Faces"]
