"""What five landmarks and an aligned face can tell: pose, sharpness, brightness. Pure numpy.

Landmarks are SCRFD's, in pixels: left eye, right eye, nose tip, left and right mouth corner, as seen in
the picture.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_NOSE_DEPTH = 1.3
"""How far the nose tip stands before the plane through eyes and mouth, in half eye distances.

From the mean 3-D face of the Basel model's five points, as used in 3DDFA.
"""

_LEVEL_NOSE = 0.52
"""Where a level face's nose tip stands between eye line (0) and mouth line (1): ArcFace's template gives
0.495, the mean of frontal LFW faces 0.52."""

_BLUR_TAPS = 9
"""Crété's filter length, for the 112-pixel aligned face (the paper: "The blur effect", 2007)."""


def pose(landmarks: NDArray[np.floating]) -> tuple[float, float, float] | None:
    """Return (yaw, pitch, roll) in degrees, or None where the points do not form a face.

    Roll is the angle of the line from eyes to mouth against the vertical, positive clockwise. Yaw and
    pitch follow from how far the nose tip moves off that line, by the sine of the angle times its depth;
    good to about 10 degrees up to 40, and monotone beyond.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    down = mouth - eyes
    length = float(np.hypot(*down))
    span = max(float(np.hypot(*(landmarks[1] - landmarks[0]))), float(np.hypot(*(landmarks[4] - landmarks[3]))))
    # A face's eye-mouth distance is about the distance between its eyes; at a profile only the first is left.
    half = max(span, 0.9 * length) / 2
    if not math.isfinite(length) or length < 1e-3 or half < 1e-3:
        return None
    down = down / length
    right = np.array([down[1], -down[0]])
    nose = landmarks[2] - eyes
    yaw = _angle(float(nose @ right) / (_NOSE_DEPTH * half))
    pitch = _angle((_LEVEL_NOSE * length - float(nose @ down)) / (_NOSE_DEPTH * half))
    roll = math.degrees(math.atan2(-down[0], down[1]))
    return yaw, pitch, roll


def _angle(sine: float) -> float:
    return math.degrees(math.asin(min(max(sine, -1.0), 1.0)))


def luma(aligned: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the Rec. 601 luma of an RGB picture, 0..255."""
    return aligned.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def brightness(aligned: NDArray[np.uint8]) -> float:
    """Return the mean luma of the middle of an aligned face, 0 (black) to 100 (white)."""
    height, width = aligned.shape[:2]
    middle = aligned[height // 5 : -height // 5 or None, width // 5 : -width // 5 or None]
    return float(luma(middle).mean()) / 2.55


def sharpness(aligned: NDArray[np.uint8]) -> float:
    """Return how much detail of an aligned face a blur would destroy, 0 (featureless) to 100.

    100 x (1 - the blur effect of Crété et al. 2007): differences between neighbours that vanish when the
    picture is blurred once more, against all differences. Contrast cancels out, so dark faces are not
    called blurred. The worse direction counts: shaking blurs one.
    """
    grey = luma(aligned)
    return 100 * min(_detail(grey), _detail(grey.T))


def _detail(grey: NDArray[np.float32]) -> float:
    padded = np.pad(grey, ((_BLUR_TAPS // 2 + 1, _BLUR_TAPS // 2), (0, 0)), mode="edge")
    sums = np.cumsum(padded, axis=0, dtype=np.float64)
    blurred = (sums[_BLUR_TAPS:] - sums[:-_BLUR_TAPS]) / _BLUR_TAPS
    before, after = np.abs(np.diff(grey, axis=0)), np.abs(np.diff(blurred, axis=0))
    total = float(before.sum())
    return float(np.maximum(before - after, 0).sum()) / total if total > 0 else 0.0
