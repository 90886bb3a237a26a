"""Make the training pool: real and drawn eyewear on many faces, spoiled and cropped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.eyewear import draw, obstruct
from training.eyewear.data import CLEAR, FOLDS, NONE, SUN, Photo
from training.eyewear.degrade import degraded_region
from training.eyewear.draw import Image, Pose, Rng

# How many crops of each class and source. Real sunglasses are few, so each is shown often;
# LFW's bare faces carry the drawn pairs.
REAL = {
    (NONE, "lfw"): 14000,
    (NONE, "celeba"): 1500,
    (NONE, "cmu"): 1500,
    (CLEAR, "lfw"): 4000,
    (CLEAR, "celeba"): 1500,
    (CLEAR, "cmu"): 1000,
    (SUN, "lfw"): 2500,
    (SUN, "celeba"): 2500,
    (SUN, "cmu"): 2000,
}
DRAWN = {CLEAR: 4500, SUN: 6000}
# Whose faces they are drawn on; sunglasses over spectacles too, a few.
WEARERS = {CLEAR: {NONE}, SUN: {NONE, CLEAR}}
# Eyes closer than this share of a frontal face's: in profile a drawn pair looks like nothing.
FRONTAL = 0.4


class Pool(NamedTuple):
    """Crops (n, 64, 96, 3) uint8 with their labels, folds, sources, and whether they were drawn."""

    regions: NDArray[np.uint8]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    sources: NDArray[np.str_]
    drawn: NDArray[np.bool_]


Row = tuple[NDArray[np.uint8], int, int, str]
# Photos by fold: a mirrored lens shows nobody of another fold either.
Scenes = list[list[Photo]]


def make_pool(photos: list[Photo], rng: Rng) -> Pool:
    """Draw and spoil about 40,000 crops of photos whose class is known."""
    scenes = [[photo for photo in photos if photo.fold == fold] for fold in range(FOLDS)]
    rows: list[tuple[Row | None, bool]] = []
    for (label, source), count in REAL.items():
        bases = [photo for photo in photos if photo.label == label and photo.source == source]
        rows += [(_real(_pick(bases, rng), scenes, rng), False) for _ in range(count)]
    for label, count in DRAWN.items():
        bases = [photo for photo in photos if photo.label in WEARERS[label] and _frontal(photo)]
        rows += [(_drawn(_pick(bases, rng), label, scenes, rng), True) for _ in range(count)]
    kept = [(*row, drawn) for row, drawn in rows if row is not None]
    regions, labels, folds, sources, drawn = zip(*kept, strict=True)
    return Pool(np.stack(regions), np.array(labels), np.array(folds), np.array(sources), np.array(drawn))


def _real(photo: Photo, scenes: Scenes, rng: Rng) -> Row | None:
    image, pose = _open(photo, rng)
    bare = photo.label == NONE
    if rng.random() < (0.5 if bare else 0.2):
        image = _obstructed(image, pose, bare and _frontal(photo), _scene(scenes, photo, rng), rng)
    return _row(image, photo, int(photo.label or 0), rng)


def _drawn(photo: Photo, label: int, scenes: Scenes, rng: Rng) -> Row | None:
    image, pose = _open(photo, rng)
    scene = _scene(scenes, photo, rng)
    if rng.random() < 0.2:
        image = _obstructed(image, pose, False, scene, rng)
    wear = draw.sunglasses if label == SUN else draw.clear_glasses
    return _row(wear(image, pose, scene, rng), photo, label, rng)


def _open(photo: Photo, rng: Rng) -> tuple[Image, Pose]:
    return photo.canvas.astype(np.float32), draw.pose_of(photo.landmarks, rng)


def _obstructed(image: Image, pose: Pose, may_raise: bool, scene: Image, rng: Rng) -> Image:
    kind = rng.choice(["shadow", "brim", "hair", "object", "raise"], p=[0.35, 0.2, 0.2, 0.1, 0.15])
    if kind == "raise" and may_raise:
        return obstruct.raise_glasses(image, pose, scene, rng)
    draws = {"brim": obstruct.brim_shadow, "hair": obstruct.hair, "object": obstruct.object_below}
    return draws.get(kind, obstruct.eye_shadows)(image, pose, rng)


def _row(image: Image, photo: Photo, label: int, rng: Rng) -> Row | None:
    region = degraded_region(image, photo.landmarks, rng)
    return None if region is None else (region, label, photo.fold, photo.source)


def _scene(scenes: Scenes, photo: Photo, rng: Rng) -> Image:
    return _pick(scenes[photo.fold], rng).canvas.astype(np.float32)


def _pick(photos: list[Photo], rng: Rng) -> Photo:
    return photos[int(rng.integers(len(photos)))]


def _frontal(photo: Photo) -> bool:
    left, right = photo.landmarks[:2]
    mouth = photo.landmarks[3:].mean(axis=0) - (left + right) / 2
    return bool(np.linalg.norm(right - left) > FRONTAL * np.linalg.norm(mouth) / 1.15)
