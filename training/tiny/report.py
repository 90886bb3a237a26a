"""Print the figures of the model card, from the shipped files, beside the teacher's.

    python -m training.tiny.report --shared ../shared

Reads `build/tiny/faces.npz` (`photos.py`). Both packs are loaded by insightface's own `FaceAnalysis`.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from time import thread_time

import cv2
import numpy as np
from insightface.app import FaceAnalysis
from numpy.typing import NDArray

from training.tiny.arguments import arguments
from training.tiny.export import PACK
from training.tiny.measure import accepted, accuracy, area_under_curve, overlap, pairs
from training.tiny.photos import MARGIN, Photo, crop, load, read_image
from training.tiny.scenes import Scenes
from training.tiny.sessions import TEACHER, one_thread

SEED = 20261123
WORKSHOP = ("1_happy_face.jpg", "2_sunglass_face.jpg", "3_multiple_faces.jpg", "4_no_face.jpg", "selfie-picture.jpeg")
SIDE = 640
CLOSE_UPS, EMPTY = 150, 150
RUNS = 60

Sizes = list[tuple[int, int]]
ONE: Sizes = [(SIDE, SIDE)]
TWO: Sizes = [(128, 128), (SIDE, SIDE)]


class Pack:
    """A pack's two models, on one thread."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.app = FaceAnalysis(name=str(folder), sess_options=one_thread(), providers=["CPUExecutionProvider"])
        self.app.prepare(ctx_id=-1, det_thresh=0.5, det_size=TWO)

    def detect(self, image: NDArray[np.uint8], sizes: Sizes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (n, 5) and landmarks (n, 5, 2)."""
        boxes, landmarks = self.app.models["detection"].detect(image, input_size=sizes)
        return boxes, landmarks

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit embeddings of crops (n, 112, 112, 3) BGR."""
        parts = [
            self.app.models["recognition"].get_feat(list(part)) for part in np.array_split(crops, len(crops) // 32 + 1)
        ]
        features = np.concatenate(parts)
        return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)


def main() -> None:
    """Print every table."""
    parser = arguments(__doc__)
    parser.add_argument("--pack", type=Path, default=PACK, help="folder of the pack")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    packs = Pack("teacher", options.shared / TEACHER), Pack("tiny", options.pack)
    root = options.shared / "photos"
    photos, crops = load(options.build)
    chosen = [n for n, photo in enumerate(photos) if photo.held_out and photo.source == "lfw"]
    held_out = [photos[n] for n in chosen]
    for file in sorted(options.pack.glob("*.onnx")):
        print(f"{file.name}: {file.stat().st_size:,} bytes")
    speed(packs)
    workshop(packs, root / "workshop")
    own = main_faces(packs, root, held_out)
    recognition(packs, held_out, crops[chosen][:, MARGIN:-MARGIN, MARGIN:-MARGIN], own)
    close_ups(packs, root, held_out)
    empty(packs, root, held_out)


def speed(packs: tuple[Pack, ...]) -> None:
    """Time both packs' networks in turn; a thread's own time, which other processes on the machine do not lengthen."""
    rng = np.random.default_rng(SEED)
    print("\n| one thread, median ms | " + " | ".join(pack.name for pack in packs) + " |\n|---|" + "---|" * len(packs))
    for side in (SIDE, 320, 128):
        blob = rng.standard_normal((1, 3, side, side)).astype(np.float32)
        for pack in packs:
            pack.app.models["detection"].detect(np.zeros((64, 64, 3), np.uint8), input_size=[(side, side)])
        sessions = [pack.app.models["detection"].resolution_sessions[side, side] for pack in packs]
        _timed(f"detector, {side} x {side}", sessions, blob)
    face = rng.standard_normal((1, 3, 112, 112)).astype(np.float32)
    _timed("recogniser, one face", [pack.app.models["recognition"].session for pack in packs], face)


def _timed(what: str, sessions: list, blob: NDArray[np.float32]) -> None:  # type: ignore[type-arg]
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(RUNS):
        for session, took in zip(sessions, times, strict=True):
            started = thread_time()
            session.run(None, {session.get_inputs()[0].name: blob})
            took.append(1000 * (thread_time() - started))
    print(f"| {what} | " + " | ".join(f"{median(took[5:]):.1f}" for took in times) + " |")


def workshop(packs: tuple[Pack, ...], folder: Path) -> None:
    """Count the faces of the workshop's photos at the product's sizes and threshold."""
    for pack in packs:
        *counts, selfie = (len(pack.detect(read_image(folder / name), TWO)[0]) for name in WORKSHOP)
        print(f"\nworkshop, {pack.name}: {counts}; selfie {selfie}")


def main_faces(packs: tuple[Pack, ...], root: Path, photos: list[Photo]) -> NDArray[np.uint8]:
    """Tell how many main faces the tiny pack finds where the teacher sees them; return its own crops of them."""
    tiny = packs[-1]
    found = dict.fromkeys(("640", "128 and 640"), 0)
    fewer = more = 0
    off, crops = [], []
    for photo in photos:
        image = read_image(root / photo.path)
        for name, sizes in (("640", ONE), ("128 and 640", TWO)):
            boxes, landmarks = tiny.detect(image, sizes)
            met = overlap(photo.boxes[0], boxes) if len(boxes) else np.zeros(1, np.float32)
            found[name] += bool(met.max() >= 0.5)
        fewer, more = fewer + (len(boxes) < len(photo.boxes)), more + (len(boxes) > len(photo.boxes))
        points = landmarks[met.argmax()] if met.max() >= 0.5 else photo.landmarks[0]
        apart = np.linalg.norm(photo.landmarks[0, 1] - photo.landmarks[0, 0])
        off.append(np.linalg.norm(points - photo.landmarks[0], axis=1).mean() / apart)
        crops.append(crop(image, points)[MARGIN:-MARGIN, MARGIN:-MARGIN])
    for name, count in found.items():
        print(f"\nmain face found at {name}: {count} of {len(photos)} ({count / len(photos):.2%})")
    print(
        f"\nfewer faces than the teacher in {fewer} photos, more in {more}; landmarks off by "
        f"{np.mean(off):.1%} of the eye distance, {np.quantile(off, 0.95):.1%} in one of twenty"
    )
    return np.stack(crops)


def recognition(packs: tuple[Pack, ...], photos: list[Photo], crops: NDArray[np.uint8], own: NDArray[np.uint8]) -> None:
    """Compare embeddings over pairs of held-out people."""
    people = [photo.person for photo in photos]
    index, same, folds = pairs(people, np.random.default_rng(SEED))
    first, second = index.T
    teacher, tiny = (pack.embed(crops) for pack in packs)
    whole = packs[-1].embed(own)
    truth = np.array(people)
    upper = np.triu_indices(len(people), 1)
    is_same = truth[upper[0]] == truth[upper[1]]
    several = len({person for person in people if people.count(person) > 1})
    print(
        f"\n{len(same)} pairs, half of one person, of {several} held-out people with two photos or more; "
        f"all pairs: {is_same.sum():,} of one person, {(~is_same).sum():,} of two"
    )
    print(
        "\n| embeddings | 10-fold accuracy | AUC | TAR at FAR 1e-3, all pairs | correlation with the teacher's cosine |"
    )
    print("|---|---|---|---|---|")
    expected = (teacher[first] * teacher[second]).sum(axis=1)
    for name, left, right in (
        ("teacher", teacher, teacher),
        ("tiny", tiny, tiny),
        ("tiny, own detector", whole, whole),
        ("tiny against teacher's", tiny, teacher),
    ):
        cosines = (left[first] * right[second]).sum(axis=1)
        every = (left @ right.T)[upper]
        mean, spread = accuracy(cosines, same, folds)
        print(
            f"| {name} | {mean:.2%} ± {spread:.2%} | {area_under_curve(cosines[same], cosines[~same]):.4f} | "
            f"{accepted(every[is_same], every[~is_same], 1e-3):.2%} | {np.corrcoef(cosines, expected)[0, 1]:.4f} |"
        )
    print(
        f"\ncosine of tiny's embedding with the teacher's of the same crop: {(tiny * teacher).sum(axis=1).mean():.3f}"
    )


def close_ups(packs: tuple[Pack, ...], root: Path, photos: list[Photo]) -> None:
    """Enlarge held-out faces until they fill a share of a 640 pixel frame; found means IoU 0.5 with where they are."""
    some = np.random.default_rng(SEED).choice(len(photos), CLOSE_UPS, replace=False)
    print(
        "\n| face's share of the frame, 640 only | "
        + " | ".join(p.name for p in packs)
        + " |\n|---|"
        + "---|" * len(packs)
    )
    for share, angle in ((0.3, 0), (0.5, 0), (0.6, 0), (0.7, 0), (0.8, 0), (0.9, 0), (0.7, 30), (0.7, -30)):
        found = dict.fromkeys(packs, 0)
        for n in some:
            image, box = read_image(root / photos[n].path), photos[n].boxes[0]
            middle = (box[:2] + box[2:4]) / 2
            matrix = cv2.getRotationMatrix2D(middle.tolist(), angle, share * SIDE / float(box[3] - box[1]))
            matrix[:, 2] += SIDE / 2 - middle
            near = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            half = (box[2:4] - box[:2]) / 2 * share * SIDE / (box[3] - box[1])
            there = np.concatenate([SIDE / 2 - half, SIDE / 2 + half])
            for pack in packs:
                boxes, _ = pack.detect(np.asarray(near, np.uint8), ONE)
                found[pack] += bool(len(boxes) and overlap(there, boxes).max() >= 0.5)
        print(
            f"| {share:.0%}{f', turned {angle}°' if angle else ''} | "
            + " | ".join(f"{n / CLOSE_UPS:.1%}" for n in found.values())
            + " |"
        )


def empty(packs: tuple[Pack, ...], root: Path, photos: list[Photo]) -> None:
    """Count faces in backgrounds that show none: corners of held-out photos, and shapes."""
    scenes = Scenes(root, photos, SIDE, np.random.default_rng(SEED))
    drawn = [scenes.background() for _ in range(EMPTY)]
    for pack in packs:
        seen = sum(len(pack.detect(scene, TWO)[0]) for scene in drawn)
        print(f"\nfaces seen in {EMPTY} backgrounds, {pack.name}: {seen}")


if __name__ == "__main__":
    main()
