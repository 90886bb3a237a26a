"""The rules: each has its reason, its limit and its side."""

from __future__ import annotations

import pytest

from selfiegate.advice import ADVICE
from selfiegate.face import Box, Face
from selfiegate.model import Detection, ReasonCode
from selfiegate.policy import Rules, judge, unusable

GOOD = {
    "box": Box(left=0.3, top=0.2, width=0.4, height=0.6),
    "confidence": 0.9,
    "eye_distance": 100.0,
    "yaw": 0.0,
    "pitch": 0.0,
    "roll": 0.0,
    "sharpness": 60.0,
    "brightness": 50.0,
    "sunglasses": 0.0,
    "eyeglasses": 0.9,
    "eyes_open": 0.9,
    "covered": 0.0,
    "quality": 90.0,
}


def face(**changes: object) -> Face:
    return Face.model_validate({**GOOD, **changes})


def codes(*faces: Face, rules: Rules | None = None) -> list[str]:
    return [reason.code for reason in judge(Detection(faces=faces), rules or Rules()).reasons]


def test_a_good_face_passes_every_check() -> None:
    judgement = judge(Detection(faces=(face(),)), Rules())

    assert judgement.reasons == ()
    assert all(check.passed for check in judgement.checks)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"eye_distance": 5.0}, "face_too_small"),
        ({"box": Box(left=-0.3, top=0.2, width=0.6, height=0.6)}, "face_cut_off"),
        ({"box": Box(left=0.3, top=0.6, width=0.4, height=0.7)}, "face_cut_off"),
        ({"sharpness": 2.0}, "blurred"),
        ({"brightness": 3.0}, "too_dark"),
        ({"brightness": 99.0}, "too_bright"),
        ({"yaw": 60.0}, "turned_away"),
        ({"yaw": -60.0}, "turned_away"),
        ({"pitch": -50.0}, "turned_away"),
        ({"roll": 90.0}, "turned_away"),
        ({"sunglasses": 0.95}, "sunglasses"),
        ({"eyes_open": 0.01}, "eyes_closed"),
        ({"covered": 0.99}, "face_covered"),
    ],
)
def test_each_rule_has_its_reason(changes: dict[str, object], code: str) -> None:
    assert codes(face(**changes)) == [code]


def test_a_reason_is_given_once_though_two_rules_have_it() -> None:
    assert codes(face(yaw=80.0, roll=80.0)) == ["turned_away"]


def test_the_limit_itself_passes() -> None:
    assert codes(face(yaw=30.0), rules=Rules(max_yaw=30)) == []


def test_unknown_passes_or_is_refused_as_set() -> None:
    unknown = face(sunglasses=None)

    assert codes(unknown) == []
    assert codes(unknown, rules=Rules(unknown="refuse")) == ["sunglasses"]


def test_several_faces_are_counted_in_the_message() -> None:
    (reason,) = judge(Detection(faces=(face(), face(), face())), Rules()).reasons

    assert reason.message.startswith("Detected 3 faces in the photo.")


def test_small_bystanders_are_refused_unless_they_are_allowed() -> None:
    bystander = face(box=Box(left=0.8, top=0.1, width=0.05, height=0.08))

    assert codes(face(), bystander) == ["multiple_faces"]
    assert codes(face(), bystander, rules=Rules(bystander_share=0.25)) == []
    assert codes(face(), face(), rules=Rules(bystander_share=0.25)) == ["multiple_faces"]


def test_an_unusable_photo_has_its_own_reason() -> None:
    judgement = judge(Detection(unusable=ReasonCode.PHOTO_TOO_LARGE), Rules())

    assert [reason.code for reason in judgement.reasons] == ["photo_too_large"]


def test_what_is_too_large_or_too_small_is_told_with_the_limit() -> None:
    detection = Detection(unusable=ReasonCode.PHOTO_TOO_LARGE, measured=": 31.0 MB, at most 25 MB are taken")
    (reason,) = judge(detection, Rules()).reasons

    assert reason.message == "The photo is too large: 31.0 MB, at most 25 MB are taken. Upload a smaller one."


@pytest.mark.parametrize(
    ("roll", "words"),
    [(90.0, "lies on its side"), (-88.0, "lies on its side"), (180.0, "is upside down"), (-170.0, "is upside down")],
)
def test_a_rotated_face_is_called_rotated_and_nothing_else(roll: float, words: str) -> None:
    judgement = judge(Detection(faces=(face(roll=roll, sunglasses=0.99, sharpness=1.0, eyes_open=0.0),)), Rules())
    (reason,) = judgement.reasons

    assert reason.code == "turned_away"
    assert words in reason.message
    assert "Hold the phone upright" in reason.message
    assert [check.name for check in judgement.checks] == ["faces", "roll"]
    assert not judgement.checks[-1].passed


def test_a_tilted_head_is_not_called_rotated() -> None:
    assert codes(face(roll=50.0, sunglasses=0.99)) == ["turned_away", "sunglasses"]


def test_a_rotated_face_passes_where_the_rules_allow_it() -> None:
    assert codes(face(roll=90.0), rules=Rules(max_roll=100)) == []
    assert codes(face(roll=170.0), rules=Rules(max_roll=100)) == ["turned_away"]


