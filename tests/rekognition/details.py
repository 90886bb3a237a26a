"""A `Face` in Rekognition's words: FaceDetail, and the quality that IndexFaces asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from selfiegate.face import Box, Face

_LANDMARKS = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")
_TEMPLATE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
"""Where they lie in the box of a frontal face; scaled to the eye distance where a script gives one."""

_PROBABLE = {"SUNGLASSES": 0.01, "EYEGLASSES": 0.01, "EYES_OPEN": 0.99, "FACE_OCCLUDED": 0.01}
"""For what an analyser cannot tell: an ordinary selfie."""

_CONSTANT = {
    "AGE_RANGE": ("AgeRange", {"Low": 26, "High": 36}),
    "BEARD": ("Beard", {"Value": False, "Confidence": 90.0}),
    "EMOTIONS": ("Emotions", [{"Type": "CALM", "Confidence": 95.0}]),
    "EYE_DIRECTION": ("EyeDirection", {"Yaw": 0.0, "Pitch": 0.0, "Confidence": 90.0}),
    "GENDER": ("Gender", {"Value": "Female", "Confidence": 90.0}),
    "MOUTH_OPEN": ("MouthOpen", {"Value": False, "Confidence": 90.0}),
    "MUSTACHE": ("Mustache", {"Value": False, "Confidence": 90.0}),
    "SMILE": ("Smile", {"Value": False, "Confidence": 90.0}),
}
"""What our analysers never look at: the same for everybody."""


class Bar(NamedTuple):
    """A quality filter: least pixels of the box's shorter side, least values of 0..100, greatest degrees."""

    side: float
    confidence: float
    sharpness: float
    brightness: float
    degrees: float
    covered: float


_LOW = Bar(side=20, confidence=40, sharpness=10, brightness=5, degrees=75, covered=0.99)
_BARS = {
    "AUTO": _LOW,
    "LOW": _LOW,
    "MEDIUM": Bar(side=40, confidence=60, sharpness=25, brightness=10, degrees=60, covered=0.9),
    "HIGH": Bar(side=60, confidence=80, sharpness=40, brightness=20, degrees=45, covered=0.5),
}
"""Ours, not AWS's, which are not published; there, too, AUTO chooses one of them."""


def face_detail(face: Face, size: tuple[int, int], attributes: Sequence[str]) -> dict[str, Any]:
    """Return the default attributes and those asked for.

    Pose has our own signs: positive yaw towards the photo's right, positive pitch upwards, positive roll
    clockwise; published answers of AWS show the same against their own landmarks.
    """
    pose = {"Roll": face.roll or 0.0, "Yaw": face.yaw or 0.0, "Pitch": face.pitch or 0.0}
    detail: dict[str, Any] = {
        "BoundingBox": bounding_box(face.box),
        "Confidence": 100 * face.confidence,
        "Landmarks": _landmarks(face, size),
        "Pose": pose,
        "Quality": {"Brightness": _brightness(face), "Sharpness": _sharpness(face)},
    }
    told = {
        "SUNGLASSES": ("Sunglasses", face.sunglasses),
        "EYEGLASSES": ("Eyeglasses", face.eyeglasses),
        "EYES_OPEN": ("EyesOpen", face.eyes_open),
        "FACE_OCCLUDED": ("FaceOccluded", _occluded(face)),
    }
    answers = {**_CONSTANT, **{name: (key, _claim(name, value)) for name, (key, value) in told.items()}}
    return detail | dict(answer for name, answer in answers.items() if {name, "ALL"} & set(attributes))


def bounding_box(box: Box) -> dict[str, float]:
    """Return a BoundingBox; like AWS's it may reach beyond the frame."""
    return {"Left": box.left, "Top": box.top, "Width": box.width, "Height": box.height}


def quality_reasons(face: Face, size: tuple[int, int], quality_filter: str) -> list[str]:
    """Return why a face does not meet a quality bar, as reasons of UnindexedFaces; NONE lets all pass."""
    if quality_filter == "NONE":
        return []
    bar = _BARS[quality_filter]
    failed = {
        "SMALL_BOUNDING_BOX": min(face.box.width * size[0], face.box.height * size[1]) < bar.side,
        "LOW_CONFIDENCE": 100 * face.confidence < bar.confidence,
        "LOW_SHARPNESS": _sharpness(face) < bar.sharpness,
        "LOW_BRIGHTNESS": _brightness(face) < bar.brightness,
        "EXTREME_POSE": max(abs(face.yaw or 0), abs(face.pitch or 0)) > bar.degrees,
        "LOW_FACE_QUALITY": (face.covered or 0) > bar.covered,
    }
    return [reason for reason, applies in failed.items() if applies]


def _occluded(face: Face) -> float | None:
    """Count dark sunglasses as an occlusion, as AWS documents FaceOccluded."""
    return face.sunglasses if face.covered is None else face.covered


def _claim(attribute: str, probability: float | None) -> dict[str, Any]:
    p = _PROBABLE[attribute] if probability is None else probability
    return {"Value": p >= 0.5, "Confidence": 100 * max(p, 1 - p)}


def _landmarks(face: Face, size: tuple[int, int]) -> list[dict[str, Any]]:
    points: Sequence[tuple[float, float]] = face.landmarks or _likely_landmarks(face, size)
    return [{"Type": name, "X": x, "Y": y} for name, (x, y) in zip(_LANDMARKS, points, strict=True)]


def _likely_landmarks(face: Face, size: tuple[int, int]) -> list[tuple[float, float]]:
    box, middle = face.box, face.box.left + face.box.width / 2
    eyes = face.eye_distance / size[0] if face.eye_distance else 0.4 * box.width
    return [(middle + (x - 0.5) / 0.4 * eyes, box.top + y * box.height) for x, y in _TEMPLATE]


def _sharpness(face: Face) -> float:
    return 90.0 if face.sharpness is None else face.sharpness


def _brightness(face: Face) -> float:
    return 80.0 if face.brightness is None else face.brightness
