"""Caps, hats and hoods: what they hide of brow and hair, and the shadow that a peak casts on the face."""

from __future__ import annotations

import cv2
import numpy as np

from training.covering.cloth import cloth, shaded
from training.covering.covers import Layer
from training.eyewear.draw import Image, Pose, Rng, cover, stroke

DEEP = 0.6
"""Eyes in a shadow that takes this share of the light are open to argument."""


def cap(image: Image, pose: Pose, scene: Image, rng: Rng) -> tuple[Image, Layer, float]:
    """Return the face in the shadow of a cap, the cap, and the share of light that its shadow takes."""
    brim, bow, tilt = rng.uniform(-0.9, -0.25), rng.uniform(-0.3, 0.35), rng.normal(0, 0.06)
    x = np.linspace(-1, 1, 15)
    wide = rng.uniform(1.05, 1.7)
    edge = np.stack([x * wide, brim + bow * (x * wide) ** 2 / 2 + tilt * x], 1)
    crown = [[wide * 0.98, brim - 0.7], [wide * 0.7, -2.4], [-wide * 0.7, -2.4], [-wide * 0.98, brim - 0.7]]
    hidden = cover(image.shape, pose.place(np.concatenate([edge, crown])))
    colours = shaded(image, cloth(image, scene, rng), hidden, pose, rng)
    if rng.random() < 0.75:  # the peak's underside is darker than its crown
        thick = rng.uniform(0.1, 0.4)
        band = cover(image.shape, pose.place(np.concatenate([edge, (edge - [0.0, thick])[::-1]])))
        colours = colours * (1 - band * rng.uniform(0.1, 0.6))
        rim = stroke(image.shape, pose.place(edge), rng.uniform(1, 4), closed=False)
        colours = colours * (1 - rim * rng.uniform(-0.2, 0.6))
    dark = rng.choice([0.0, rng.uniform(0.1, 0.55), rng.uniform(0.55, 0.92)], p=[0.12, 0.58, 0.3])
    return _shadowed(image, pose, (brim, tilt), dark, rng), (np.clip(colours, 0, 255), hidden), dark


def _shadowed(image: Image, pose: Pose, brim: tuple[float, float], dark: float, rng: Rng) -> Image:
    """Darken all between the brim and a line on the face, which may be sharp or soft."""
    top, tilt = brim
    until = top + rng.uniform(0.2, 1.7)
    x = np.linspace(-1.6, 1.6, 15)
    curve = until + rng.uniform(-0.25, 0.3) * x**2 + tilt * x + rng.normal(0, 0.05) * x
    line = np.stack([x, curve], 1)
    area = np.concatenate([line, [[1.6, top - 1.5], [-1.6, top - 1.5]]])
    lit = cv2.GaussianBlur(cover(image.shape, pose.place(area)), (0, 0), rng.uniform(0.8, 12))[..., None]
    tint = rng.uniform(0.9, 1.0, 3)
    return np.asarray(image * (1 - dark * lit * tint), np.float32)
