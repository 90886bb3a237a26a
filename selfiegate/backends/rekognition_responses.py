"""Rekognition's answers in our words: faces, matches, and the ids that it keeps for us. No calls."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from selfiegate.face import Box, Face
from selfiegate.model import Match, PhotoRef, ReasonCode
from selfiegate.ports import EnrolledFace
from selfiegate.user_ids import decoded, encoded


def external_id(user_id: str, photo: PhotoRef) -> str:
    """Name a face after its user and photo; a user id that `user_id_of` takes for Rekognition fits."""
    return f"{encoded(user_id)}::{photo.id}"


def user_id_from(external: str) -> str:
    """Return the user id that an ExternalImageId names; one that an older system made is the user id itself."""
    ours = re.fullmatch(r"(.+)::[0-9a-f]{32}", external)
    return decoded(ours[1]) if ours else external


def area(face: Mapping[str, Any]) -> float:
    return float(face["BoundingBox"]["Width"] * face["BoundingBox"]["Height"])


def matches(found: Mapping[str, Any]) -> list[Match]:
    return [
        Match(
            face_id=match["Face"]["FaceId"],
            user_id=user_id_from(match["Face"].get("ExternalImageId", match["Face"]["FaceId"])),
            score=match["Similarity"],
            origin=match["Face"].get("ExternalImageId", ""),
        )
        for match in found["FaceMatches"]
    ]


def face_of(details: Mapping[str, Any], size: tuple[int, int]) -> Face:
    box, pose, quality = details["BoundingBox"], details.get("Pose", {}), details.get("Quality", {})
    return Face(
        box=Box(left=box["Left"], top=box["Top"], width=box["Width"], height=box["Height"]),
        confidence=details["Confidence"] / 100,
        landmarks=tuple((point["X"], point["Y"]) for point in details.get("Landmarks", ())),
        eye_distance=_eye_distance(details, size),
        yaw=pose.get("Yaw"),
        pitch=pose.get("Pitch"),
        roll=pose.get("Roll"),
        sharpness=quality.get("Sharpness"),
        brightness=quality.get("Brightness"),
        sunglasses=_probability(details.get("Sunglasses")),
        eyeglasses=_probability(details.get("Eyeglasses")),
        eyes_open=_probability(details.get("EyesOpen")),
        covered=_probability(details.get("FaceOccluded")),
    )


def _eye_distance(details: Mapping[str, Any], size: tuple[int, int]) -> float | None:
    points = {point["Type"]: point for point in details.get("Landmarks", ())}
    if not {"eyeLeft", "eyeRight"} <= points.keys():
        return None
    left, right = points["eyeLeft"], points["eyeRight"]
    return math.hypot((right["X"] - left["X"]) * size[0], (right["Y"] - left["Y"]) * size[1])


def _probability(answer: Mapping[str, Any] | None) -> float | None:
    """Turn 'Value: False, Confidence: 98' into 0.02; None unless there are both, each is optional."""
    if not answer or answer.get("Value") is None or answer.get("Confidence") is None:
        return None
    confidence = float(answer["Confidence"]) / 100
    return confidence if answer["Value"] else 1 - confidence


_UNINDEXED = {
    "LOW_SHARPNESS": ReasonCode.BLURRED,
    "LOW_BRIGHTNESS": ReasonCode.TOO_DARK,
    "EXTREME_POSE": ReasonCode.TURNED_AWAY,
    "SMALL_BOUNDING_BOX": ReasonCode.FACE_TOO_SMALL,
    "EXCEEDS_MAX_FACES": ReasonCode.MULTIPLE_FACES,
}
"""Why IndexFaces left a face out, in our words."""

_VAGUE = {"LOW_FACE_QUALITY": ReasonCode.BLURRED, "LOW_CONFIDENCE": ReasonCode.NO_FACE}
"""The same of reasons that are told where AWS names no other."""


def why_unindexed(found: Mapping[str, Any]) -> Sequence[ReasonCode]:
    """Return each reason why IndexFaces did not index the largest face, the one that the policy judged."""
    faces = sorted(found.get("UnindexedFaces", ()), key=lambda face: -area(face["FaceDetail"]))
    told = faces[0].get("Reasons", ()) if faces else ()
    vague = next((code for reason, code in _VAGUE.items() if reason in told), ReasonCode.NO_FACE)
    return [code for reason, code in _UNINDEXED.items() if reason in told] or [vague]


def enrolled(face: Mapping[str, Any]) -> EnrolledFace:
    """Return a face of a list; one that another system indexed without an ExternalImageId is a user of its own."""
    external = face.get("ExternalImageId", face["FaceId"])
    return EnrolledFace(face_id=face["FaceId"], user_id=user_id_from(external), origin=external)
