"""Read the photos beside the project: faces, labels, and who is who.

LFW carries no eyewear labels: the lists beside this file were sorted by eye from an earlier model's
contact sheets (README.md); a photo on none of them counts as bare.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from insightface.app import FaceAnalysis
from insightface.app.common import Face
from numpy.typing import NDArray

from selfiegate.backends.insightface.eyewear import CLASSES, eye_region

HERE = Path(__file__).parent
SOURCES = ("glasses", "lfw", "workshop")
"""Folders below `photos` that are sorted by eyewear; what else lies there is not."""
NONE, CLEAR, SUN = 0, 1, 2
FOLDS = 5

# The part of a face that training draws on: more than `eye_region` shows, so that jittered
# landmarks still find pixels. 3.6 x 3 eye distances of 48 px.
CANVAS_SIZE = (172, 144)
CANVAS_EYE_DISTANCE = 48.0

# CMU's open-eyed people who wear spectacles there, seen by eye.
CMU_SPECTACLED = {"ch4f", "choon", "saavik"}
LFW_LISTS = {
    "lfw_sunglasses.txt": "sunglasses",
    "lfw_clear.txt": "clear_glasses",
    "lfw_tinted.txt": "tinted_or_unclear",
    "lfw_bare_or_clear.txt": "bare_or_clear",
}


class Photo(NamedTuple):
    """One face: `kind` is a class or, untrained on, another word; `group` its person (CelebA: its photo)."""

    path: str
    source: str
    kind: str
    group: str
    fold: int
    region: NDArray[np.uint8] | None
    canvas: NDArray[np.uint8]
    landmarks: NDArray[np.float64]

    @property
    def label(self) -> int | None:
        """The class's index, None where the kind is no class."""
        return CLASSES.index(self.kind) if self.kind in CLASSES else None


def read_photos(shared: Path) -> tuple[list[Photo], list[str]]:
    """Find one face in each photo under `shared`; returns the photos, and the paths without a face."""
    detector = FaceAnalysis(name=str(shared / "insightface/models/buffalo_sc_dequant"), allowed_modules=["detection"])
    detector.prepare(ctx_id=-1, det_thresh=0.5, det_size=[(128, 128), (640, 640)])
    root = shared / "photos"
    found = (path.relative_to(root) for path in root.rglob("*.jp*g"))
    paths = sorted(path for path in found if path.parts[0] in SOURCES)
    folds = _folds(paths)
    photos, faceless = [], []
    for path in paths:
        image = read_rgb(root / path)
        landmarks = main_face(detector, image)
        if landmarks is None:
            faceless.append(path.as_posix())
            continue
        canvas, moved = _canvas(image, landmarks)
        source, kind, group = describe(path)
        fold = folds[source, group]
        region = eye_region(image, landmarks)
        photos.append(Photo(path.as_posix(), source, kind, group, fold, region, canvas, moved))
    return photos, faceless


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return a photo as RGB pixels."""
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} is no photo")
    return np.asarray(image[:, :, ::-1], dtype=np.uint8, order="C")


def describe(path: Path) -> tuple[str, str, str]:
    """Return a photo's source, kind and group, from its path below `photos`."""
    if path.parts[0] == "lfw":
        name = f"{path.parts[1]}/{path.name}"
        kinds = [kind for listing, kind in LFW_LISTS.items() if name in _names(listing)]
        return "lfw", kinds[0] if kinds else "none", path.parts[1]
    if path.parts[0] == "workshop":
        return "workshop", path.stem, path.stem
    if path.parts[1] == "celeba":
        known = path.name not in _names("celeba_leave_out.txt")
        return "celeba", path.parts[2] if known else "tinted_or_unclear", path.stem.split("(")[0]
    person = path.stem.split("_")[0]
    worn = "clear_glasses" if person in CMU_SPECTACLED else "none"
    return "cmu", "sunglasses" if path.parts[2] == "sunglasses" else worn, person


_lists: dict[str, frozenset[str]] = {}


def _names(listing: str) -> frozenset[str]:
    if listing not in _lists:
        path = HERE / listing
        _lists[listing] = frozenset(path.read_text().split() if path.exists() else ())
    return _lists[listing]


def _folds(paths: list[Path]) -> dict[tuple[str, str], int]:
    groups = sorted({(source, group) for source, _, group in map(describe, paths)})
    return {group: index % FOLDS for index, group in enumerate(groups)}


def main_face(detector: FaceAnalysis, image: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Return the landmarks (5, 2) of the face that a photo is of, None where none is found."""
    # The subject of every set is the largest face; LFW's bystanders are smaller or cut by the border.
    faces = detector.get(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not faces:
        return None
    middle = np.array(image.shape[1::-1]) / 2

    def prominence(face: Face) -> float:
        box = face.bbox
        size = float(np.hypot(box[2] - box[0], box[3] - box[1]))
        return size - float(np.linalg.norm((box[:2] + box[2:]) / 2 - middle))

    return np.asarray(max(faces, key=prominence).kps, dtype=np.float64)


def _canvas(image: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    eyes = landmarks[:2].mean(axis=0)
    across = landmarks[1] - landmarks[0]
    # A turned head's eyes nearly meet; its mouth still lies 1.15 eye distances below them.
    length = max(np.linalg.norm(landmarks[3:].mean(axis=0) - eyes) / 1.15, np.linalg.norm(across))
    angle = np.arctan2(across[1], across[0])
    scale = CANVAS_EYE_DISTANCE / length
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    origin = np.array([CANVAS_SIZE[0] / 2, CANVAS_SIZE[1] * 0.45]) - turn @ eyes
    canvas = cv2.warpAffine(image, np.column_stack([turn, origin]), CANVAS_SIZE, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(canvas, dtype=np.uint8), landmarks @ turn.T + origin
