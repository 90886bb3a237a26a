"""Tells a face that lies or stands on its head: SCRFD finds such faces, but with the landmarks of an upright face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from selfiegate.backends.insightface.detector import Detector, fitted
from selfiegate.face import Face

_AROUND = 2.0
"""Side of the square that is looked at, in sides of the face's box."""

_SIDE = 128
"""It is scaled to this many pixels, before it is turned."""

_UPRIGHT = 0.82
"""A face of this confidence is upright: none of 1,200 turned ones of LFW reached more, nine in ten upright ones do."""

_SURER, _SURE = 0.1, 0.65
"""How much surer of a face the detector must be in the turned square, and how sure at least."""

_FRONTAL = 30.0
"""Degrees. A face whose angles seem smaller may stand on its head; only others may lie on their side."""

_HALF, _QUARTERS = (2, 180.0), ((1, 90.0), (3, -90.0))
"""Quarter turns that make a face upright, and its roll before."""


def upright(detector: Detector, pixels: NDArray[np.uint8], box: NDArray[np.float32], face: Face) -> Face:
    """Return the face with its true roll where it is turned by about 90 or 180 degrees; what else it has is unknown.

    Turned upright, the detector is surer of it.
    """
    if face.confidence >= _UPRIGHT:
        return face
    angles = (face.yaw, face.pitch, face.roll)
    seems_frontal = all(angle is not None and abs(angle) < _FRONTAL for angle in angles)
    square = _square(pixels, box)
    enough = max(detector.confidence(square) + _SURER, _SURE)
    turns = (_HALF,) if seems_frontal else (_HALF, *_QUARTERS)
    surest, roll = max((detector.confidence(np.ascontiguousarray(np.rot90(square, n))), roll) for n, roll in turns)
    if surest < enough:
        return face
    return Face(box=face.box, confidence=face.confidence, landmarks=face.landmarks, roll=roll)


def _square(pixels: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut out the face and what is round it, as far as the frame goes, at most `_SIDE` pixels a side."""
    left, top, right, bottom = map(float, box[:4])
    x, y, half = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) * _AROUND / 2
    part = pixels[max(0, int(y - half)) : max(1, int(y + half)), max(0, int(x - half)) : max(1, int(x + half))]
    if not part.size:
        return np.zeros((_SIDE, _SIDE, 3), np.uint8)
    size = fitted(part, (_SIDE, _SIDE))
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
