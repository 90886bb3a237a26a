"""Spoil a face as cameras, light and uploads do: the faults that a quality score must foretell."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from training.eyewear.draw import Image, Points, Rng

CANVAS = 208
EYES = 48.0
"""Side of a canvas, and the distance between its eyes, in pixels: more than an aligned face shows."""

_MOST_AT_ONCE = 3


def spoiled(canvas: Image, rng: Rng, hard: bool) -> Image:
    """Return the canvas with none to three faults; `hard` ones reach beyond what any recogniser can use."""
    image = np.clip(canvas, 0, 255).astype(np.float32)
    image = np.clip(image * np.exp(rng.normal(0, 0.08)) * np.exp(rng.normal(0, 0.04, 3)), 0, 255).astype(np.float32)
    count = rng.choice([0, 1, 2, _MOST_AT_ONCE], p=[0.08, 0.5, 0.3, 0.12] if hard else [0.35, 0.45, 0.15, 0.05])
    names = rng.choice(list(FAULTS), size=count, replace=False)
    # Light falls before the lens, the lens before the sensor, the file comes last: as in FAULTS.
    for name in sorted(names, key=list(FAULTS).index):
        strength = float(rng.random()) ** (0.8 if hard else 1.8)
        image = np.clip(FAULTS[name](image, strength, rng), 0, 255).astype(np.float32)
    if rng.random() < 0.15:
        image = np.repeat(image @ np.array([[0.3], [0.6], [0.1]], np.float32), 3, axis=2)
    return _jpeg(image, int(rng.integers(55, 97)))


def _dark(image: Image, strength: float, rng: Rng) -> Image:
    return (image / 255) ** rng.uniform(1.0, 1 + strength) * 255 * 2 ** (-4.5 * strength) + 1.5 * rng.standard_normal(
        image.shape, np.float32
    )


def _bright(image: Image, strength: float, rng: Rng) -> Image:
    return image * (1 + 3.5 * strength) + rng.uniform(0, 60) * strength


def _half_dark(image: Image, strength: float, rng: Rng) -> Image:
    """Light from one side, or from above or below."""
    axis = int(rng.choice([0, 1], p=[0.25, 0.75]))
    at = np.linspace(-1, 1, image.shape[axis]) - rng.normal(0, 0.12)
    share = 1 / (1 + np.exp(-at * rng.uniform(2, 25) * rng.choice([-1, 1])))
    ramp = 1 - share * (1 - 2 ** (-6 * strength))
    return image * (ramp[:, None, None] if axis == 0 else ramp[None, :, None])


def _brim(image: Image, strength: float, rng: Rng) -> Image:
    """A cap's shadow: all above a line near the eyes or the nose."""
    edge = CANVAS * 0.45 + rng.uniform(-0.6, 0.9) * EYES
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    line = edge + (x - CANVAS / 2) * rng.normal(0, 0.12)
    share = 1 / (1 + np.exp(np.clip((y - line) / rng.uniform(0.5, 8), -40, 40)))
    return image * (1 - share[..., None] * (1 - 2 ** (-4.5 * strength)))


def _flat(image: Image, strength: float, rng: Rng) -> Image:
    """Haze, a greasy lens: contrast goes."""
    return image.mean() + (image - image.mean()) * (1 - 0.85 * strength) + rng.uniform(-20, 40) * strength


def _blur(image: Image, strength: float, rng: Rng) -> Image:
    return cv2.GaussianBlur(image, (0, 0), 0.3 + 6.5 * strength)


def _motion(image: Image, strength: float, rng: Rng) -> Image:
    length = int(2 + 24 * strength)
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = length / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = (length + reach).round().astype(int), (length - reach).round().astype(int)
    cv2.line(kernel, tuple(start.tolist()), tuple(end.tolist()), 1.0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _small(image: Image, strength: float, rng: Rng) -> Image:
    distance = EYES * (4.5 / EYES) ** strength
    side = max(round(CANVAS * distance / EYES), 8)
    method = rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR])
    small = cv2.resize(image, (side, side), interpolation=int(method))
    if rng.random() < 0.5:
        small = _jpeg(small, int(rng.integers(40, 96)))
    return cv2.resize(small, (CANVAS, CANVAS), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])))


