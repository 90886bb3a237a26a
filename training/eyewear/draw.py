"""Draw eyewear onto a face, so that few real photos are enough.

Lengths are in eye distances. Light through a lens follows out = transmission * seen + reflected;
a transmission up to 0.2 hides the eyes (sunglasses), one from 0.6 shows them (clear glasses), and
what lies between is never drawn: people do not agree on its class either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Images are (height, width, 1 or 3), RGB 0..255 or shares 0..1, in floats; points (n, 2), x and y.
Image = NDArray[Any]
Points = NDArray[Any]
Rng = np.random.Generator


@dataclass(frozen=True)
class Pose:
    """Where glasses sit: the point between the eyes, and one eye distance across and down, in pixels."""

    centre: Points
    across: Points
    down: Points
    turn: float

    def place(self, points: Points) -> Points:
        """Move points from eye distances to pixels."""
        return self.centre + points[:, :1] * self.across + points[:, 1:] * self.down


def pose_of(landmarks: Points, rng: Rng) -> Pose:
    """Read the pose from five landmarks (5, 2), with some slip; `turn` is > 0 for a nose to the right."""
    left, right, nose = landmarks[:3]
    across = (right - left) * rng.uniform(0.92, 1.08)
    mouth = landmarks[3:].mean(axis=0) - (left + right) / 2
    # In ArcFace's template the mouth lies 1.15 eye distances below the eyes, at any yaw.
    length = max(float(np.linalg.norm(mouth)) / 1.15, float(np.linalg.norm(across)))
    angle = np.arctan2(across[1], across[0]) + rng.normal(0, 0.03)
    down = length * np.array([-np.sin(angle), np.cos(angle)])
    slip = (
        rng.normal(0, 0.03) * across
        + rng.choice([rng.uniform(-0.08, 0.1), rng.uniform(0.1, 0.22)], p=[0.85, 0.15]) * down
    )
    turn = float(np.dot(nose - (left + right) / 2, across) / np.dot(across, across))
    return Pose((left + right) / 2 + slip, across, down, float(np.clip(turn, -0.6, 0.6)))


def outlines(rng: Rng, turn: float) -> list[Points]:
    """Return closed outlines, (n, 2) each: two lenses, or one shield, from round to aviator to cat-eye."""
    if rng.random() < 0.1:
        return [_shield(rng)]
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    power = 2 / rng.choice([2.0, 2.5, 3.5, 6.0])
    width = rng.uniform(0.55, 0.93)
    height = width * rng.uniform(0.45, 1.0)
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power / 2
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power / 2
    taper, lift, drop = rng.uniform(-0.4, 0.15), rng.choice([0.0, rng.uniform(-0.1, 0.35)]), rng.choice([0.0, 0.2])
    x, y = x * (1 + taper * y), y - lift * x * (x > 0) + drop * x * (y > 0)
    lens = np.stack([x * width, y * height], axis=1)
    half = max(rng.normal(0.5, 0.03), width / 2 + 0.02)
    near = 1 + 0.35 * np.array([turn, -turn])
    left = np.array([-half, 0]) + lens * [-near[0], 1]
    right = np.array([half, 0]) + lens * [near[1], 1]
    return [left, right]


def _shield(rng: Rng) -> Points:
    half, top, bottom = rng.uniform(0.95, 1.15), rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.45)
    notch = rng.uniform(0.05, 0.3)
    x = np.linspace(-half, half, 40)
    lower = bottom * (1 - (np.abs(x) / half) ** 4 * 0.8) - notch * np.exp(-((x / 0.18) ** 2))
    upper = -top * (1 - (np.abs(x) / half) ** 6 * 0.5)
    return np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])


def cover(shape: tuple[int, ...], polygon: Points) -> Image:
    """Return the share of each pixel inside a polygon, (height, width, 1), 0..1, edges antialiased."""
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask[..., None].astype(np.float32) / 255


def stroke(shape: tuple[int, ...], line: Points, thickness: float, closed: bool) -> Image:
    """Return the cover of a line of `thickness` pixels; below one pixel it is fainter, not thinner."""
    mask = np.zeros(shape[:2], np.uint8)
    points = [np.round(line * 16).astype(np.int32)]
    cv2.polylines(mask, points, closed, 255, max(round(thickness), 1), cv2.LINE_AA, 4)
    return mask[..., None].astype(np.float32) / 255 * min(thickness, 1.0)


def sunglasses(image: Image, pose: Pose, scene: Image, rng: Rng) -> Image:
    """Draw lenses that hide the eyes; `scene` is another photo, mirrored in some of them."""
    light = max(float(image.mean()), 20.0)
    tint = rng.uniform(0.3, 1.0, 3) if rng.random() < 0.5 else np.ones(3)
    top, bottom = rng.uniform(0, 0.16), rng.uniform(0, 0.2)
    if rng.random() < 0.2:
        bottom = rng.uniform(0.2, 0.45)
    transmission = _ramp(image.shape, pose, top, bottom) * tint
    own = rng.uniform(0, rng.choice([0.3, 0.7], p=[0.8, 0.2])) * light * tint
    if rng.random() < 0.25:
        own = own + _mirrored(scene, image.shape, rng) * rng.uniform(0.3, 1.0) * rng.uniform(0.3, 1.0, 3)
    reflected = own + _glints(image.shape, pose, rng) * rng.choice([0.0, light])
    return _wear(image, pose, transmission, reflected, rng, rimless=0.3)


def clear_glasses(image: Image, pose: Pose, scene: Image, rng: Rng) -> Image:
    """Draw lenses through which the eyes are seen, some tinted, some with reflections."""
    light = max(float(image.mean()), 20.0)
    tint = rng.uniform(0.7, 1.0, 3) if rng.random() < 0.25 else np.ones(3)
    low = 0.62 if rng.random() < 0.25 else 0.85
    transmission = _ramp(image.shape, pose, rng.uniform(low, 1), rng.uniform(low, 1)) * tint
    reflected = _glints(image.shape, pose, rng) * rng.choice([0.0, light * rng.uniform(0.3, 1.0)])
    if rng.random() < 0.2:
        reflected = reflected + _mirrored(scene, image.shape, rng) * rng.uniform(0.05, 0.25)
    return _wear(image, pose, transmission, reflected, rng, rimless=0.12)


def _wear(image: Image, pose: Pose, transmission: Image, reflected: Image, rng: Rng, rimless: float) -> Image:
    shapes = [pose.place(outline) for outline in outlines(rng, pose.turn)]
    lens = np.maximum.reduce([cover(image.shape, shape) for shape in shapes])
    shade = cv2.GaussianBlur(np.roll(lens, 2, axis=0), (0, 0), 2.5)[..., None] * rng.choice([0.0, 0.25])
    image = image * (1 - shade * (1 - lens))
    image = image * (1 - lens) + (image * transmission + reflected) * lens
    frame = _frame(image.shape, pose, shapes, rng, rimless)
    colour = _frame_colour(max(float(image.mean()), 20.0), rng)
    return np.clip(image * (1 - frame) + colour * frame, 0, 255).astype(np.float32)


def _frame(shape: tuple[int, ...], pose: Pose, lenses: list[Points], rng: Rng, rimless: float) -> Image:
    scale = float(np.linalg.norm(pose.down))
    thickness = scale * rng.choice([rng.uniform(0.012, 0.035), rng.uniform(0.035, 0.11)])
    rims = [] if rng.random() < rimless else lenses
    if rng.random() < 0.15:
        rims = [rim[rim[:, 1] < rim[:, 1].mean()] for rim in rims]
        rims = [rim[np.argsort(rim[:, 0])] for rim in rims]
    parts = [stroke(shape, rim, thickness, len(rim) > 30) for rim in rims if len(rim) > 2]
    height = rng.uniform(-0.2, 0.0)
    for y in [height, height - 0.12][: rng.choice([1, 2], p=[0.8, 0.2])]:
        inner = np.array([[-0.15, y + 0.03], [0, y - 0.02], [0.15, y + 0.03]])
        parts.append(stroke(shape, pose.place(inner), thickness, closed=False))
    if rng.random() < 0.75:
        parts += [
            stroke(shape, arm, thickness * rng.uniform(0.8, 1.6), closed=False) for arm in _arms(pose, lenses, rng)
        ]
    return np.maximum.reduce(parts) * rng.uniform(0.75, 1.0)


def _arms(pose: Pose, lenses: list[Points], rng: Rng) -> list[Points]:
    rise = rng.uniform(-0.2, 0.15)
    edges = np.concatenate(lenses)
    reach = (edges - pose.centre) @ pose.across
    arms = []
    for edge, side in ((edges[reach.argmin()], -1), (edges[reach.argmax()], 1)):
        start = edge - 0.08 * pose.down
        length = max(0.05, rng.uniform(0.15, 0.5) * (1 - 1.5 * side * pose.turn))
        arms.append(np.stack([start, start + side * length * pose.across - rise * pose.down * length]))
    return arms


def _frame_colour(light: float, rng: Rng) -> NDArray[np.float64]:
    kind = rng.random()
    if kind < 0.5:
        return rng.uniform(0, 0.35) * light * rng.uniform(0.6, 1.0, 3)
    if kind < 0.8:
        return rng.uniform(0.6, 1.4) * light * np.array([1.0, 0.85, rng.uniform(0.5, 1.0)])
    return rng.uniform(0, 1.6, 3) * light


def _ramp(shape: tuple[int, ...], pose: Pose, top: float, bottom: float) -> Image:
    middle, reach = pose.centre[1], 0.3 * float(np.linalg.norm(pose.down))
    share = np.clip((np.arange(shape[0]) - middle + reach) / (2 * reach), 0, 1)
    return (top + (bottom - top) * share).astype(np.float32)[:, None, None]


def _mirrored(scene: Image, shape: tuple[int, ...], rng: Rng) -> Image:
    blurred = cv2.GaussianBlur(scene, (0, 0), rng.uniform(1, 8))
    flipped = blurred[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return cv2.resize(np.ascontiguousarray(flipped), (shape[1], shape[0]))


def _glints(shape: tuple[int, ...], pose: Pose, rng: Rng) -> Image:
    """Return window, lamp and streak reflections, (height, width, 1), 0..1.5."""
    light = np.zeros((*shape[:2], 1), np.float32)
    for _ in range(rng.integers(1, 5)):
        spot = pose.place(np.array([[rng.uniform(-0.9, 0.9), rng.uniform(-0.3, 0.3)]]))[0]
        size = np.array([rng.uniform(0.02, 0.25), rng.uniform(0.02, 0.12)]) * np.linalg.norm(pose.down)
        corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size
        angle = rng.uniform(0, np.pi)
        turned = corner @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        light = np.maximum(light, cover(shape, spot + turned) * rng.uniform(0.3, 1.5))
    return cv2.GaussianBlur(light, (0, 0), rng.uniform(0.5, 3))[..., None]
