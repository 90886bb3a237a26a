"""Rekognition's answers as AWS documents them, in our words."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from selfiegate.backends.rekognition_responses import face_of, why_unindexed
from selfiegate.model import Detection
from selfiegate.policy import Rules, judge

BOX = {"Left": 0.3, "Top": 0.2, "Width": 0.4, "Height": 0.5}
DETAILS = {"BoundingBox": BOX, "Confidence": 99.0}


def answer(value: bool | None, confidence: float | None) -> dict[str, Any]:
    given = {"Value": value, "Confidence": confidence}
    return {name: part for name, part in given.items() if part is not None}


@pytest.mark.parametrize(
    ("pair", "probability"),
    [
        (answer(True, 98.0), 0.98),
        (answer(False, 98.0), 0.02),
        (answer(True, None), None),
        (answer(None, 98.0), None),
        ({}, None),
        (None, None),
    ],
)
def test_value_and_confidence_are_one_probability(pair: dict[str, Any] | None, probability: float | None) -> None:
    """Both are optional in FaceOccluded, EyeOpen, Sunglasses and Eyeglasses; either alone says nothing."""
    names = ("FaceOccluded", "EyesOpen", "Sunglasses", "Eyeglasses")
    face = face_of({**DETAILS, **(dict.fromkeys(names, pair) if pair is not None else {})}, (400, 400))

    assert [face.covered, face.eyes_open, face.sunglasses, face.eyeglasses] == [pytest.approx(probability)] * 4


def test_brightness_and_sharpness_are_taken_and_no_quality_is_made_of_them() -> None:
    """AWS tells no single score; what matches is for its QualityFilter to say."""
    face = face_of({**DETAILS, "Quality": {"Brightness": 41.0, "Sharpness": 92.0}}, (400, 400))

    assert (face.brightness, face.sharpness, face.quality, face.covered_parts) == (41, 92, None, ())


def test_dark_sunglasses_occlude_a_face_and_are_told_as_sunglasses() -> None:
    dark = face_of({**DETAILS, "FaceOccluded": answer(True, 99.0), "Sunglasses": answer(True, 97.0)}, (400, 400))
    mask = face_of({**DETAILS, "FaceOccluded": answer(True, 99.0), "Sunglasses": answer(False, 97.0)}, (400, 400))
    told = [[reason.code for reason in judge(Detection(faces=(face,)), Rules()).reasons] for face in (dark, mask)]

    assert told == [["sunglasses"], ["face_covered"]]


def unindexed(*faces: tuple[float, list[str]]) -> dict[str, Any]:
    return {
        "FaceRecords": [],
        "UnindexedFaces": [
            {"Reasons": reasons, "FaceDetail": {"BoundingBox": {**BOX, "Width": width}}} for width, reasons in faces
        ],
    }


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("LOW_SHARPNESS", "blurred"),
        ("LOW_BRIGHTNESS", "too_dark"),
        ("EXTREME_POSE", "turned_away"),
        ("SMALL_BOUNDING_BOX", "face_too_small"),
        ("EXCEEDS_MAX_FACES", "multiple_faces"),
        ("LOW_FACE_QUALITY", "blurred"),
        ("LOW_CONFIDENCE", "no_face"),
    ],
)
def test_why_a_face_was_not_indexed_is_told(reason: str, code: str) -> None:
    assert why_unindexed(unindexed((0.4, [reason]))) == [code]


def test_every_reason_of_aws_is_known() -> None:
    known = {"LOW_SHARPNESS", "LOW_BRIGHTNESS", "EXTREME_POSE", "SMALL_BOUNDING_BOX", "EXCEEDS_MAX_FACES"}
    documented = botocore.session.get_session().get_service_model("rekognition").shape_for("Reason").enum

    assert set(documented) == {*known, "LOW_FACE_QUALITY", "LOW_CONFIDENCE"}


def test_the_judged_face_tells_why_with_each_reason() -> None:
    """The policy judged the largest face; the order of the faces and of the reasons is not documented."""
    reasons = ["LOW_FACE_QUALITY", "LOW_BRIGHTNESS", "LOW_SHARPNESS", "LOW_CONFIDENCE"]
    found = unindexed((0.1, ["EXTREME_POSE"]), (0.5, reasons))

    assert why_unindexed(found) == ["blurred", "too_dark"]
    assert why_unindexed({"FaceRecords": [], "UnindexedFaces": []}) == ["no_face"]
