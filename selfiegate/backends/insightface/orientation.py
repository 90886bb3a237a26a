"""Tells by which quarter turn a photo's face stands upright: SCRFD finds a turned face less surely, or not at all."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfiegate.backends.insightface import geometry
from selfiegate.backends.insightface.detector import Detector, Found, fitted
from selfiegate.face import Face

_AROUND = 2.0
"""Side of the square that is looked at, in sides of the face's box."""

_SIDE = 128
"""The square is scaled to this many pixels, before it is turned."""

UPRIGHT = 0.82
"""A face of this confidence is upright: none of 1,350 turned ones of LFW reached more, nine in ten upright ones do."""

_SURER, _SURE = 0.1, 0.65
"""How much surer of a face the detector must be after the turn, and how sure at least."""

_DOUBTFUL = 0.75
"""Below this confidence what was found may be no face, of which its surroundings tell nothing."""

_STANDING = 30.0
"""Degrees of roll. A face that leans further after its turn is a tilted head, not a turned photo."""

_TURNS = ((2, 180), (1, 270), (3, 90))
"""Quarter turns of `rot90`, which are counter-clockwise, and the same in degrees clockwise."""

_ROLLS = {90: -90.0, 180: 180.0, 270: 90.0}
"""What the roll of a face is that a turn clockwise sets upright."""


def quarter_turn(detector: Detector, photo: Image.Image, found: Found) -> int:
    """Return the degrees clockwise (90, 180, 270) by which the photo has to be turned; 0: it is upright, or unclear.

    Costs nothing where the detector is sure of the main face, four detections of `_SIDE` pixels where it is not, and
    one of a whole photo where it found no face, or a doubtful one.
    """
    boxes, _ = found
    if not len(boxes):
        return _among_turned(detector, np.asarray(photo), enough=0.0)
    confidence = float(boxes[0, 4])
    if confidence >= UPRIGHT:
        return 0
    pixels = np.asarray(photo)
    turn = _around(detector, _scaled(_square(pixels, boxes[0]), _SIDE))
    if turn or confidence >= _DOUBTFUL:
        return turn
    return _among_turned(detector, pixels, enough=max(confidence + _SURER, _SURE))


def stands(found: Found) -> bool:
    """Say whether the main face of a turned photo is there, and upright."""
    boxes, landmarks = found
    pose = geometry.pose(landmarks[0]) if len(boxes) and boxes[0, 4] >= _SURE else None
    return pose is not None and abs(pose[2]) <= _STANDING


def lying(face: Face, turn: int) -> Face:
    """Return a face with its true roll, which this turn would undo.

    What else the face has is unknown: SCRFD finds it with the landmarks of an upright face.
    """
    return Face(box=face.box, confidence=face.confidence, landmarks=face.landmarks, roll=_ROLLS[turn])


def _around(detector: Detector, square: NDArray[np.uint8]) -> int:
    """Return the turn in which the detector is surer of what it sees, 0 where none is."""
    turned = [np.ascontiguousarray(np.rot90(square, n)) for n, _ in _TURNS]
    upright, *others = detector.confidences([square, *turned])
    surest, degrees = max((confidence, degrees) for confidence, (_, degrees) in zip(others, _TURNS, strict=True))
    return degrees if surest >= max(upright + _SURER, _SURE) else 0


def _among_turned(detector: Detector, pixels: NDArray[np.uint8], enough: float) -> int:
    """Look at the photo turned thrice, side by side in one picture; return the turn with the surest face."""
    side = detector.side // 2
    small, sheet = _scaled(pixels, side), np.zeros((2 * side, 2 * side, 3), np.uint8)
    for place, (n, _) in enumerate(_TURNS):
        turned, top, left = np.rot90(small, n), place // 2 * side, place % 2 * side
        sheet[top : top + turned.shape[0], left : left + turned.shape[1]] = turned
    boxes, _ = detector(sheet)
    if not len(boxes) or boxes[0, 4] < enough:
        return 0
    across, down = (boxes[0, :2] + boxes[0, 2:4]) / 2 >= side
    return (*(degrees for _, degrees in _TURNS), 0)[2 * int(down) + int(across)]


def _square(pixels: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut out the face and what is round it, as far as the frame goes."""
    left, top, right, bottom = map(float, box[:4])
    x, y, half = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) * _AROUND / 2
    return pixels[max(0, int(y - half)) : max(1, int(y + half)), max(0, int(x - half)) : max(1, int(x + half))]


def _scaled(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Scale a picture to at most so many pixels a side."""
    if not picture.size:
        return np.zeros((side, side, 3), np.uint8)
    return np.asarray(cv2.resize(picture, fitted(picture, (side, side)), interpolation=cv2.INTER_AREA), np.uint8)
