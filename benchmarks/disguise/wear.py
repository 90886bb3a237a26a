"""Things before eyes and forehead: hair, caps, glasses. Strengths are 0 (weak) to 2 (strong)."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.disguise import cloth
from benchmarks.disguise.cloth import RNG
from benchmarks.disguise.covers import soft
from benchmarks.disguise.head import Layer, Pixels, X, Y, half_width, on_canvas, skin_depth


def hair(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """Strands before one eye; a lock over it; a curtain over the eye, its cheek and both brows."""
    side = int(rng.choice([-1, 1]))
    alpha, light = np.zeros(X.shape, np.float32), np.zeros(X.shape, np.float32)
    strands, reach = (40, 220, 420)[strength], (0.4, 0.8, 1.7)[strength]
    locks = rng.uniform(-0.15, 0.15, (9, 3)) * (1, 1.6, 0.6)
    for n in range(strands):
        x, y, bow = locks[n % len(locks)]  # strands hang together in locks
        root = -side * 0.1 + x + rng.normal(0, 0.12), -1.3 + rng.normal(0, 0.06)
        end = side * (0.3 + 0.75 * (n % len(locks)) / 8) + rng.normal(0, 0.05), reach + 2 * y + rng.normal(0, 0.12)
        _strand(alpha, light, root, end, side * (0.3 + bow), rng)
    if strength == 2:
        for _ in range(260):
            x = rng.uniform(-1.0, 1.0)
            end = x + rng.normal(0, 0.08), 0.05 + 0.15 * np.sin(9 * x) + rng.normal(0, 0.06)
            _strand(alpha, light, (0.75 * x, -1.3), end, 0.12 * x, rng)
    shade = 0.55 + 0.9 * cv2.GaussianBlur(light, (0, 0), 0.7) + 0.25 * np.exp(-(((Y + 0.6) / 0.3) ** 2))
    colour = np.clip(cloth.paint(hair) * shade[..., None], 0, 1).astype(np.float32)
    return [Layer(colour, alpha * soft(Y + 1.15, 0.3), skin_depth() + 0.2, 0.3)]


def _strand(
    alpha: Pixels, light: Pixels, root: tuple[float, float], end: tuple[float, float], bow: float, rng: RNG
) -> None:
    t = np.linspace(0, 1, 12)
    x = root[0] + (end[0] - root[0]) * t + bow * np.sin(np.pi * t) * (1 - 0.5 * t)
    y = root[1] + (end[1] - root[1]) * t**1.1
    points = np.array([on_canvas(*place, fine=3) for place in zip(x, y, strict=True)], np.int32)
    tone, width = float(rng.uniform(0, 1)), int(rng.integers(1, 3))
    for part, wide in ((points, 1), (points[:9], width)):  # thinner towards the end
        cv2.polylines(alpha, [part], False, 0.95, wide, cv2.LINE_AA, shift=3)
        cv2.polylines(light, [part], False, tone, wide, cv2.LINE_AA, shift=3)


def cap(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """A cap's peak above the brows; its shadow on the eyes; on the whole upper face, the peak on the brows."""
    brim = (-0.55, -0.45, -0.3)[strength] + rng.uniform(-0.05, 0.05)
    until, dark = ((0.15, 0.45), (0.45, 0.65), (0.9, 0.8))[strength]
    tilt = rng.uniform(-0.08, 0.08)
    lit = soft(until + 0.15 * X**2 + tilt * X - Y, 0.18) * soft(Y - brim, 0.1)
    lit = lit * soft(half_width(np.clip(Y, -0.2, None)) - np.abs(X), 0.1)
    shadow = Layer(cloth.paint(np.zeros(3, np.float32)), np.asarray(dark * lit), skin_depth() + 0.02, 0)
    ground = cloth.tone(rng, (0, 0.9), (0.1, 0.7)) if rng.uniform() < 0.7 else np.full(3, 0.08, np.float32)
    colour = cloth.folded(cloth.paint(ground), rng, 0.08)
    bow = 0.22 * X**2 + tilt * X
    peak = soft(np.minimum(brim + bow - Y, Y - (brim - 0.3 + 0.6 * bow))) * soft(1.12 - np.abs(X), 0.04)
    dome = soft(np.minimum(brim - 0.1 + bow - Y, 1 - np.hypot(X / 1.22, (Y - brim) / 1.3)), 0.03)
    panels = 1 - 0.3 * np.exp(-((X / 0.015) ** 2)) - 0.25 * (X / 1.2) ** 2
    edge = 0.55 + 1.3 * np.clip(brim + bow - Y, 0, 0.35)
    flat = np.full(X.shape, 0.1, np.float32)
    return [
        shadow,
        Layer(np.asarray(colour * panels[..., None], np.float32), dome, flat, 0),
        Layer(np.clip(colour * edge[..., None], 0, 1).astype(np.float32), peak, flat + np.float32(0.35), 0.3),
    ]


