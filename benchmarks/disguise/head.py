"""Where a thing before a face appears in the photo: a head of average shape, seen by a camera fitted to five landmarks.

Units are eye distances. The origin lies between the eyes; x grows to the right of the picture, y down, z towards the
camera. Measures follow adults: pupils 63 mm apart, the mouth 73 mm and the chin 120 mm below the eyes, cheeks 134 mm
wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)

LANDMARKS = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.57, 0.55], [-0.41, 1.155, 0.06], [0.41, 1.155, 0.06]])
"""Eyes, nose tip, mouth corners."""

SCALE = 64
"""Pixels of the canvas an eye distance: 1.5 times what LFW's photos have, so that every pixel of a photo is hit."""

CORNER = np.array([-1.7, -2.2], np.float32)
X, Y = (
    grid.astype(np.float32) for grid in np.meshgrid(np.arange(-1.7, 1.7, 1 / SCALE), np.arange(-2.2, 2.6, 1 / SCALE))
)
"""The canvas that things are painted on: each of its pixels' place before the face."""

CHIN = 1.9
_OUTLINE = np.array(
    [[-0.6, 0.98], [0, 1.06], [0.5, 1.04], [1.0, 0.93], [1.3, 0.82], [1.6, 0.62], [1.8, 0.4], [1.92, 0.1], [2.0, 0.0]]
)


def half_width(y: Pixels | float) -> Pixels:
    """Return how far the face reaches to each side at this height."""
    return np.asarray(np.interp(y, _OUTLINE[:, 0], _OUTLINE[:, 1]), np.float32)


def on_canvas(x: float, y: float, fine: int = 0) -> tuple[int, int]:
    """Return the canvas pixel of a place, in units of 2 ** -fine pixels."""
    scale = SCALE * 2**fine
    return round((x - float(CORNER[0])) * scale), round((y - float(CORNER[1])) * scale)


@cache
def skin_depth() -> Pixels:
    """Return the depth of cheeks, chin and forehead over the canvas, without the nose."""
    round_x = np.sqrt(np.clip(1 - (X / 1.15) ** 2, 0, 1)) - 0.9
    return np.asarray(1.1 * round_x - 0.25 * np.clip(Y - 1.2, 0, None) ** 2 - 0.3 * np.clip(-Y - 0.4, 0, None) ** 2)


@cache
def tent_depth() -> Pixels:
    """Return the depth of cloth that hangs over nose and chin."""
    nose = 0.42 * np.exp(-((X / 0.4) ** 2) - ((Y - 0.62) / 0.5) ** 2)
    return np.asarray(skin_depth() + nose + 0.03)


@dataclass(frozen=True)
class Layer:
    """A thing painted on the canvas: colour (h, w, 3) and alpha (h, w), 0..1, and how far before the face it is."""

    colour: Pixels
    alpha: Pixels
    depth: Pixels
    shadow: float = 0.25
    """How much darker the skin beside it is."""


def merged(layers: list[Layer]) -> Layer:
    """Paint things of one depth over each other on the canvas, each with its shadow on those below."""
    colour, alpha = layers[0].colour, layers[0].alpha
    for layer in layers[1:]:
        shade = 1 - layer.shadow * cv2.GaussianBlur(layer.alpha, (0, 0), 0.05 * SCALE) * (1 - layer.alpha)
        colour = colour * shade[..., None] * (1 - layer.alpha[..., None]) + layer.colour * layer.alpha[..., None]
        alpha = np.maximum(alpha, layer.alpha)
    return Layer(colour, alpha, layers[0].depth, layers[0].shadow)


@dataclass(frozen=True)
class View:
    """How a photo sees a head: `(u, v) = axes @ (x, y, z) + origin`, in pixels."""

    axes: NDArray[np.float64]
    origin: NDArray[np.float64]

    @property
    def eye_distance(self) -> float:
        """Pixels between the eyes, as if the head looked straight into the camera."""
        return float(max(np.hypot(*self.axes[:, 0]), np.hypot(*self.axes[:, 1])))

    def at(self, x: float, y: float, z: float = 0.0) -> NDArray[np.float64]:
        """Return where a point of the head is in the photo."""
        return np.asarray(self.axes @ (x, y, z) + self.origin)


