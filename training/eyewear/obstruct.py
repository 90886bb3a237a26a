"""Draw what looks like eyewear and is none: shadows, brims, hair, raised glasses, things held up."""

from __future__ import annotations

import cv2
import numpy as np

from training.eyewear.draw import Image, Pose, Rng, cover, stroke, sunglasses


def eye_shadows(image: Image, pose: Pose, rng: Rng) -> Image:
    """Darken the eye sockets with soft edges, as hard light, make-up and tiredness do."""
    dark = np.zeros((*image.shape[:2], 1), np.float32)
    size = np.array([rng.uniform(0.25, 0.5), rng.uniform(0.12, 0.35)])
    ring = np.stack([np.cos(np.linspace(0, 6.28, 24)), np.sin(np.linspace(0, 6.28, 24))], 1) * size
    for side in (-0.5, 0.5):
        socket = ring + np.array([side, rng.uniform(-0.15, 0.1)])
        dark = np.maximum(dark, cover(image.shape, pose.place(socket)))
    dark = cv2.GaussianBlur(dark, (0, 0), rng.uniform(0.05, 0.15) * float(np.linalg.norm(pose.down)))[..., None]
    return image * (1 - dark * rng.uniform(0.25, 0.6))


def brim_shadow(image: Image, pose: Pose, rng: Rng) -> Image:
    """Darken all above a line near the eyes, as a cap or a fringe of hair does."""
    edge, tilt = rng.uniform(-0.5, 0.3), rng.uniform(-0.2, 0.2)
    area = np.array([[-4, edge - 4 * tilt], [4, edge + 4 * tilt], [4, -4], [-4, -4]])
    dark = cv2.GaussianBlur(cover(image.shape, pose.place(area)), (0, 0), rng.uniform(0.7, 6))[..., None]
    deepest = 0.97 if edge < -0.25 else 0.65
    return image * (1 - dark * rng.uniform(0.3, deepest))


def hair(image: Image, pose: Pose, rng: Rng) -> Image:
    """Draw strands over the brow and a side of the face, over one eye at most."""
    colour = rng.uniform(0, 0.6) * max(float(image.mean()), 20.0) * np.array([1.0, 0.85, 0.7])
    start, side = rng.uniform(-1.3, 1.3), rng.choice([-1, 1])
    mask = np.zeros((*image.shape[:2], 1), np.float32)
    for _ in range(rng.integers(8, 50)):
        x = start + rng.normal(0, 0.25)
        bend = np.array([[x, -1.2], [x + side * 0.2, -0.4], [x + side * rng.uniform(0.2, 0.6), rng.uniform(-0.3, 0.8)]])
        mask = np.maximum(mask, stroke(image.shape, pose.place(bend), rng.uniform(1, 3), closed=False))
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.5))[..., None]
    return image * (1 - mask) + colour * mask


def raise_glasses(image: Image, pose: Pose, scene: Image, rng: Rng) -> Image:
    """Draw sunglasses pushed up onto the forehead: the eyes are bare."""
    lifted = Pose(pose.centre - rng.uniform(0.85, 1.1) * pose.down, pose.across, pose.down, pose.turn)
    return sunglasses(image, lifted, scene, rng)


def object_below(image: Image, pose: Pose, rng: Rng) -> Image:
    """Put a dark or plain object (microphone, hand, phone) before the nose or a cheek."""
    size = rng.uniform(0.2, 0.6)
    ring = np.stack([np.cos(np.linspace(0, 6.28, 20)), np.sin(np.linspace(0, 6.28, 20))], 1) * size
    spot = np.array([rng.uniform(-1, 1), 0.35 + size + rng.uniform(0, 0.4)])
    mask = cover(image.shape, pose.place(ring * rng.uniform(0.6, 1.4, 2) + spot))
    return image * (1 - mask) + rng.uniform(0, 0.9) * image.mean() * mask