def _noise(image: Image, strength: float, rng: Rng) -> Image:
    noise = rng.standard_normal((*image.shape[:2], 3 if rng.random() < 0.5 else 1), np.float32)
    if rng.random() < 0.4:
        noise = 2 * cv2.GaussianBlur(noise, (0, 0), 1.0).reshape(*image.shape[:2], -1)
    return image + noise * 60 * strength


def _squeezed(image: Image, strength: float, rng: Rng) -> Image:
    """JPEG at a poor quality; most uploads' faces are smaller or larger than the canvas."""
    scale = rng.uniform(0.5, 1.5)
    side = round(CANVAS * scale)
    poor = _jpeg(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), round(45 - 42 * strength))
    return cv2.resize(poor, (CANVAS, CANVAS), interpolation=cv2.INTER_LINEAR)


FAULTS: dict[str, Callable[[Image, float, Rng], Image]] = {
    "half dark": _half_dark, "brim": _brim, "dark": _dark, "bright": _bright, "flat": _flat, "motion": _motion,
    "blur": _blur, "small": _small, "noise": _noise, "jpeg": _squeezed,
}  # fmt: skip
"""Each takes a canvas, a strength from 0 (nothing) to 1 (nobody is known), and chance."""


def compressed(canvas: Image, landmarks: Points, rng: Rng) -> tuple[Image, Points]:
    """Return a poor JPEG of a face at the scale of some upload, not scaled back, and the landmarks there.

    Its blocks lie anywhere on the face. Most are saved once more, well, as an upload of a poor file is.
    """
    scale, angle = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0)))), rng.normal(0, 0.12)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle, side = np.array([CANVAS / 2, CANVAS / 2]), round(CANVAS * scale)
    shift = side / 2 - turn @ middle + rng.uniform(-4, 4, 2)
    image = cv2.warpAffine(canvas, np.column_stack([turn, shift]), (side, side), borderMode=cv2.BORDER_REPLICATE)
    for _ in range(1 if rng.random() < 0.85 else 2):
        image = _jpeg(image, round(float(np.exp(rng.uniform(np.log(3), np.log(26))))), thin=rng.random() < 0.75)
    if rng.random() < 0.25:
        image = _sized(image, rng) if rng.random() < 0.5 else cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.8:
        image = _jpeg(image, int(rng.integers(75, 97)))
    return image, landmarks @ turn.T + shift


def _sized(image: Image, rng: Rng) -> Image:
    """Scale there and back, as the services do that a picture goes through."""
    side = round(len(image) * rng.uniform(0.5, 0.95))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (len(image), len(image)), interpolation=cv2.INTER_LINEAR)


def jittered(landmarks: Points, rng: Rng) -> Points:
    """Move landmarks as a detector's errors do: each by 2.5 %, all by 2 % of the eye distance, and turn them a bit."""
    middle = landmarks.mean(axis=0)
    angle, scale = rng.normal(0, 0.04), np.exp(rng.normal(0, 0.03))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = rng.normal(0, 0.02, 2) + rng.normal(0, 0.025, landmarks.shape)
    return np.asarray((landmarks - middle) @ turn.T + middle + shift * EYES)


def _jpeg(image: Image, quality: int, thin: bool = True) -> NDArray[np.float32]:
    """Save and read a JPEG; `thin` has colours at half resolution."""
    seen = np.clip(image, 0, 255).astype(np.uint8)
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if thin else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, max(quality, 2), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, code = cv2.imencode(".jpg", seen[..., ::-1], options)
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1], np.float32)