def view(landmarks: NDArray[np.floating]) -> View:
    """Fit the camera to the landmarks (5, 2) by least squares; the depth's axis is bounded: five points are few."""
    known = np.column_stack([LANDMARKS, np.ones(5)])
    solution = np.linalg.lstsq(known, landmarks.astype(np.float64), rcond=None)[0]
    axes, origin = solution[:3].T.copy(), solution[3]
    longest = 0.9 * max(np.hypot(*axes[:, 0]), np.hypot(*axes[:, 1]))
    axes[:, 2] *= min(1.0, longest / max(np.hypot(*axes[:, 2]), 1e-6))
    return View(axes, origin)


def splat(layer: Layer, seen: View, shape: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Return the layer's colour, premultiplied, and alpha as the photo of this (height, width) sees them."""
    height, width = shape
    u, v = (
        (a[0] * X + a[1] * Y + a[2] * layer.depth + b)
        for a, b in zip(seen.axes.astype(np.float32), seen.origin.astype(np.float32), strict=True)
    )
    # A surface that is turned away from the camera is not seen.
    (u_y, u_x), (v_y, v_x) = np.gradient(u), np.gradient(v)
    inside = (u_x * v_y > u_y * v_x) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    pixel = v[inside].astype(np.int64) * width + u[inside].astype(np.int64)
    count = np.maximum(np.bincount(pixel, minlength=height * width), 1)
    alpha = layer.alpha[inside]
    premultiplied = layer.colour[inside] * alpha[:, None]
    sums = [np.bincount(pixel, part, height * width) / count for part in (*premultiplied.T, alpha)]
    mean = np.stack(sums, axis=-1).reshape(height, width, 4).astype(np.float32)
    # No sharper than a lens draws.
    drawn = np.asarray(cv2.GaussianBlur(mean, (0, 0), max(0.5, 0.012 * seen.eye_distance)), np.float32)
    return drawn[..., :3], drawn[..., 3]


def put(photo: Pixels, seen: View, layers: list[Layer], rng: np.random.Generator) -> Pixels:
    """Lay things before the face, in the light of the photo, with their shadow and the photo's grain."""
    light = _light(photo, seen)
    grey = float(np.mean(photo.max(axis=-1) - photo.min(axis=-1))) < 0.02
    for layer in layers:
        colour, alpha = splat(layer, seen, photo.shape[:2])
        if grey:
            colour = np.repeat((colour @ LUMA)[..., None], 3, axis=-1)
        photo = photo * _shade(alpha, seen, layer.shadow)[..., None]
        grain = rng.normal(0, 0.008, (*alpha.shape, 1)).astype(np.float32) * alpha[..., None]
        photo = photo * (1 - alpha[..., None]) + colour * light[..., None] + grain
    return np.clip(photo, 0, 1).astype(np.float32)


def level(photo: Pixels, seen: View) -> float:
    """Return how brightly the face is lit; 1 is a face of middle grey."""
    left, top = np.maximum(seen.at(-0.9, -0.3).astype(int), 0)
    right, bottom = np.maximum(seen.at(0.9, 1.6).astype(int), 1)
    face = (photo @ LUMA)[top:bottom, left:right]
    return float(np.clip(np.median(face) / 0.5, 0.35, 1.25)) if face.size else 1.0


def _light(photo: Pixels, seen: View) -> Pixels:
    smooth = cv2.GaussianBlur(photo @ LUMA, (0, 0), max(1.0, 0.45 * seen.eye_distance))
    lit = level(photo, seen)
    return np.asarray(np.clip(smooth / (0.5 * lit), 0.6, 1.4) * lit, np.float32)


def _shade(alpha: Pixels, seen: View, strength: float) -> Pixels:
    moved = cv2.warpAffine(
        alpha, np.array([[1, 0, 0], [0, 1, 0.05 * seen.eye_distance]], np.float64), alpha.shape[::-1]
    )
    soft = cv2.GaussianBlur(moved, (0, 0), max(0.6, 0.06 * seen.eye_distance))
    return np.asarray(1 - strength * soft * (1 - alpha), np.float32)
