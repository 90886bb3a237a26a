"""Spoil a drawn face as cameras, compression and detectors do, then crop it as the product does."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from selfiegate.backends.insightface.eyewear import eye_region
from training.eyewear.data import CANVAS_EYE_DISTANCE
from training.eyewear.draw import Image, Points, Rng

# Spread of each landmark, and of all five together, in eye distances: chosen, not measured.
JITTER = 0.035


def degraded_region(canvas: Image, landmarks: Points, rng: Rng) -> NDArray[np.uint8] | None:
    """Return `eye_region` of a spoiled canvas, (64, 96, 3), at 7 to 48 px between the eyes."""
    image = _light(canvas, rng)
    if rng.random() < 0.35:
        image = np.repeat(image @ _grey_mix(rng), 3, axis=2)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.2))
    if rng.random() < 0.1:
        image = cv2.filter2D(image, -1, _motion(rng))
    distance = float(np.exp(rng.uniform(np.log(7), np.log(48)))) if rng.random() < 0.6 else 48.0
    scale = min(distance / CANVAS_EYE_DISTANCE, 1.0)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = image + rng.normal(0, 1, image.shape) * rng.choice([0.0, rng.uniform(1, 12)])
    seen = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        seen = _jpeg(seen, int(rng.integers(15, 96)))
    sizes = np.array(seen.shape[1::-1]) / np.array(canvas.shape[1::-1])
    return eye_region(seen, _jitter(landmarks, rng) * sizes)


def _jitter(landmarks: Points, rng: Rng) -> Points:
    """Move, turn (about 4 degrees), scale and shift landmarks."""
    middle = landmarks.mean(axis=0)
    angle, scale = rng.normal(0, 0.07), np.exp(rng.normal(0, 0.06))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = rng.normal(0, JITTER, 2) + rng.normal(0, JITTER, landmarks.shape)
    return (landmarks - middle) @ turn.T + middle + shift * CANVAS_EYE_DISTANCE


def _light(image: Image, rng: Rng) -> Image:
    """Change exposure, contrast, gamma, white balance and the side the light comes from."""
    image = np.clip(image, 0, 255) / 255
    image = image ** np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.06, 3))
    if rng.random() < 0.3:
        ramp = np.linspace(rng.uniform(0.2, 1), 1.1, image.shape[1])[:: rng.choice([-1, 1])]
        image = image * ramp[None, :, None]
    if rng.random() < 0.2:
        image = image * rng.uniform(0.2, 0.6)
    if rng.random() < 0.4:
        image = (image - image.mean()) * rng.uniform(0.5, 1.8) + image.mean() * rng.uniform(0.9, 1.4)
    return np.clip(image * 255, 0, 255).astype(np.float32)


def _grey_mix(rng: Rng) -> Image:
    mix = rng.dirichlet([3.0, 6.0, 2.0])
    return mix[:, None].astype(np.float32)


def _motion(rng: Rng) -> Image:
    kernel = np.zeros((9, 9), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = 4 * np.array([np.cos(angle), np.sin(angle)])
    start, end = np.round(4 - reach).astype(int).tolist(), np.round(4 + reach).astype(int).tolist()
    cv2.line(kernel, start, end, 1.0, 1)
    return kernel / kernel.sum()


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), dtype=np.uint8)
