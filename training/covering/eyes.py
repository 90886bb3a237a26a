"""Draw eyes, open and closed: close-ups brought to the scale of eyes in a photo, and lids drawn shut.

A network taught on close-ups alone would learn what close-ups look like. So open eyes come from faces as well, and
some of those are shut by drawing their lids down.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from selfiegate.backends.insightface.eyes import SIDE, eye_patches
from selfiegate.backends.insightface.eyewear import EYE_DISTANCE, eye_region
from training.covering.faces import Base
from training.covering.spoil import CANVAS, EYES, jittered, spoiled
from training.eyewear.draw import Image, Points, Rng, stroke

WIDTHS = (0.5, 0.9)
"""What a close-up shows across, in eye distances: an eye of 30 mm is 0.48 of the 63 mm between two pupils."""


Patch = tuple[NDArray[np.uint8], bool]
"""A patch (side, side, 3) RGB, and whether the eye is open."""


def draw_eyes(kind: str, base: Base, rng: Rng) -> list[Patch]:
    """Return spoiled patches: one of a close-up, two of a face whose eyes are `open` or drawn `shut`."""
    if kind == "close-up":
        return [(close_up(base.canvas, rng), base.kind == "open")]
    image = base.canvas.astype(np.float32)
    image = shut_lids(image, base.landmarks, rng) if kind == "shut" else image
    seen = np.clip(spoiled(image, rng, hard=False), 0, 255).astype(np.uint8)
    region = eye_region(seen, jittered(base.landmarks, rng))
    return [] if region is None else [(patch, kind == "open") for patch in eye_patches(region)]


def close_up(image: NDArray[np.uint8], rng: Rng | None = None) -> NDArray[np.uint8]:
    """Bring a close-up to a patch's scale; spoiled, moved and turned by chance, or as it is."""
    width = rng.uniform(*WIDTHS) if rng else 0.67
    scale, angle = width * EYES / image.shape[1], rng.normal(0, 0.12) if rng else 0.0
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn *= rng.uniform(0.9, 1.1, (2, 1)) if rng else 1
    eye = np.array([0.5 * image.shape[1], 0.58 * image.shape[0]])
    aim = np.array([CANVAS / 2, CANVAS / 2]) + (rng.normal(0, 0.05 * EYES, 2) if rng else 0)
    shift = aim - turn @ eye
    canvas = cv2.warpAffine(
        cv2.GaussianBlur(image, (0, 0), max(0.4 / scale, 0.01)), np.column_stack([turn, shift]), (CANVAS, CANVAS),
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    seen = spoiled(canvas, rng, hard=False) if rng else canvas.astype(np.float32)
    side = round(SIDE * EYES / EYE_DISTANCE)
    middle = (CANVAS - side) // 2
    patch = cv2.resize(seen[middle : middle + side, middle : middle + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    patch = patch[:, ::-1] if rng and rng.random() < 0.5 else patch
    return np.clip(patch, 0, 255).astype(np.uint8)


def shut_lids(image: Image, landmarks: Points, rng: Rng) -> Image:
    """Draw both upper lids down over the eyes, with a line of lashes where they meet the lower ones."""
    high, low = rng.uniform(0.07, 0.12), rng.uniform(0.05, 0.1)
    brow, cheek, meet = -0.34, 0.3, rng.uniform(0.03, 0.1)
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    across, down = x.copy(), y.copy()
    lashes = np.zeros((height, width, 1), np.float32)
    dark, thick = rng.uniform(0.15, 0.85), rng.uniform(0.8, 2.6)
    for eye in landmarks[:2]:
        u, v = (x - eye[0]) / EYES, (y - eye[1]) / EYES
        near = np.clip(1.25 - (np.abs(u) / 0.3) ** 4, 0, 1) * ((v > brow) & (v < cheek))
        line = meet - 0.5 * u**2
        above = brow + (v - brow) * (-high - brow) / (line - brow)
        below = low + (v - line) * (cheek - low) / (cheek - line)
        moved = np.where(v < line, above, below)
        down += (near * (moved - v) * EYES).astype(np.float32)
        curve = np.linspace(-0.24, 0.24, 9)
        points = eye + EYES * np.stack([curve, meet - 0.5 * curve**2], 1)
        lashes = np.maximum(lashes, stroke(image.shape, points, thick, closed=False))
    shut = cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lashes = cv2.GaussianBlur(lashes, (0, 0), rng.uniform(0.4, 1.2))[..., None]
    return np.asarray(shut * (1 - dark * lashes), np.float32)
