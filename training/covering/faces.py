"""A face as training keeps it: upright on a canvas, with its landmarks; and the lists that sort photos by eye."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from training.covering.spoil import CANVAS, EYES

HERE = Path(__file__).parent
HELD_OUT = 0
"""The fold that is measured on and sets the limits, and is never trained on."""

FACES_QUALITY, CROPS_QUALITY = 85, 95
"""Of the JPEG files in `build`."""


class Base(NamedTuple):
    """One face on a square canvas with its landmarks (5, 2); `kind` is a list's word, `bare` where there is none.

    Of the source `eyes` it is a close-up of one eye, without landmarks.
    """

    path: str
    source: str
    kind: str
    fold: int
    canvas: NDArray[np.uint8]
    landmarks: NDArray[np.float64]


def read_list(name: str) -> list[tuple[str, str, int]]:
    """Return a list's photos below `photos`: path, kind and fold."""
    rows = [line.split() for line in (HERE / name).read_text().splitlines() if line and not line.startswith("#")]
    return [(row[0], row[1], int(row[3])) for row in rows]


def canvas_of(
    image: NDArray[np.uint8], landmarks: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Turn and scale a face upright onto a square canvas; returns it and the landmarks there."""
    eyes, across = landmarks[:2].mean(axis=0), landmarks[1] - landmarks[0]
    # A turned head's eyes nearly meet; its mouth still lies 1.15 eye distances below them.
    length = max(float(np.linalg.norm(landmarks[3:].mean(axis=0) - eyes)) / 1.15, float(np.linalg.norm(across)))
    angle, scale = float(np.arctan2(across[1], across[0])), EYES / length
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    origin = np.array([CANVAS / 2, CANVAS * 0.45]) - turn @ eyes
    shrunk = cv2.GaussianBlur(image, (0, 0), 0.4 / scale) if scale < 0.7 else image
    canvas = cv2.warpAffine(shrunk, np.column_stack([turn, origin]), (CANVAS, CANVAS), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(canvas, np.uint8), landmarks @ turn.T + origin


def save_bases(path: Path, bases: list[Base]) -> None:
    """Write faces as JPEG files and arrays."""
    files = [encoded(base.canvas, FACES_QUALITY) for base in bases]
    np.savez(
        path,
        files=np.frombuffer(b"".join(files), np.uint8),
        ends=np.cumsum([len(file) for file in files]),
        landmarks=np.stack([base.landmarks for base in bases]),
        facts=np.array([(base.path, base.source, base.kind, str(base.fold)) for base in bases]),
    )


def load_bases(path: Path) -> list[Base]:
    """Read what `save_bases` wrote."""
    data = np.load(path)
    files, ends = data["files"], data["ends"]
    starts = [0, *ends[:-1]]
    images = [cv2.imdecode(files[a:b], cv2.IMREAD_COLOR)[..., ::-1] for a, b in zip(starts, ends, strict=True)]
    rows = zip(data["facts"].tolist(), images, data["landmarks"], strict=True)
    return [Base(*facts[:3], int(facts[3]), np.ascontiguousarray(image), points) for facts, image, points in rows]


def encoded(image: NDArray[np.uint8], quality: int = CROPS_QUALITY) -> bytes:
    """Return an RGB image as a JPEG file."""
    _, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return code.tobytes()
