"""What cloth looks like: weaves, prints and folds, painted over the canvas of `head`."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np

from benchmarks.disguise.head import SCALE, Pixels, X, Y

RNG = np.random.Generator


def noise(rng: RNG, grain: float, stretch: float = 1.0) -> Pixels:
    """Return smooth noise of mean 0 and deviation 1; `grain` is its size in eye distances, wider by `stretch`."""
    height, width = (max(2, round(side / SCALE / grain)) for side in X.shape)
    drawn = rng.normal(0, 1, (height, max(2, round(width / stretch)))).astype(np.float32)
    smooth = np.asarray(cv2.resize(drawn, X.shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
    return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-6), np.float32)


def tone(rng: RNG, saturation: tuple[float, float], value: tuple[float, float], hue: float | None = None) -> Pixels:
    """Draw a colour."""
    shade = rng.uniform() if hue is None else hue + rng.normal(0, 0.02)
    return np.array(colorsys.hsv_to_rgb(shade % 1, rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def paint(colour: Pixels) -> Pixels:
    """Return a canvas of one colour."""
    return np.broadcast_to(colour, (*X.shape, 3)).astype(np.float32).copy()


def folded(cloth: Pixels, rng: RNG, depth: float = 0.08) -> Pixels:
    """Shade cloth by soft folds and a fine weave."""
    shade = 1 + depth * noise(rng, 0.12, stretch=2.5) + 0.25 * depth * noise(rng, 0.02)
    return np.asarray(np.clip(cloth * shade[..., None], 0, 1), np.float32)


def checks(rng: RNG) -> Pixels:
    """Two colours crossed: tartan and gingham."""
    ground, line = tone(rng, (0.2, 0.9), (0.3, 0.9)), tone(rng, (0, 0.8), (0.1, 0.9))
    turn, step = rng.uniform(-0.4, 0.4), rng.uniform(0.12, 0.3)
    a, b = X * np.cos(turn) + Y * np.sin(turn), Y * np.cos(turn) - X * np.sin(turn)
    weight = 0.45 * ((a / step) % 1 < 0.5) + 0.45 * ((b / step) % 1 < 0.5)
    return np.asarray(ground + weight[..., None] * (line - ground), np.float32)


def stripes(rng: RNG) -> Pixels:
    """Bands of two or three colours."""
    turn, step = rng.uniform(0, np.pi), rng.uniform(0.1, 0.35)
    colours = np.stack([tone(rng, (0.1, 0.9), (0.15, 0.95)) for _ in range(rng.integers(2, 4))])
    band = ((X * np.cos(turn) + Y * np.sin(turn) + 9) / step).astype(int) % len(colours)
    return np.asarray(colours[band], np.float32)


def flowers(rng: RNG) -> Pixels:
    """Blobs with petals strewn over a ground."""
    canvas = paint(tone(rng, (0.1, 0.8), (0.2, 0.95)))
    petals = [tone(rng, (0.4, 1), (0.5, 1)) for _ in range(3)]
    size = rng.uniform(0.05, 0.13) * SCALE
    for x, y in rng.uniform(0, 1, (int(200000 / SCALE / size**1.4 * 0.6), 2)) * X.shape[::-1]:
        colour, turn = petals[rng.integers(3)], rng.uniform(0, 2)
        for petal in range(5):
            angle = turn + petal * 2 * np.pi / 5
            middle = int(x + size * np.cos(angle)), int(y + size * np.sin(angle))
            cv2.circle(canvas, middle, int(size * 0.6), colour.tolist(), -1, cv2.LINE_AA)
        cv2.circle(canvas, (int(x), int(y)), int(size * 0.5), (0.9, 0.8, 0.2), -1, cv2.LINE_AA)
    return canvas


def patches(rng: RNG) -> Pixels:
    """Camouflage: levels of smooth noise."""
    colours = np.stack([tone(rng, (0.1, 0.6), (0.1, 0.8)) for _ in range(4)])
    level = np.digitize(noise(rng, rng.uniform(0.06, 0.15)), [-0.7, 0, 0.7])
    return np.asarray(colours[level], np.float32)


def knit(rng: RNG) -> Pixels:
    """Wool: ribs of stitches."""
    turn, step = rng.uniform(-0.5, 0.5), rng.uniform(0.05, 0.09)
    a, b = X * np.cos(turn) + Y * np.sin(turn), Y * np.cos(turn) - X * np.sin(turn)
    stitch = np.sin(2 * np.pi * a / step) * 0.5 + 0.5 * np.sin(2 * np.pi * (b / step * 0.8 + 0.3 * np.sin(a / step)))
    return np.asarray(paint(tone(rng, (0, 0.7), (0.15, 0.85))) * (1 + 0.14 * stitch)[..., None], np.float32)


def plain(rng: RNG) -> Pixels:
    """One muted colour."""
    return paint(tone(rng, (0, 0.5), (0.15, 0.95)))


PRINTS: tuple[Callable[[RNG], Pixels], ...] = (checks, stripes, flowers, patches, plain)
SCARVES: tuple[Callable[[RNG], Pixels], ...] = (knit, knit, checks, plain, patches)
