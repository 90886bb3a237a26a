"""What users are told: a sentence for each reason, which says what to do."""

from __future__ import annotations

from collections.abc import Sequence

from selfiegate.face import Part
from selfiegate.model import Reason, ReasonCode

ADVICE: dict[ReasonCode, str] = {
    ReasonCode.NO_FACE: "Detected 0 faces in the photo. Take a photo in which your face is clearly visible.",
    ReasonCode.MULTIPLE_FACES: "Detected {faces} faces in the photo. Take a photo that shows only you.",
    ReasonCode.SUNGLASSES: "The face wears sunglasses. Take them off, so that your eyes can be seen.",
    ReasonCode.FACE_TOO_SMALL: "The face is too small. Hold the camera closer.",
    ReasonCode.FACE_CUT_OFF: "The face is cut off by the edge of the photo. Move it into the middle.",
    ReasonCode.BLURRED: "The face is blurred. Hold the camera still and wipe its lens.",
    ReasonCode.TOO_DARK: "The face is too dark. Turn towards the light.",
    ReasonCode.TOO_BRIGHT: "The face is too bright. Step out of the direct light.",
    ReasonCode.TURNED_AWAY: "The face is turned away. Look straight into the camera, upright.",
    ReasonCode.EYES_CLOSED: "The eyes are closed. Keep them open.",
    ReasonCode.FACE_COVERED: "The face is covered. Take off a mask, and keep hands and things away from it.",
    ReasonCode.UNSUPPORTED_FORMAT: "This is not a photo that we can use. Upload a JPEG, PNG, WebP, HEIC or AVIF.",
    ReasonCode.UNREADABLE_PHOTO: "The photo is damaged or incomplete. Upload it again.",
    ReasonCode.PHOTO_TOO_LARGE: "The photo is too large{measured}. Upload a smaller one.",
    ReasonCode.PHOTO_TOO_SMALL: "The photo is too small{measured}. Upload one with more pixels.",
    ReasonCode.FACE_ALREADY_ENROLLED: "This face belongs to another account. Each person can have one account.",
    ReasonCode.UNCLEAR_MATCH: "We cannot tell this face well enough. Take another photo, in good light, from close by, "
    "with nothing on the face.",
    ReasonCode.DIFFERENT_PERSON: "This is not the person of your present photo. Upload a photo of yourself.",
}

_MASK = "Take off the mask, and keep hands and things away from your face."
_EYES = "Take hair, hands and things away from your eyes."
_MASK_AND_EYES = "Take off the mask, and take hair, hands and things away from your eyes."
_ROTATED = "The photo is rotated: the face {how}. Hold the phone upright, or turn the photo, and upload it again."


def reason(code: ReasonCode, **values: object) -> Reason:
    """Return the reason with its sentence for the user; `measured` is of `Detection`, `faces` a number if known."""
    return Reason(code=code, message=ADVICE[code].format(**{"measured": "", "faces": "several", **values}))


def covered(parts: Sequence[Part]) -> Reason:
    """Return the reason of a face of which these parts are covered; of none where nobody knows which."""
    if not parts:
        return reason(ReasonCode.FACE_COVERED)
    what = " and ".join(f"the {part}" for part in parts).replace(" and ", ", ", len(parts) - 2)
    verb = "is" if len(parts) == 1 and parts[0] != "eyes" else "are"
    advice = _MASK if "eyes" not in parts else _EYES if len(parts) == 1 else _MASK_AND_EYES
    return Reason(code=ReasonCode.FACE_COVERED, message=f"{what.capitalize()} {verb} covered. {advice}")


def rotated(degrees: float) -> Reason:
    """Return the reason of a face that is this far from upright."""
    how = "is upside down" if abs(degrees) > 135 else "lies on its side"
    return Reason(code=ReasonCode.TURNED_AWAY, message=_ROTATED.format(how=how))
