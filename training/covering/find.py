"""Find the faces that covers are drawn on, the photos of real covers, and eyes: `python -m training.covering.find`.

Writes `bases.npz`. Of LFW only people with a single photo are taken: `benchmarks.disguise` needs two photos of a
person, and so measures on people that nothing here has seen. Lists beside this file (README.md) sort masks and eyes by
eye.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from insightface.app import FaceAnalysis

from training.covering.faces import Base, canvas_of, read_list, save_bases
from training.eyewear.data import describe, main_face, read_rgb


def main() -> None:
    """Find and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--pool", type=Path, default=Path("build/covering"))
    options = parser.parse_args()
    options.pool.mkdir(parents=True, exist_ok=True)
    bases = [*read_bases(options.shared), *_eyes(options.shared / "photos")]
    save_bases(options.pool / "bases.npz", bases)
    print(f"{len(bases)} faces and eyes", flush=True)


def _eyes(root: Path) -> list[Base]:
    nowhere = np.zeros((5, 2))
    return [
        Base(path, "eyes", kind, fold, read_rgb(root / path), nowhere) for path, kind, fold in read_list("eyes.txt")
    ]


def read_bases(shared: Path) -> list[Base]:
    """Return a canvas for each face of LFW's people with one photo, of CelebA's glasses and of the masks."""
    model = shared / "insightface/models/buffalo_sc_dequant"
    detector = FaceAnalysis(name=str(model), allowed_modules=["detection"])
    detector.prepare(ctx_id=-1, det_thresh=0.5, det_size=[(128, 128), (640, 640)])
    bases = []
    for path, source, kind, fold in _photos(shared / "photos"):
        image = read_rgb(shared / "photos" / path)
        landmarks = main_face(detector, image)
        if landmarks is not None:
            bases.append(Base(path, source, kind, fold, *canvas_of(image, landmarks)))
    return bases


def _photos(root: Path) -> list[tuple[str, str, str, int]]:
    lfw = sorted(path.relative_to(root).as_posix() for path in (root / "lfw").glob("*/*.jpg"))
    photos = Counter(path.split("/")[1] for path in lfw)
    single = [path for path in lfw if photos[path.split("/")[1]] == 1]
    celeba = sorted(path.relative_to(root).as_posix() for path in (root / "glasses/celeba").rglob("*.jp*g"))
    found = [(path, *describe(Path(path))[:2], _fold(path)) for path in single + celeba]
    return found + [(path, "masks", kind, fold) for path, kind, fold in read_list("masks.txt")]


def _fold(path: str) -> int:
    """Draw one of ten folds from a path's digest; fold 0 is `HELD_OUT`."""
    return hashlib.sha256(path.encode()).digest()[0] % 10


if __name__ == "__main__":
    main()
