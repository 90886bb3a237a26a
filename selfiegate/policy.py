"""What a usable selfie is: pure rules over attributes, all reasons at once.

One table serves every backend. A rule whose attribute is unknown follows `rules.unknown`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from selfiegate.advice import covered, reason, rotated
from selfiegate.errors import PhotoRejected
from selfiegate.face import Face
from selfiegate.model import Check, Detection, Reason, ReasonCode
from selfiegate.setting_types import Group


class Rules(Group):
    """The limits of the policy.

    Defaults were set against 796 LFW faces and the same faces spoiled, as `benchmarks.quality` does it. Of the plain
    ones 99.9 % are sharper than 39, between 24 and 79 bright, and turned by less than 54 degrees. A blur of
    2 px on the aligned face leaves 95 % below 32; two stops too dark, 95 % below 17; one and a half stops
    too bright, half above 95. No photo set at hand has faces cut off by the frame: that limit is a guess. The limits of
    quality, covers and eyes follow from `benchmarks.disguise`: together they refuse 2 % of plain photos at most.
    """

    min_eye_distance: float = Field(24.0, ge=0, le=10_000, description="Pixels between the eyes in the original photo")
    min_margin: float = Field(
        -0.12, ge=-1, le=1, description="Box to frame edge, in box sides; negative by the share that is cut off"
    )
    min_sharpness: float = Field(32.0, ge=0, le=100, description="0 (featureless) to 100, of the aligned face")
    min_brightness: float = Field(16.0, ge=0, le=100, description="Mean luma of the face, 0 (black) to 100 (white)")
    max_brightness: float = Field(88.0, ge=0, le=100, description="Mean luma of the face, 0 (black) to 100 (white)")
    max_yaw: float = Field(45.0, ge=0, le=180, description="Degrees to either side")
    max_pitch: float = Field(35.0, ge=0, le=180, description="Degrees up or down")
    max_roll: float = Field(40.0, ge=0, le=180, description="Degrees to either side")
    max_sunglasses: float = Field(0.3, ge=0, le=1, description="Probability; the curve: insightface/EYEWEAR.md")
    min_eyes_open: float = Field(0.2, ge=0, le=1, description="Probability")
    max_covered: float = Field(
        0.8, ge=0, le=1, description="Probability that eyes, nose or mouth are; 1 lets masks and veils through"
    )
    min_quality: float = Field(
        76.0, ge=0, le=100, description="Whether the face would match its own clear photo; InsightFace alone tells it"
    )
    bystander_share: float = Field(
        0.0, ge=0, lt=1, description="Faces smaller than this share of the main face's height are ignored"
    )
    unknown: Literal["pass", "refuse"] = Field("pass", description="What to do where a value cannot be told")

    @property
    def digest(self) -> str:
        """Twelve hex digits, equal for equal rules: recorded with each verdict."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Judgement:
    """The outcome of the policy: the checks made and the reasons to refuse, none if the face is usable."""

    checks: tuple[Check, ...]
    reasons: tuple[Reason, ...]
    face: Face | None = None

    @property
    def usable(self) -> bool:
        """Whether there is no reason to refuse the photo."""
        return not self.reasons


_ROTATED_FROM = 60.0
"""Degrees of roll from which a face is called rotated: between a tilted head and one that lies."""


def _rotated(face: Face, rules: Rules) -> Reason | None:
    """Return the one reason of a face that is further from upright than any head: what else is seen means nothing.

    `max_roll` allows such faces only where the backend measures them as it does upright ones.
    """
    allowed = rules.max_roll if face.yaw is not None else 0.0
    if face.roll is None or abs(face.roll) <= max(_ROTATED_FROM, allowed):
        return None
    return rotated(face.roll)


@dataclass(frozen=True)
class _Rule:
    """Holds one attribute against the interval low..high."""

    name: str
    code: ReasonCode | None
    """None where `_refusals` finds what to tell people."""
    value: Callable[[Face], float | None]
    unit: str
    low: float | None = None
    high: float | None = None

    def check(self, face: Face, unknown: str) -> Check:
        value = self.value(face)
        if value is None:
            passed = unknown == "pass" or self.low == 0  # every value would pass
        else:
            passed = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        return Check(name=self.name, value=value, limit=self._limit(), passed=passed)

    def _limit(self) -> str:
        if self.low is None:
            return f"≤ {self.high:g} {self.unit}".strip()
        return (
            f"≥ {self.low:g} {self.unit}".strip() if self.high is None else f"{self.low:g} to {self.high:g} {self.unit}"
        )


