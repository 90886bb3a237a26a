"""Pictures with faces of all sizes, turned, several, some in sunglasses, before backgrounds that hold no face.

Nothing is labelled: what the teacher says of a scene is what the detector learns.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.eyewear.draw import pose_of, sunglasses
from training.tiny.photos import Photo, read_image
from training.tiny.spoil import Image, Rng, spoiled

SMALLEST = 10.0
"""Height of the smallest drawn face in pixels."""


class Scenes:
    """Draws scenes of one size from photos that may be trained on."""

    def __init__(self, root: Path, photos: list[Photo], side: int, rng: Rng) -> None:
        self._root, self._photos, self._side, self._rng = root, photos, side, rng

    def draw(self) -> Image:
        """Return a square BGR scene with none to five faces."""
        rng = self._rng
        scene = self.background()
        if rng.random() < 0.15:
            self._place(scene, self._side * rng.uniform(0.3, 1.0), np.full(2, self._side / 2))
        else:
            for _ in range(rng.choice([0, 1, 2, 3, 5], p=[0.12, 0.33, 0.25, 0.2, 0.1])):
                height = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(self._side * 0.7))))
                self._place(scene, height, rng.uniform(0, self._side, 2))
        return spoiled(scene, rng)

    def background(self) -> Image:
        """Return a corner of a photo beside its faces, enlarged, or plain colour with shapes on it."""
        rng, side = self._rng, self._side
        photo = self._some()
        image = read_image(self._root / photo.path)
        height, width = image.shape[:2]
        free = int(photo.boxes[:, 0].min()), int(width - photo.boxes[:, 2].max())
        edge = max(free)
        if edge >= 24 and rng.random() < 0.7:
            part = image[:, :edge] if free[0] == edge else image[:, -edge:]
            top = int(rng.integers(0, max(1, height - edge)))
            return np.asarray(cv2.resize(part[top : top + edge], (side, side)), np.uint8)
        scene = np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8)
        for _ in range(rng.integers(0, 12)):
            colour = rng.integers(0, 256, 3).tolist()
            centre, axes = rng.integers(0, side, 2).tolist(), rng.integers(4, side // 2, 2).tolist()
            cv2.ellipse(scene, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        return np.asarray(cv2.GaussianBlur(scene, (0, 0), float(rng.uniform(0.5, 8))), np.uint8)

    def _place(self, scene: Image, height: float, centre: NDArray[np.float64]) -> None:
        """Blend the main face of a photo, with what surrounds it, into the scene."""
        rng, photo = self._rng, self._some()
        image = read_image(self._root / photo.path)
        if rng.random() < 0.15:
            mirrored = read_image(self._root / self._some().path)
            pose = pose_of(photo.landmarks[0].astype(np.float64), rng)
            image = np.asarray(sunglasses(image.astype(np.float32), pose, mirrored.astype(np.float32), rng), np.uint8)
        box = photo.boxes[0]
        middle = (box[:2] + box[2:4]) / 2
        matrix = cv2.getRotationMatrix2D(middle.tolist(), rng.uniform(-30, 30), height / float(box[3] - box[1]))
        if rng.random() < 0.5:
            matrix[:, 0] *= -1
            matrix[:, 2] = middle - matrix[:, :2] @ middle
        matrix[:, 2] += centre - middle
        mask = np.zeros(image.shape[:2], np.float32)
        reach = (box[2:4] - box[:2]) * rng.uniform(0.75, 1.6, 2)
        corners = np.array([middle - reach, middle + reach]).round().astype(int).tolist()
        cv2.rectangle(mask, corners[0], corners[1], 1.0, -1)
        size = (self._side, self._side)
        cover = cv2.warpAffine(mask, matrix, size)[..., None]
        drawn = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_AREA if height < 60 else cv2.INTER_CUBIC)
        scene[:] = scene * (1 - cover) + drawn * cover

    def _some(self) -> Photo:
        return self._photos[int(self._rng.integers(len(self._photos)))]
