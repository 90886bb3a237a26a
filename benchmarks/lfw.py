"""Embeddings of the LFW photos beside the checkout, computed once and kept in .bench/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
from selfiegate.decoding.decode import decode
from selfiegate.settings import load_settings

CACHE = Path(".bench")
PHOTOS = Path(__file__).parents[2] / "shared" / "photos" / "lfw"


def embeddings() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return the main face's unit embedding (n, 512) and the person (n,) of every photo with a face."""
    file = CACHE / "lfw.npz"
    if not file.exists():
        CACHE.mkdir(exist_ok=True)
        vectors, people = _compute()
        np.savez(file, vectors=vectors, people=people)
    held = np.load(file)
    return held["vectors"], held["people"]


def _compute() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    settings = load_settings()
    analyser = InsightFaceAnalyser(settings.insightface)
    vectors, people = [], []
    for path in sorted(PHOTOS.glob("*/*.jpg")):
        picture, size = decode(path.read_bytes(), settings.photos, settings.photos.working_side)
        # The photos are centred on the person they are named after; bystanders stand aside.
        found = sorted(
            analyser.analyse(picture, size), key=lambda one: abs(one[0].box.left + one[0].box.width / 2 - 0.5)
        )
        if found:
            vectors.append(analyser.embed([found[0][1]])[0])
            people.append(path.parent.name)
    return np.stack(vectors), np.array(people)
