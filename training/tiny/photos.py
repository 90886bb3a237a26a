"""The photos beside the project as the teacher sees them: every face's box and landmarks, and who is held out.

    python -m training.tiny.photos --shared ../shared

Writes `build/tiny/faces.npz`, which the other parts read. A fifth of the people, drawn by the digest of their names,
is held out of everything that is trained.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from insightface.app import FaceAnalysis
from numpy.typing import NDArray

from selfiegate.backends.insightface.geometry import ARCFACE, similarity
from training.eyewear.data import describe
from training.tiny.arguments import arguments
from training.tiny.sessions import TEACHER, one_thread

HELD_OUT_SHARE = 5
MARGIN = 16
"""Pixels around ArcFace's 112 of a cached crop, so that a turned or moved crop still finds a face's surroundings."""
SIDE = 112 + 2 * MARGIN


class Photo(NamedTuple):
    """One photo; the faces (n, 5: box, confidence) and landmarks (n, 5, 2) that the teacher finds, main face first."""

    path: str
    source: str
    person: str
    held_out: bool
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def is_held_out(source: str, person: str) -> bool:
    """Tell whether a person belongs to the fifth that nothing is trained on; the workshop's photos always do."""
    draw = hashlib.sha256(f"{source}/{person}".encode()).digest()[0]
    return source == "workshop" or draw % HELD_OUT_SHARE == 0


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return a photo as BGR pixels, which is what insightface takes."""
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} is no photo")
    return np.asarray(image, np.uint8)


def crop(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a face aligned to ArcFace's template with `MARGIN` pixels around it."""
    matrix = similarity(landmarks, ARCFACE + np.float32(MARGIN))
    if matrix is None:
        return np.zeros((SIDE, SIDE, 3), np.uint8)
    return np.asarray(cv2.warpAffine(image, matrix, (SIDE, SIDE)), np.uint8)


def load(build: Path) -> tuple[list[Photo], NDArray[np.uint8]]:
    """Return the photos with a face and the crop of each one's main face, (n, 144, 144, 3) BGR."""
    with np.load(build / "faces.npz", allow_pickle=False) as file:
        fields = {name: file[name] for name in file.files}
    ends = np.cumsum(fields["counts"])
    boxes, landmarks = np.split(fields["boxes"], ends[:-1]), np.split(fields["landmarks"], ends[:-1])
    names = [str(path) for path in fields["paths"]]
    photos = []
    for name, box, points in zip(names, boxes, landmarks, strict=True):
        source, _, person = describe(Path(name))
        photos.append(Photo(name, source, person, is_held_out(source, person), box, points))
    return photos, fields["crops"]


def main() -> None:
    """Detect on every photo with the teacher and cache what it says."""
    parser = arguments(__doc__)
    options = parser.parse_args()
    teacher = FaceAnalysis(
        name=str(options.shared / TEACHER),
        allowed_modules=["detection"],
        sess_options=one_thread(),
        providers=["CPUExecutionProvider"],
    )
    teacher.prepare(ctx_id=-1, det_thresh=0.5, det_size=[(128, 128), (640, 640)])
    root = options.shared / "photos"
    paths, counts, boxes, landmarks, crops = [], [], [], [], []
    for path in sorted(root.rglob("*.jp*g")):
        image = read_image(path)
        found, points = teacher.models["detection"].detect(image)
        if not len(found):
            continue
        order = _main_first(found, image.shape)
        paths.append(path.relative_to(root).as_posix())
        counts.append(len(found))
        boxes.append(found[order])
        landmarks.append(points[order])
        crops.append(crop(image, points[order[0]]))
    options.build.mkdir(parents=True, exist_ok=True)
    np.savez(
        options.build / "faces.npz",
        paths=np.array(paths),
        counts=np.array(counts),
        crops=np.stack(crops),
        boxes=np.concatenate(boxes).astype(np.float32),
        landmarks=np.concatenate(landmarks).astype(np.float32),
    )
    held_out = sum(photo.held_out for photo in load(options.build)[0])
    print(f"{len(paths)} photos with {sum(counts)} faces; {held_out} photos held out")


def _main_first(boxes: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.intp]:
    # The subject of every set is the largest face near the middle; LFW's bystanders are smaller or cut by the border.
    sizes = np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    off = np.linalg.norm((boxes[:, :2] + boxes[:, 2:4]) / 2 - np.array(shape[1::-1]) / 2, axis=1)
    return np.argsort(off - sizes, kind="stable")


if __name__ == "__main__":
    main()
