"""Spoil pixels as cameras, light and compression do, and cut aligned faces a little off."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.tiny.photos import MARGIN, SIDE

Image = NDArray[np.uint8]
Rng = np.random.Generator


def spoiled_face(canvas: Image, rng: Rng) -> Image:
    """Return a 112-pixel face from a cached crop: turned, moved, mirrored, covered, in other light, at times small."""
    angle, scale = rng.normal(0, 2.5), np.exp(rng.normal(0, 0.03))
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, scale)
    turn[:, 2] += rng.normal(0, 1.2, 2) - MARGIN
    face = np.asarray(cv2.warpAffine(canvas, turn, (112, 112)), np.uint8)
    if rng.random() < 0.5:
        face = np.ascontiguousarray(face[:, ::-1])
    if rng.random() < 0.12:
        face = _cover(face, rng)
    if rng.random() < 0.25:
        side = int(rng.integers(28, 100))
        face = cv2.resize(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), (112, 112))
    return spoiled(face, rng)


def spoiled(image: Image, rng: Rng) -> Image:
    """Change light and colour, at times grey, blurred, noisy or JPEG-compressed; half of the pictures little."""
    strength = 1.0 if rng.random() < 0.5 else 0.3
    curve = np.linspace(0, 1, 256)[:, None] ** np.exp(strength * rng.normal(0, 0.3))
    curve = (curve - 0.5) * np.exp(strength * rng.normal(0, 0.2)) + 0.5
    curve = curve * np.exp(strength * rng.normal(0, 0.08, 3)) + strength * rng.normal(0, 0.06)
    image = cv2.LUT(image, np.clip(curve * 255, 0, 255).astype(np.uint8)[None])
    if rng.random() < 0.1:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.2 * strength:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8))
    if rng.random() < 0.3 * strength:
        image = np.clip(image + rng.normal(0, rng.uniform(1, 10), image.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.4 * strength:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))])
        image = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return np.asarray(image, np.uint8)


def _cover(face: Image, rng: Rng) -> Image:
    """Put a plain block over a part of the face."""
    covered = face.copy()
    (left, top), (width, height) = rng.integers(0, 90, 2), rng.integers(14, 50, 2)
    covered[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return covered
