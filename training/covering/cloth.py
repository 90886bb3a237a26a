"""What covers are made of: colours, patterns, folds, and the light of the scene."""

from __future__ import annotations

import cv2
import numpy as np

from training.eyewear.draw import Image, Pose, Rng, stroke


def cloth(image: Image, scene: Image, rng: Rng) -> Image:
    """Fill the frame with one colour, a pattern, or a part of another photo."""
    height, width = image.shape[:2]
    kind = rng.choice(["plain", "knit", "stripes", "checks", "dots", "print"], p=[0.46, 0.16, 0.1, 0.06, 0.06, 0.16])
    first, second = dye(rng), dye(rng)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(3, 24)
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    if kind == "print":
        part = scene[rng.integers(0, 60) :, rng.integers(0, 60) :]
        part = cv2.resize(part[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])], (width, height))
        return np.asarray(part * rng.uniform(0.5, 1.2), np.float32)
    if kind == "knit":
        noise = cv2.resize(
            rng.normal(0, 1, (int(height / rng.uniform(1, 6)), int(width / rng.uniform(1, 6)))), (width, height)
        )
        return np.asarray(first * (1 + rng.uniform(0.08, 0.35) * noise[..., None]), np.float32)
    patterns = {
        "plain": np.zeros_like(u),
        "stripes": (np.sin(2 * np.pi * u / period) > rng.uniform(-0.7, 0.7)).astype(np.float32),
        "checks": ((np.sin(2 * np.pi * u / period) > 0) ^ (np.sin(2 * np.pi * v / period) > 0)).astype(np.float32),
        "dots": (np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period) > 0.4).astype(np.float32),
    }
    share = patterns[str(kind)][..., None]
    return np.asarray(first * (1 - share) + second * share, np.float32)


def dye(rng: Rng) -> Image:
    kind = rng.choice(["white", "black", "surgical", "skin", "any"], p=[0.2, 0.22, 0.14, 0.1, 0.34])
    colours = {
        "white": rng.uniform(190, 255) * np.ones(3) * rng.uniform(0.95, 1.0, 3),
        "black": rng.uniform(5, 55) * np.ones(3) * rng.uniform(0.85, 1.0, 3),
        "surgical": np.array([rng.uniform(90, 190), rng.uniform(170, 230), rng.uniform(190, 250)]),
        "skin": rng.uniform(0.5, 1.2) * np.array([215, 165, 135]),
        "any": rng.uniform(0, 255, 3),
    }
    return np.asarray(colours[str(kind)], np.float32)


def shaded(image: Image, cloth: Image, hidden: Image, pose: Pose, rng: Rng) -> Image:
    """Give a cloth the light of the scene: the face's own shading, a gradient from a side, folds."""
    light = cv2.GaussianBlur(image.mean(axis=2), (0, 0), rng.uniform(5, 14))[..., None]
    inside = float((light * hidden).sum() / max(float(hidden.sum()), 1e-6))
    relief = np.clip(light / max(inside, 8.0), 0.4, 1.7) ** rng.uniform(0.2, 1.0)
    x = (np.mgrid[: image.shape[0], : image.shape[1]][1] - pose.centre[0]) / float(np.linalg.norm(pose.across))
    curve = 1 - rng.uniform(0, 0.22) * np.clip(np.abs(x - rng.normal(0, 0.4)), 0, 2)[..., None]
    brightness = np.clip(inside / 130, 0.3, 1.4) ** rng.uniform(0.3, 1.0)
    grain = rng.uniform(0, 8) * rng.standard_normal((*image.shape[:2], 1), np.float32)
    return np.clip(cloth * relief * curve * brightness + grain, 0, 255).astype(np.float32)


def pleats(colours: Image, pose: Pose, top: float, chin: float, rng: Rng) -> Image:
    for y in np.linspace(top + 0.3, chin - 0.2, int(rng.integers(2, 5))):
        x = np.linspace(-1.1, 1.1, 9)
        line = np.stack([x, y + rng.uniform(-0.15, 0.05) * x**2 + rng.normal(0, 0.02)], 1)
        dark = cv2.GaussianBlur(
            stroke(colours.shape, pose.place(line), rng.uniform(1, 3.5), closed=False), (0, 0), rng.uniform(0.5, 1.5)
        )[..., None]
        colours = colours * (1 - dark * rng.uniform(0.1, 0.4))
    return colours
