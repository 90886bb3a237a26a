"""What five landmarks and an aligned face can tell: pose, sharpness, brightness.

Landmarks are SCRFD's, in pixels: left eye, right eye, nose tip, left and right mouth corner, as seen in
the picture.
"""

from __future__ import annotations

import cmath
import math

import cv2
import numpy as np
from numpy.typing import NDArray

ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where ArcFace (Deng et al. 2019) expects the landmarks in its 112 x 112 input, in pixels."""

ALIGNED = 112
"""Side of an aligned face in pixels: ArcFace's input."""

_NOSE_DEPTH = 1.1
"""How far the nose tip stands before the eyes, in half eye distances: about 35 mm to 31.5 mm in adults.

An assumption: no photo at hand has a measured pose. A depth 0.2 off moves 30 degrees of yaw by 4.
"""

_EYES_TO_MOUTH = 2.31
"""Distance from eye line to mouth line of a level face in half eye distances, from ArcFace's template."""

_LEVEL_NOSE = 0.495
"""Where its nose tip stands between eye line (0) and mouth line (1), from ArcFace's template."""

_BLUR_TAPS = 9
"""Crété's filter length, for the 112-pixel aligned face (the paper: "The blur effect", 2007)."""


def similarity(points: NDArray[np.floating], onto: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """Return the (2, 3) matrix that turns, scales and shifts points (n, 2) onto others by least squares.

    None where the points coincide or are not finite. A plane's similarity is one complex factor and a shift.
    """
    source, target = (
        [complex(x, y) for x, y in part.tolist()] for part in (points, onto)
    )  # faster than arrays of five
    middle, aim = sum(source) / len(source), sum(target) / len(target)
    spread = sum(((point - middle) * (point - middle).conjugate()).real for point in source)
    if not (math.isfinite(spread) and cmath.isfinite(aim)) or spread < 1e-6:
        return None
    pairs = zip(source, target, strict=True)
    turn = sum((point - middle).conjugate() * (goal - aim) for point, goal in pairs) / spread
    shift = aim - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align(pixels: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn and scale a face so that its landmarks (5, 2) fall where ArcFace was trained to see them: 112 x 112."""
    matrix = similarity(landmarks, ARCFACE)
    if matrix is None:  # landmarks that coincide are no face: a black one, which the policy calls too dark
        return np.zeros((ALIGNED, ALIGNED, 3), np.uint8)
    return np.asarray(cv2.warpAffine(pixels, matrix, (ALIGNED, ALIGNED)), np.uint8)


def pose(landmarks: NDArray[np.floating]) -> tuple[float, float, float] | None:
    """Return (yaw, pitch, roll) in degrees, or None where the points do not form a face.

    Roll is the angle of the line from eyes to mouth against the vertical, positive clockwise. Yaw and
    pitch follow from how far the nose tip moved off that line (depth x sine) against how much the
    distance between the eyes, or from eyes to mouth, shrank (cosine). Good to about 10 degrees.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    length, width = float(np.hypot(*(mouth - eyes))), float(np.hypot(*(landmarks[1] - landmarks[0])))
    if not (math.isfinite(length) and math.isfinite(width)) or length < 1e-3:
        return None
    down = (mouth - eyes) / length
    right = np.array([down[1], -down[0]])
    nose = landmarks[2] - eyes
    yaw = math.atan2(float(nose @ right) / _NOSE_DEPTH, width / 2)
    raised = _LEVEL_NOSE * length - float(nose @ down)
    pitch = math.atan2(raised / _NOSE_DEPTH, length / _EYES_TO_MOUTH)
    roll = math.atan2(-down[0], down[1])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)


def luma(aligned: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the Rec. 601 luma of an RGB picture, 0..255."""
    return np.asarray(cv2.transform(aligned.astype(np.float32), _LUMA), np.float32)


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
    blurred = cv2.blur(grey, (1, _BLUR_TAPS), borderType=cv2.BORDER_REPLICATE)
    before, after = cv2.absdiff(grey[1:], grey[:-1]), cv2.absdiff(blurred[1:], blurred[:-1])
    total = float(before.sum())
    return float(np.maximum(before - after, 0).sum()) / total if total > 0 else 0.0