def _table(rules: Rules) -> list[_Rule]:
    code, yaw, pitch, roll = ReasonCode, rules.max_yaw, rules.max_pitch, rules.max_roll
    return [
        _Rule("eye distance", code.FACE_TOO_SMALL, lambda f: f.eye_distance, "px", low=rules.min_eye_distance),
        _Rule("margin", code.FACE_CUT_OFF, lambda f: f.box.margin, "face sides", low=rules.min_margin),
        _Rule("sharpness", code.BLURRED, lambda f: f.sharpness, "", low=rules.min_sharpness),
        _Rule("brightness, least", code.TOO_DARK, lambda f: f.brightness, "", low=rules.min_brightness),
        _Rule("brightness, most", code.TOO_BRIGHT, lambda f: f.brightness, "", high=rules.max_brightness),
        _Rule("yaw", code.TURNED_AWAY, lambda f: f.yaw, "°", low=-yaw, high=yaw),
        _Rule("pitch", code.TURNED_AWAY, lambda f: f.pitch, "°", low=-pitch, high=pitch),
        _Rule("roll", code.TURNED_AWAY, lambda f: f.roll, "°", low=-roll, high=roll),
        _Rule("sunglasses", code.SUNGLASSES, lambda f: f.sunglasses, "", high=rules.max_sunglasses),
        _Rule("eyes open", code.EYES_CLOSED, lambda f: f.eyes_open, "", low=rules.min_eyes_open),
        _Rule("covered", code.FACE_COVERED, lambda f: f.covered, "", high=rules.max_covered),
        _Rule("quality", None, lambda f: f.quality, "", low=rules.min_quality),
    ]


def _refusals(failed: Collection[ReasonCode | None], face: Face, rules: Rules) -> list[Reason]:
    """Return the reasons that people read; rules that failed without a code of their own are told by another's."""
    codes = [code for code in failed if code and code is not _explained(failed, face, rules)]
    if None in failed and not codes:
        codes = [_likeliest(face, rules)]
    return [covered(face.covered_parts) if code is ReasonCode.FACE_COVERED else reason(code) for code in codes]


def _explained(failed: Collection[ReasonCode | None], face: Face, rules: Rules) -> ReasonCode | None:
    """Return which of `sunglasses` and `face_covered` the other one explains.

    A mask is taken for sunglasses at times, also where masks are allowed. Rekognition calls a face with dark sunglasses
    occluded, and tells no parts.
    """
    if ReasonCode.SUNGLASSES not in failed or "eyes" in face.covered_parts:
        return None
    if ReasonCode.FACE_COVERED in failed:
        return ReasonCode.SUNGLASSES if face.covered_parts else ReasonCode.FACE_COVERED
    return ReasonCode.SUNGLASSES if face.covered_parts and rules.max_covered >= 1 else None


def _likeliest(face: Face, rules: Rules) -> ReasonCode:
    """Return why a face whose other values all pass is of poor quality: what lies nearest its limit, in its shares."""
    bright, code = face.brightness, ReasonCode
    if face.covered_parts:
        return code.FACE_COVERED
    values = [
        (code.BLURRED, face.sharpness, rules.min_sharpness),
        (code.TOO_DARK, bright, rules.min_brightness),
        (code.TOO_BRIGHT, None if bright is None else 100 - bright, 100 - rules.max_brightness),
        (code.FACE_TOO_SMALL, face.eye_distance, rules.min_eye_distance),
    ]
    near = [(value / limit, cause) for cause, value, limit in values if value is not None and limit > 0]
    return min(near, default=(1.0, code.BLURRED))[1]


def judge(detection: Detection, rules: Rules) -> Judgement:
    """Apply the rules to the main face; with none or several nobody can tell whose face to judge."""
    if detection.unusable is not None:
        return unusable(detection.unusable, detection.measured)
    faces = without_bystanders(detection.faces, rules)
    counted = Check(name="faces", value=len(faces), limit="= 1", passed=len(faces) == 1)
    if len(faces) != 1:
        code = ReasonCode.MULTIPLE_FACES if faces else ReasonCode.NO_FACE
        return Judgement((counted,), (reason(code, faces=len(faces)),))
    face = faces[0]
    if lies := _rotated(face, rules):
        roll = next(rule for rule in _table(rules) if rule.name == "roll")
        failed_roll = roll.check(face, rules.unknown).model_copy(update={"passed": False})
        return Judgement((counted, failed_roll), (lies,), face)
    table = [(rule.code, rule.check(face, rules.unknown)) for rule in _table(rules)]
    failed = dict.fromkeys(code for code, check in table if not check.passed)
    return Judgement((counted, *(check for _, check in table)), tuple(_refusals(failed, face, rules)), face)


def unusable(code: ReasonCode, measured: str = "") -> Judgement:
    """Judge a photo that could not be looked at, or that is gone; `measured` is of `Detection`."""
    return Judgement((), (reason(code, measured=measured),))


def without_bystanders(faces: Sequence[Face], rules: Rules) -> list[Face]:
    """Keep the main face (the first) and those that are not much smaller."""
    return [face for face in faces if face.box.height >= rules.bystander_share * faces[0].box.height]


def refused_by(rejected: PhotoRejected) -> Judgement:
    """Judge a photo that a later step than the policy refused, with each of its reasons."""
    return Judgement((), tuple(reason(ReasonCode(code)) for code in rejected.codes))
