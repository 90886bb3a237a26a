"""Masks with a print of a mouth and a nose: another person's lower face, the wearer's own, or a drawn grin.

What gives such a mask away is its edge, its loops and a face that does not fit. The print lies where a mouth would.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.covering.cloth import cloth, dye, pleats, shaded
from training.covering.covers import Layer, Mask, hang, mask_of
from training.covering.spoil import CANVAS, EYES
from training.eyewear.draw import Image, Points, Pose, Rng, cover, stroke

_GROUND = Pose(np.array([CANVAS / 2, CANVAS * 0.45]), np.array([EYES, 0.0]), np.array([0.0, EYES]), 0.0)
"""Where every canvas has its face."""


def printed(image: Image, pose: Pose, scene: Image, rng: Rng) -> Layer:
    """A mask that shows a mouth: a face's lower half, a mouth on plain cloth, or painted lips."""
    worn = mask_of(image, pose, rng, high=rng.uniform(0.15, 0.85))
    source = scene if rng.random() < 0.7 else image[:, ::-1]
    kind = rng.choice(["face", "mouth", "grin"], p=[0.45, 0.35, 0.2])
    if kind == "face":
        colours = _moved(source, pose, rng)
    else:
        ground = cloth(image, scene, rng) if rng.random() < 0.25 else np.zeros_like(image) + dye(rng)
        colours = _with_mouth(ground, source, pose, rng) if kind == "mouth" else _with_grin(ground, pose, rng)
    if rng.random() < 0.65:
        colours = _toned(colours, image, worn.hidden, rng)
    else:
        colours = shaded(image, colours, worn.hidden, pose, rng)
    if rng.random() < 0.35:
        colours = pleats(colours, pose, worn.top, worn.chin, rng)
    return hang(_hemmed(colours, worn, rng), worn, pose, rng)


def _moved(source: Image, pose: Pose, rng: Rng) -> Image:
    """Lay a canvas's face over this one, not quite in its place, and as a printer has it."""
    stretch, shift = rng.normal(1, 0.12, 2), rng.normal(0, 0.12, 2)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    there = pose.place(corners * stretch + shift)
    matrix = cv2.getAffineTransform(_GROUND.place(corners).astype(np.float32), there.astype(np.float32))
    moved = cv2.warpAffine(source, matrix, (CANVAS, CANVAS), borderMode=cv2.BORDER_REFLECT)
    mean = moved.mean(axis=(0, 1))
    faded = mean + (moved - mean) * rng.uniform(0.55, 1.15)
    return np.asarray(cv2.GaussianBlur(faded, (0, 0), rng.uniform(0.2, 1.5)), np.float32)


def _with_mouth(ground: Image, source: Image, pose: Pose, rng: Rng) -> Image:
    """Print a mouth, and for some a nose, on cloth."""
    moved = _moved(source, pose, rng)
    shown = cover(ground.shape, pose.place(_oval((0.0, 1.15), rng.uniform(0.4, 0.65), rng.uniform(0.2, 0.35))))
    if rng.random() < 0.5:
        shown = np.maximum(shown, cover(ground.shape, pose.place(_oval((0.4 * pose.turn, 0.52), 0.28, 0.3))))
    shown = cv2.GaussianBlur(shown, (0, 0), rng.uniform(0.6, 5))[..., None]
    if rng.random() < 0.6:  # cloth in the tone of the printed skin
        ground = ground * 0.15 + 0.85 * _mean(moved, shown)
    return ground * (1 - shown) + moved * shown


def _with_grin(ground: Image, pose: Pose, rng: Rng) -> Image:
    """Paint lips, for some with teeth, and nostrils, as comic prints do."""
    wide, tall, smile = rng.uniform(0.25, 0.6), rng.uniform(0.06, 0.25), rng.uniform(-0.15, 0.3)
    middle = np.array([rng.normal(0, 0.06), rng.uniform(1.0, 1.3)])
    x = np.linspace(-1, 1, 13)
    bow = np.sqrt(np.clip(1 - x**2, 0, 1))
    upper = np.stack([x * wide, -tall * bow - smile * x**2], 1) + middle
    lower = np.stack([x * wide, tall * bow - smile * x**2], 1)[::-1] + middle
    lips = cover(ground.shape, pose.place(np.concatenate([upper, lower])))
    red = np.array([rng.uniform(110, 235), rng.uniform(20, 130), rng.uniform(30, 130)])
    painted = ground * (1 - lips) + lips * (0.7 * red + 0.3 * ground if rng.random() < 0.6 else red)
    if rng.random() < 0.4:
        teeth = cover(ground.shape, pose.place((np.concatenate([upper, lower]) - middle) * [0.8, 0.5] + middle))
        painted = painted * (1 - teeth) + teeth * rng.uniform(170, 255)
    else:
        line = np.stack([x * wide, -smile * x**2], 1) + middle
        dark = stroke(ground.shape, pose.place(line), rng.uniform(0.8, 2.5), closed=False)
        painted = painted * (1 - dark * rng.uniform(0.3, 0.9))
    for side in (-1, 1):
        spot = side * rng.uniform(0.1, 0.17) + 0.4 * pose.turn, rng.uniform(0.62, 0.75)
        hole = _oval(spot, 0.06, 0.035)
        painted = painted * (1 - rng.choice([0.0, 0.5]) * cover(ground.shape, pose.place(hole)))
    return np.asarray(cv2.GaussianBlur(painted, (0, 0), rng.uniform(0.3, 1.6)), np.float32)


def _toned(colours: Image, image: Image, hidden: Image, rng: Rng) -> Image:
    """Give a print the tone of the skin that it hides, nearly."""
    gain = _mean(image, hidden) / np.clip(_mean(colours, hidden), 8, 255)
    off = rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, 3)
    weave = 1 + rng.uniform(0, 0.06) * rng.standard_normal((*image.shape[:2], 1), np.float32)
    return np.clip(colours * np.clip(gain, 0.2, 3) * off * weave, 0, 255).astype(np.float32)


def _hemmed(colours: Image, worn: Mask, rng: Rng) -> Image:
    """Draw the mask's edge: a seam, a shadow or a bright fold, for some nearly none."""
    line = stroke(colours.shape, worn.outline, rng.uniform(1, 5), closed=True)
    line = cv2.GaussianBlur(line, (0, 0), rng.uniform(0.4, 1.8))[..., None]
    return np.clip(colours * (1 + line * rng.uniform(-0.55, 0.2)), 0, 255).astype(np.float32)


def _mean(image: Image, share: Image) -> Image:
    return np.asarray((image * share).sum(axis=(0, 1)) / max(float(share.sum()), 1e-6), np.float32)


def _oval(spot: tuple[float, float], width: float, height: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([np.cos(angle) * width, np.sin(angle) * height], 1) + np.array(spot)