def _lenses(rng: RNG, size: float) -> tuple[Pixels, Pixels]:
    """Return the distance inside the lenses (positive) and inside bridge and temples."""
    width, height, power = 0.42 * size, rng.uniform(0.28, 0.38) * size, rng.uniform(2, 3.5)
    lens = np.full(X.shape, -9.0, np.float32)
    for side in (-1, 1):
        away = (np.abs((X - side * 0.52) / width) ** power + np.abs((Y - 0.06) / height) ** power) ** (1 / power)
        lens = np.maximum(lens, (1 - away) * height)
    inner, outer = 0.52 - width, 0.52 + width
    bridge = np.minimum(inner + 0.02 - np.abs(X), 0.035 - np.abs(Y + 0.02 - 0.2 * X**2))
    temple = np.minimum(np.minimum(np.abs(X) - outer + 0.03, 1.06 - np.abs(X)), 0.035 - np.abs(Y + 0.05))
    return lens, np.asarray(np.maximum(bridge, temple), np.float32)


def sunglasses(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """Tinted glasses through which eyes are seen; dark glasses; large opaque ones, some of them mirrors."""
    lens, bars = _lenses(rng, (1.0, 1.1, 1.35)[strength])
    dark = (0.5, 0.88, 0.98)[strength] + rng.uniform(-0.06, 0.02)
    tint = cloth.tone(rng, (0, 0.5), (0.03, 0.16))
    gradient = np.clip(0.9 + 0.5 * Y, 0.5, 1.4)[..., None]
    mirror = (0.15 * cloth.noise(rng, 0.5, stretch=3) + 0.25)[..., None] * cloth.tone(rng, (0.1, 0.7), (0.5, 1))
    glass = cloth.paint(tint) * gradient + (np.clip(mirror, 0, 1) if strength == 2 and rng.uniform() < 0.4 else 0)
    frame = cloth.paint(cloth.tone(rng, (0, 0.6), (0.03, 0.4)))
    depth = np.full(X.shape, 0.2, np.float32) + 0.8 * np.clip(skin_depth(), None, 0)
    rim = np.maximum(0.03 - np.abs(lens), bars)
    return [
        Layer(np.clip(glass, 0, 1).astype(np.float32), np.asarray(dark * soft(lens)), depth, 0.1),
        Layer(frame, soft(rim), depth, 0.2),
    ]


def clear_glasses(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """Spectacles: a rim, thicker where stronger, and a reflection on the lenses."""
    lens, bars = _lenses(rng, rng.uniform(0.92, 1.12))
    frame = cloth.tone(rng, (0, 0.6), (0.03, 0.35))
    depth = np.full(X.shape, 0.2, np.float32) + 0.8 * np.clip(skin_depth(), None, 0)
    rim = np.maximum((0.018, 0.03, 0.05)[strength] - np.abs(lens), bars)
    glare = soft(lens) * (0.06 + 0.3 * soft(0.05 * (1 + strength) - np.abs(X + 0.7 * Y - rng.uniform(-0.6, 0.6)), 0.08))
    white = cloth.paint(np.ones(3, np.float32))
    return [Layer(white, np.asarray(glare, np.float32), depth, 0), Layer(cloth.paint(frame), soft(rim), depth, 0.2)]
