"""What a bad photo does to a face: blur, darkness, few pixels. Strengths are 0 (weak) to 2 (strong)."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from benchmarks.disguise.cloth import RNG
from benchmarks.disguise.head import Pixels, View

TEMPLATE = 42.0
"""Pixels between the eyes in LFW's photos of 250 x 250; lengths in pixels below are meant there."""


def blur(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Out of focus: a Gaussian of 1, 2 or 3 pixels, which is 2.4, 4.8 or 7.1 % of the eye distance."""
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), (strength + 1) * seen.eye_distance / TEMPLATE))


def motion(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Shaken: a path, slightly bent, of 6, 10 or 15 pixels in any direction."""
    length = (6, 10, 15)[strength] * seen.eye_distance / TEMPLATE
    turn, bend = rng.uniform(0, np.pi), rng.uniform(-0.15, 0.15)
    kernel = np.zeros((41, 41), np.float32)
    t = np.linspace(-0.5, 0.5, 40) * min(length, 38.0)
    x, y = t * np.cos(turn), t * np.sin(turn) + bend * t**2 / max(length, 1)
    points = np.stack([(x + 20) * 16, (y + 20) * 16], axis=-1).astype(np.int32)
    cv2.polylines(kernel, [points], False, 1.0, 1, cv2.LINE_AA, shift=4)
    return np.asarray(cv2.filter2D(photo, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def resolution(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Few pixels: a face 40, 28 or 20 pixels high (2.6 eye distances), enlarged again."""
    share = min(1.0, (40, 28, 20)[strength] / (2.6 * seen.eye_distance))
    height, width = photo.shape[:2]
    small = cv2.resize(photo, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def half_dark(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Light from one side: the other gets 35, 15 or 6 % of it."""
    height, width = photo.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    to_right = seen.axes[:, 0] / np.hypot(*seen.axes[:, 0])
    nose = seen.at(0, 0.57, 0.4)
    away = ((x - nose[0]) * to_right[0] + (y - nose[1]) * to_right[1]) / seen.eye_distance
    lit = 1 / (1 + np.exp(-rng.choice([-1, 1]) * away / 0.13))
    least = (0.35, 0.15, 0.06)[strength]
    return np.asarray(photo * (least + (1 - least) * lit)[..., None], np.float32)


def dark(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Underexposed to a half, a quarter or an eighth of all values, with a sensor's noise."""
    return np.asarray(photo * 0.5 ** (strength + 1) + _noise(photo, rng, 0.006), np.float32)


def overexposed(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """All values times 1.5, 2.2 or 3.2; what is above white is lost."""
    return np.asarray(photo * (1.5, 2.2, 3.2)[strength], np.float32)


def heavy_jpeg(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Compressed: JPEG of quality 20, 10 or 5, colours at half resolution."""
    data = io.BytesIO()
    picture(photo).save(data, "JPEG", quality=(20, 10, 5)[strength], subsampling=2)
    return pixels(Image.open(data))


def crop(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Cut by the frame: one side of the face up to 0.8, 0.5 or 0.2 eye distances from the line of the nose."""
    keep = (0.8, 0.5, 0.2)[strength]
    side = rng.integers(3)
    if side == 0:
        return photo[:, max(0, int(seen.at(-keep, 0.5)[0])) :].copy()
    if side == 1:
        return photo[:, : max(1, int(seen.at(keep, 0.5)[0]))].copy()
    return photo[: max(1, int(seen.at(0, (1.5, 1.1, 0.8)[strength], 0.2)[1]))].copy()


def rotation(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Turned in the plane by 15, 30 or 45 degrees about the face."""
    middle = tuple(map(float, seen.at(0, 0.7)))
    matrix = cv2.getRotationMatrix2D(middle, float(rng.choice([-1, 1]) * (15, 30, 45)[strength]), 1.0)
    size = photo.shape[1], photo.shape[0]
    return np.asarray(cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))


def lying(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Turned by 90, 270 or 180 degrees, as photos whose EXIF was lost."""
    return np.rot90(photo, (1, 3, 2)[strength]).copy()


def noise(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
    """Noise of a high ISO, partly in colour: a deviation of 5, 10 or 18 % of the range."""
    return photo + _noise(photo, rng, (0.05, 0.1, 0.18)[strength])


def _noise(photo: Pixels, rng: RNG, deviation: float) -> Pixels:
    luma, colour = rng.normal(0, deviation, (*photo.shape[:2], 1)), rng.normal(0, deviation * 0.6, photo.shape)
    return np.asarray(luma + colour, np.float32)


def pixels(image: Image.Image) -> Pixels:
    """Return a picture's RGB values, 0..1."""
    return np.asarray(image.convert("RGB"), np.float32) / np.float32(255)


def picture(photo: Pixels) -> Image.Image:
    """Return values 0..1 as a picture."""
    return Image.fromarray((np.clip(photo, 0, 1) * 255 + 0.5).astype(np.uint8))