def test_a_rotated_face_of_which_nothing_else_is_known_never_passes() -> None:
    """Else sunglasses would pass in a rotated photo, and an embedding that matches nobody."""
    bare = Face(box=Box(left=0.2, top=0.2, width=0.5, height=0.6), confidence=0.7, roll=90.0)

    judgement = judge(Detection(faces=(bare,)), Rules(max_roll=180))

    assert [reason.code for reason in judgement.reasons] == ["turned_away"]
    assert not judgement.checks[-1].passed


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((), "The face is covered. Take off a mask, and keep hands and things away from it."),
        (("mouth",), "The mouth is covered. Take off the mask, and keep hands and things away from your face."),
        (("nose", "mouth"), "The nose and the mouth are covered. Take off the mask, and keep hands"),
        (("eyes",), "The eyes are covered. Take hair, hands and things away from your eyes."),
        (("eyes", "nose", "mouth"), "The eyes, the nose and the mouth are covered. Take off the mask, and take hair,"),
    ],
)
def test_what_is_covered_is_told(parts: tuple[str, ...], words: str) -> None:
    (reason,) = judge(Detection(faces=(face(covered=0.9, covered_parts=parts),)), Rules()).reasons

    assert reason.code == "face_covered"
    assert words in reason.message


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (("mouth", "nose"), ["face_covered"]),
        (("eyes", "nose", "mouth"), ["sunglasses", "face_covered"]),
        (("eyes",), ["sunglasses", "face_covered"]),
        ((), ["sunglasses"]),
    ],
)
def test_a_mask_is_no_sunglasses_and_sunglasses_are_no_mask(parts: tuple[str, ...], told: list[str]) -> None:
    """Rekognition calls a face with dark sunglasses occluded, and does not say where."""
    judgement = judge(Detection(faces=(face(sunglasses=0.9, covered=0.9, covered_parts=parts),)), Rules())

    assert [reason.code for reason in judgement.reasons] == told
    assert [check.name for check in judgement.checks if not check.passed] == ["sunglasses", "covered"]


def test_where_masks_are_allowed_a_mask_is_no_sunglasses_either() -> None:
    masked = {"sunglasses": 0.9, "covered": 0.99, "covered_parts": ("nose", "mouth")}

    assert codes(face(**masked), rules=Rules(max_covered=1)) == []
    assert codes(face(**{**masked, "covered_parts": ()}), rules=Rules(max_covered=1)) == ["sunglasses"]


POOR = {"quality": 5.0, "sharpness": 90.0, "brightness": 50.0, "eye_distance": 200.0}
"""Nothing but the quality is off its limit, and nothing is near its own."""


@pytest.mark.parametrize(
    ("nearest", "code"),
    [
        ({"sharpness": 34.0}, "blurred"),
        ({"brightness": 17.0}, "too_dark"),
        ({"brightness": 87.0}, "too_bright"),
        ({"eye_distance": 25.0}, "face_too_small"),
        ({"eye_distance": 26.0, "sharpness": 33.0}, "blurred"),
        ({"eye_distance": None, "sharpness": None, "brightness": None}, "blurred"),
    ],
)
def test_a_poor_face_is_refused_for_what_is_nearest_its_limit(nearest: dict[str, object], code: str) -> None:
    judgement = judge(Detection(faces=(face(**{**POOR, **nearest}),)), Rules())

    assert [reason.code for reason in judgement.reasons] == [code]
    assert [check.name for check in judgement.checks if not check.passed] == ["quality"]


@pytest.mark.parametrize("changes", [{"sharpness": 2.0}, {"covered": 0.9}, {"yaw": 60.0}, {"brightness": 99.0}])
def test_a_poor_face_is_told_what_is_known_to_be_wrong_and_no_more(changes: dict[str, object]) -> None:
    assert len(codes(face(**{**POOR, **changes}))) == 1


def test_a_poor_face_that_is_half_covered_is_refused_for_that() -> None:
    assert codes(face(**{**POOR, "covered": 0.7, "covered_parts": ("mouth",), "sharpness": 33.0})) == ["face_covered"]


def test_what_has_no_limit_explains_no_poor_face() -> None:
    rules = Rules(min_sharpness=0, min_brightness=0, max_brightness=100)

    assert codes(face(**POOR), rules=rules) == ["face_too_small"]
    assert codes(face(**POOR), rules=Rules(min_quality=0)) == []


def test_a_least_value_of_nothing_asks_for_no_value() -> None:
    """Else `unknown=refuse` would refuse every photo on Rekognition, which tells no quality."""
    unknown = face(quality=None)

    assert codes(unknown) == []
    assert codes(unknown, rules=Rules(unknown="refuse")) != []
    assert codes(unknown, rules=Rules(unknown="refuse", min_quality=0)) == []


def test_every_code_has_a_sentence() -> None:
    assert set(ADVICE) == set(ReasonCode)


@pytest.mark.parametrize("code", ReasonCode)
def test_any_code_can_be_what_a_backend_refuses_a_photo_for(code: ReasonCode) -> None:
    """Rekognition may find several faces only when it indexes one."""
    (reason,) = unusable(code).reasons

    assert reason.code == code
    assert "{" not in reason.message


def test_equal_rules_have_equal_digests() -> None:
    assert Rules().digest == Rules().digest != Rules(max_yaw=1).digest
