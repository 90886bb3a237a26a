"""Draw the training pool: faces bare and covered, clear and spoiled, each with what a network should say of it.

    python -m training.covering.pool --shared ../shared --pool build/covering

Reads `bases.npz` (training.covering.find). Writes `covering.npz`: `files` (one JPEG after another, 112 x 112, as the
product aligns faces), `ends` (where each ends), `parts` (n, 3: eyes, nose, mouth; 1 covered, 0 not, -1 unknown),
`quality` (n: cosine of the spoiled face to the same face unspoiled, not a number where there is none), `kinds` and
`folds`. Each block has a seed of its own, so that the pool is the same for any number of processes. `eyes.npz` holds
eyes likewise, whose one part is 1 where they are open.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from selfiegate.backends.insightface.geometry import align
from training.covering.caps import DEEP, cap
from training.covering.covers import DRAWN as COVERS
from training.covering.covers import labels, put
from training.covering.eyes import draw_eyes
from training.covering.faces import HELD_OUT, Base, encoded, load_bases
from training.covering.printed import printed
from training.covering.spoil import compressed, jittered, spoiled
from training.eyewear import draw, obstruct
from training.eyewear.draw import Image, Pose, Rng, pose_of

SEED = 20261126
BLOCK = 250
COUNTS = {
    "bare": 2250, "spoiled": 3000, "mask": 750, "scarf": 500, "hand": 1250, "thing": 1000, "hair": 750,
    "glasses": 750, "obstructed": 750, "worn": 1500, "jpeg": 3000, "printed": 2500, "cap": 1250, "edge": 1250,
}  # fmt: skip
"""Crops of each kind. `worn` are photos of real masks and hands; all others are drawn on bare faces."""

EYES = {"close-up": 14000, "open": 8000, "shut": 5000}
"""Close-ups of one eye, and faces, whose two eyes are cut out, as they are or with their lids drawn shut."""

DRAWN = {**COVERS, "printed": printed}

POOLS = {"covering": COUNTS, "eyes": EYES}

WORN = {"mask": (-1, 1, 1), "mouth_only": (-1, -1, 1), "hand": (-1, -1, 1), "not_covered": (-1, 0, 0)}
"""What the lists' words say of eyes, nose and mouth."""


class Row(NamedTuple):
    """One crop as a JPEG file, and what is known of it."""

    file: bytes
    parts: tuple[int, ...]
    quality: float
    kind: str
    fold: int


