"""Train the eyewear classifier and measure it on people it never saw.

    python -m training.eyewear.train --shared ../shared --out selfiegate/backends/insightface/eyewear.onnx

One command, one thread, one seed: find faces, draw the pool, train and test five folds by person,
train twice more with a source left out, then train the shipped network on all folds and export it.
"""

from __future__ import annotations

import argparse
import os

# Set before numpy and torch load: one thread gives the same sums, hence the same network, everywhere.
os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from selfiegate.backends.insightface.eyewear import CLASSES, HEIGHT, WIDTH
from selfiegate.policy import Rules
from training.eyewear.data import FOLDS, SUN, Photo, read_photos
from training.eyewear.network import Network, probabilities, train
from training.eyewear.pool import Pool, make_pool
from training.eyewear.report import write_figures, write_probabilities
from training.onnx_file import export

SEED = 20261120
VERSION = "1.0"
CROP = (
    "selfiegate.backends.insightface.eyewear.eye_region: RGB 0..255, 64 x 96 (H x W); five SCRFD points "
    "fitted to ArcFace's template by similarity; 40 px between the eyes, eyes centred, 28 px from the top"
)


def main() -> None:
    """Run every step and print how long each took."""
    options = _options()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clock = _Clock()
    photos, faceless = read_photos(options.shared)
    photos = [photo for photo in photos if photo.region is not None]
    clock.lap(f"{len(photos)} faces found, {len(faceless)} photos without one")
    pool = make_pool([p for p in photos if p.label is not None], np.random.default_rng(SEED))
    clock.lap(f"{len(pool.labels)} crops drawn")
    held_out = cross_validate(photos, pool)
    clock.lap("five folds")
    strangers = {
        "no CMU photo in training": _left_out(photos, pool, pool.sources != "cmu"),
        "no real sunglasses in training": _left_out(photos, pool, (pool.labels != SUN) | pool.drawn),
    }
    clock.lap("two sources left out")
    network = train(pool, SEED)
    whole = torch.nn.Sequential(network, torch.nn.Softmax(dim=1))
    export(whole, (HEIGHT, WIDTH), options.out, _facts(), name="regions")
    clock.lap("shipped network")
    options.report.mkdir(parents=True, exist_ok=True)
    write_probabilities(options.report / "probs.csv", photos, held_out, faceless)
    write_figures(options.report / "figures.md", photos, {"held out by person": held_out, **strangers}, faceless)


def cross_validate(photos: list[Photo], pool: Pool) -> NDArray[np.float32]:
    """Score each photo (N, 3) by the network whose training held nobody of its fold."""
    scores = np.zeros((len(photos), len(CLASSES)), np.float32)
    for fold in range(FOLDS):
        network = train(_part(pool, pool.folds != fold), SEED + fold)
        mine = [index for index, photo in enumerate(photos) if photo.fold == fold]
        scores[mine] = _score(network, [photos[index] for index in mine])
    return scores


def _left_out(photos: list[Photo], pool: Pool, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    return _score(train(_part(pool, kept), SEED), photos)


def _part(pool: Pool, kept: NDArray[np.bool_]) -> Pool:
    regions, labels, folds, sources, drawn = pool
    return Pool(regions[kept], labels[kept], folds[kept], sources[kept], drawn[kept])


def _score(network: Network, photos: list[Photo]) -> NDArray[np.float32]:
    regions = torch.from_numpy(np.stack([photo.region for photo in photos if photo.region is not None]))
    return probabilities(network, regions).numpy()


def _facts() -> dict[str, str]:
    return {
        "classes": ",".join(CLASSES),
        "version": VERSION,
        "date": "2026-11-20",
        "crop": CROP,
        "sunglasses_threshold": str(Rules().max_sunglasses),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with DATA.md")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument(
        "--report", type=Path, default=Path("build/eyewear"), help="folder for figures.md and probs.csv"
    )
    return parser.parse_args()


class _Clock:
    def __init__(self) -> None:
        self._last = monotonic()

    def lap(self, step: str) -> None:
        now = monotonic()
        print(f"{step}: {now - self._last:.0f} s", flush=True)
        self._last = now


if __name__ == "__main__":
    main()
