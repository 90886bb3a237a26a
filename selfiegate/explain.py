"""Shows a photo as the policy sees it: boxes, landmarks, and each value against its limit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from selfiegate.decoding.decode import turned
from selfiegate.face import Face
from selfiegate.model import Check, Detection, Reason
from selfiegate.policy import Judgement

_GREEN, _RED, _GREY, _INK = "#1a9850", "#d73027", "#888888", "#222222"
_LINE = 26
"""Pixels from one line of the table to the next."""
_COLUMNS = (16, 40, 200, 290)
"""Where mark, name, value and limit stand in the table."""
_TABLE_WIDTH = 480
_LETTERS = 84
"""Of a line of a sentence."""


def as_json(detection: Detection, judgement: Judgement) -> dict[str, Any]:
    """Return faces, checks and reasons; what a picture shows, for programs."""
    return {
        "usable": judgement.usable,
        "reasons": [reason.model_dump(mode="json") for reason in judgement.reasons],
        "checks": [check.model_dump(mode="json") for check in judgement.checks],
        "faces": [face.model_dump(mode="json") for face in detection.faces],
    }


def turn_of(detection: Detection) -> int:
    """Return the degrees clockwise by which the photo was turned to be judged."""
    return detection.faces[0].turned if detection.faces else 0


def annotate(picture: Image.Image | None, detection: Detection, judgement: Judgement) -> Image.Image:
    """Return the photo with its faces marked, beside a table of all checks and reasons.

    `picture` is the photo as it is stored, None where it could not be decoded; it is drawn as it was judged.
    """
    height = (len(judgement.checks) + 3) * _LINE + sum(map(_height, judgement.reasons))
    left = turned(picture, turn_of(detection)).copy() if picture else Image.new("RGB", (320, 240), "lightgrey")
    for face in detection.faces:
        _mark(left, face, _GREEN if face is judgement.face and not judgement.reasons else _RED)
    page = Image.new("RGB", (left.width + _TABLE_WIDTH, max(left.height, height)), "white")
    page.paste(left, (0, 0))
    _table(page, left.width, judgement)
    return page


def _mark(picture: Image.Image, face: Face, colour: str) -> None:
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    stroke = max(2, max(picture.size) // 300)
    box = face.box
    right, bottom = box.left + box.width, box.top + box.height
    draw.rectangle((box.left * width, box.top * height, right * width, bottom * height), outline=colour, width=stroke)
    for x, y in face.landmarks:
        draw.circle((x * width, y * height), 1.5 * stroke, fill="yellow", outline="black")


def _table(page: Image.Image, x: int, judgement: Judgement) -> None:
    draw, y = ImageDraw.Draw(page), 12
    verdict, colour = ("usable", _GREEN) if judgement.usable else ("refused", _RED)
    draw.text((x + _COLUMNS[0], y), verdict, colour, _font(22))
    y += _LINE + 8
    for check in judgement.checks:
        _row(draw, x, y, check)
        y += _LINE
    for reason in judgement.reasons:
        y += 8
        draw.text((x + _COLUMNS[0], y), str(reason.code), _RED, _font(16))
        for number, line in enumerate(_wrapped(reason), 1):
            draw.text((x + _COLUMNS[0], y + 6 + 14 * number), line, _INK, _font(11))
        y += _height(reason) - 8


def _wrapped(reason: Reason) -> Sequence[str]:
    return textwrap.wrap(reason.message, _LETTERS)


def _height(reason: Reason) -> int:
    return 32 + 14 * len(_wrapped(reason))


def _row(draw: ImageDraw.ImageDraw, x: int, y: int, check: Check) -> None:
    known = check.value is not None
    colour = _RED if not check.passed else _GREEN if known else _GREY
    value = f"{check.value:.3g}" if known else "unknown"
    limit = check.limit.replace("≥", ">=").replace("≤", "<=")  # Pillow's own font has no such signs
    draw.ellipse((x + _COLUMNS[0], y + 4, x + _COLUMNS[0] + 12, y + 16), fill=colour)
    for column, text in zip(_COLUMNS[1:], (check.name, value, limit), strict=True):
        draw.text((x + column, y), text, _INK if known else _GREY, _font(16))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
