"""Eyewear over an aligned eye region: none, clear glasses or sunglasses.

`eye_region` is the one definition of the crop: training imports it too, so the
network meets in service what it was taught on. Figures: EYEWEAR.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from selfiegate.backends.insightface.geometry import ARCFACE, similarity
from selfiegate.errors import BackendMisconfigured

CLASSES: Final = ("none", "clear_glasses", "sunglasses")

# Height, width of the region and the template's eye distance in it, in pixels: 2.4 x 1.6 eye
# distances, from the brows (0.7 above the eyes) to the nose tip (0.9 below), the widest frames inside.
HEIGHT: Final = 64
WIDTH: Final = 96
EYE_DISTANCE: Final = 40.0
ABOVE_EYES: Final = 0.7

# A face larger than this many times the region is sampled that densely, then averaged down.
MAX_OVERSAMPLING: Final = 4
# Below 3 px a face's eye distance says nothing about eyewear (training starts at 7 px).
MIN_EYE_DISTANCE: Final = 3.0
# Eye landmarks closer than this share of the fitted eye distance coincide: no eye line is left.
MIN_EYE_SPREAD: Final = 0.02
MIN_IN_FRAME: Final = 0.5

_EYES: Final = ARCFACE[:2].mean(axis=0)
_TEMPLATE: Final = (ARCFACE - _EYES) * (EYE_DISTANCE / math.dist(*ARCFACE[:2])) + (
    (WIDTH - 1) / 2,
    ABOVE_EYES * EYE_DISTANCE,
)
"""Where the landmarks fall in the region, (5, 2)."""


_GRID: Final = np.stack(
    [*(part.ravel() for part in np.meshgrid(np.linspace(0, WIDTH - 1, 12), np.linspace(0, HEIGHT - 1, 8))), np.ones(96)]
)
"""Points all over the region, (3, 96): x, y, 1."""


def eye_region(image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8] | None:
    """Cut the eye region of one face, upright and at one scale.

    `image` is RGB, (height, width, 3); `landmarks` (5, 2), x and y in pixels, in SCRFD's order: left
    eye, right eye, nose, left and right mouth corner. Returns (64, 96, 3), or None where the
    landmarks describe no face or half of the region or more lies off the frame.
    """
    matrix = _region_to_image(np.asarray(landmarks, dtype=np.float64))
    if matrix is None or _share_in_frame(matrix, image.shape[1], image.shape[0]) <= MIN_IN_FRAME:
        return None
    pixel = math.hypot(matrix[0, 0], matrix[1, 0])
    # Plain bilinear sampling of a large face would alias thin frames away.
    factor = min(max(math.ceil(pixel), 1), MAX_OVERSAMPLING)
    centre = (1 / factor - 1) / 2
    fine = matrix @ np.array([[1 / factor, 0, centre], [0, 1 / factor, centre], [0, 0, 1]])
    region = cv2.warpAffine(
        image,
        fine,
        (WIDTH * factor, HEIGHT * factor),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if factor > 1:
        region = cv2.resize(region, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(region, dtype=np.uint8)


def _region_to_image(landmarks: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Fit region pixels to image pixels, (2, 3).

    Five points rather than two keep the scale of a turned head, whose eyes nearly meet.
    """
    if landmarks.shape != (5, 2) or not np.abs(landmarks).max() < 1e6:  # not a number fails the comparison
        return None
    matrix = similarity(_TEMPLATE, landmarks)
    if matrix is None:
        return None
    eye_distance = EYE_DISTANCE * math.hypot(matrix[0, 0], matrix[1, 0])
    if eye_distance < MIN_EYE_DISTANCE or math.dist(*landmarks[:2]) < MIN_EYE_SPREAD * eye_distance:
        return None
    return matrix


def _share_in_frame(matrix: NDArray[np.float64], width: int, height: int) -> float:
    """Return the share of the region that lies inside the image, 0..1, by a grid of 12 x 8 points."""
    x, y = matrix @ _GRID
    return float(np.mean((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)))


def one_thread(name: str) -> onnxruntime.InferenceSession:
    """Return a session of a network that comes along, on one thread: a second costs more than it brings, a GPU too.

    Raises `BackendMisconfigured` where the file is missing or damaged.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        model = files(__package__).joinpath(name).read_bytes()
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base
        raise BackendMisconfigured(
            f"selfiegate is installed incompletely: {name} cannot be loaded ({type(error).__name__}); install it again"
        ) from error


class Eyewear:
    """Tell none, clear glasses and sunglasses apart, on one thread (a quarter of a millisecond a face)."""

    def __init__(self) -> None:
        self._session = one_thread("eyewear.onnx")

    def __call__(self, regions: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return probabilities in the order of `CLASSES`, (N, 3), rows summing to 1."""
        if not regions:
            return np.empty((0, len(CLASSES)), dtype=np.float32)
        batch = np.stack(regions).transpose(0, 3, 1, 2).astype(np.float32)
        (probabilities,) = self._session.run(None, {"regions": batch})
        return np.asarray(probabilities, dtype=np.float32)