def main() -> None:
    """Find faces, draw every block, write one file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--pool", type=Path, default=Path("build/covering"))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", choices=["covering", "eyes"])
    options = parser.parse_args()
    bases = load_bases(options.pool / "bases.npz")
    pools = {name: kinds for name, kinds in POOLS.items() if options.only in (None, name)}
    blocks = [
        (kind, number) for kinds in pools.values() for kind, count in kinds.items() for number in range(count // BLOCK)
    ]
    start = (options.shared / "insightface/models/buffalo_sc_dequant", bases)
    with ProcessPoolExecutor(options.processes, initializer=_start, initargs=start) as pool:
        rows = [row for block in pool.map(_block, blocks) for row in block]
    for name, kinds in pools.items():
        chosen = [row for row in rows if row.kind in kinds]
        save(options.pool / f"{name}.npz", chosen)
        print(f"{name}: {len(chosen)} crops", flush=True)


def save(path: Path, rows: list[Row]) -> None:
    """Write rows as arrays."""
    np.savez(
        path,
        files=np.frombuffer(b"".join(row.file for row in rows), np.uint8),
        ends=np.cumsum([len(row.file) for row in rows]),
        parts=np.array([row.parts for row in rows], np.int8),
        quality=np.array([row.quality for row in rows], np.float32),
        kinds=np.array([row.kind for row in rows]),
        folds=np.array([row.fold for row in rows]),
    )


class _Worker:
    """What a process keeps: the faces, and the recogniser that tells how much of one was lost."""

    def __init__(self, pack: Path, bases: list[Base]) -> None:
        cv2.setNumThreads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        (model,) = pack.glob("w600k_*.onnx")
        self.recogniser = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.clear: dict[str, NDArray[np.float32]] = {}
        trained = [base for base in bases if base.fold != HELD_OUT]
        self.bare = [base for base in trained if base.kind in ("bare", "none", "clear_glasses")]
        self.worn = [base for base in trained if base.kind in WORN]
        self.close_ups = [
            [base for base in trained if base.source == "eyes" and base.kind == kind] for kind in ("open", "closed")
        ]
        self.scenes = [base for base in trained if base.source != "eyes"]

    def of(self, kind: str, number: int) -> list[Base]:
        """Return the faces that a kind is drawn on; blocks of close-ups are open and closed by turns."""
        return self.close_ups[number % 2] if kind == "close-up" else self.worn if kind == "worn" else self.bare


_worker: Any = None


def _start(pack: Path, bases: list[Base]) -> None:
    global _worker
    _worker = _Worker(pack, bases)


def _block(block: tuple[str, int]) -> list[Row]:
    kind, number = block
    rng = np.random.default_rng([SEED, list({**COUNTS, **EYES}).index(kind), number])
    bases = _worker.of(kind, number)
    chosen = [bases[int(rng.integers(len(bases)))] for _ in range(BLOCK)] if bases else []
    if kind in EYES:
        patches = [(base, *patch) for base in chosen for patch in draw_eyes(kind, base, rng)]
        return [Row(encoded(patch), (int(seen),), float("nan"), kind, base.fold) for base, patch, seen in patches]
    drawn = [(*_draw(kind, base, rng), base) for base in chosen]
    qualities = _qualities([(seen, base) for seen, _, base in drawn]) if kind != "worn" else [float("nan")] * len(drawn)
    rows = zip(drawn, qualities, strict=True)
    return [Row(encoded(seen), parts, float(quality), kind, base.fold) for (seen, parts, base), quality in rows]


def _draw(kind: str, base: Base, rng: Rng) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    image, pose = base.canvas.astype(np.float32), pose_of(base.landmarks, rng)
    scene = _worker.scenes[int(rng.integers(len(_worker.scenes)))].canvas.astype(np.float32)
    parts: tuple[int, ...] = (0, 0, 0)
    if kind in DRAWN:
        if rng.random() < 0.15:
            image = _glasses(image, pose, scene, rng)
        layer = DRAWN[kind](image, pose, scene, rng)
        parts, image = tuple(labels(pose, layer[1])), put(image, layer, rng)
    elif kind == "glasses":
        image = _glasses(image, pose, scene, rng)
    elif kind == "obstructed":
        image = (obstruct.eye_shadows if rng.random() < 0.5 else obstruct.brim_shadow)(image, pose, rng)
        parts = (-1, 0, 0)
    elif kind == "cap":
        image, layer, dark = cap(image, pose, scene, rng)
        eyes, *others = labels(pose, layer[1])
        parts, image = (max(eyes, 0) if dark < DEEP else -1, *others), put(image, layer, rng)
    elif kind == "worn":
        parts = WORN[base.kind]
    if kind == "jpeg":
        lit = spoiled(image, rng, hard=False) if rng.random() < 0.35 else image
        seen, points = compressed(lit, jittered(base.landmarks, rng), rng)
        return align(np.clip(seen, 0, 255).astype(np.uint8), points), parts
    hard = kind in ("spoiled", "glasses") or rng.random() < 0.25
    seen = spoiled(image, rng, hard) if kind != "bare" or rng.random() < 0.7 else image
    points = jittered(base.landmarks, rng)
    return align(np.clip(seen, 0, 255).astype(np.uint8), points), parts


def _glasses(image: Image, pose: Pose, scene: Image, rng: Rng) -> Image:
    """Draw glasses, dark or clear: they cover nothing, for the eyewear network tells of them."""
    return (draw.sunglasses if rng.random() < 0.4 else draw.clear_glasses)(image, pose, scene, rng)


def _qualities(drawn: Sequence[tuple[NDArray[np.uint8], Base]]) -> NDArray[np.float32]:
    """Return the cosine of each aligned face to the same face as its photo shows it."""
    for _, base in drawn:
        if base.path not in _worker.clear:
            _worker.clear[base.path] = _embedded(align(base.canvas, base.landmarks)[None])[0]
    seen = _embedded(np.stack([face for face, _ in drawn]))
    clear = np.stack([_worker.clear[base.path] for _, base in drawn])
    return np.asarray((seen * clear).sum(axis=1), np.float32)


def _embedded(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    batch = faces.transpose(0, 3, 1, 2).astype(np.float32)
    parts = [
        _worker.recogniser.run(None, {"input.1": (part - 127.5) / 127.5})[0]
        for part in np.array_split(batch, -(-len(batch) // 16))
    ]
    features = np.concatenate(parts)
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()
