"""Measure both networks on what they never saw, set their limits, and write the files that the product loads.

    python -m training.covering.ship --pool build/covering --shared ../shared --out selfiegate/backends/insightface

Limits are set where so many bare faces would be refused as stated, and moved to where the policy's limits are:
Rekognition's probabilities and these can then be held against the same ones.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from insightface.app import FaceAnalysis
from numpy.typing import NDArray
from torch import Tensor

from selfiegate.backends.insightface.eyes import SIDE, eye_patches
from selfiegate.backends.insightface.eyewear import eye_region
from selfiegate.backends.insightface.geometry import ALIGNED, align
from selfiegate.policy import Rules
from training.covering.eyes import close_up
from training.covering.faces import HELD_OUT, read_list
from training.covering.fit import covering, eyes
from training.covering.network import Network, Shipped, scores
from training.eyewear.data import main_face, read_rgb
from training.onnx_file import export

FACTS = {"version": "1.1", "date": "2026-11-26"}
REFUSED_COVERED = (0.0015, 0.0015, 0.0015)
"""Shares of bare faces that may be refused for covered eyes, nose and mouth."""
REFUSED_CLOSED = 0.001
"""Share of bare faces whose eyes may be called closed."""

BOUND = 4
"""No network's limit is moved further than this, in logits: what it would not say at 0.02 it does not know."""


Cut = tuple[list[str], NDArray[np.uint8], NDArray[np.uint8]]
"""Paths, aligned faces (n, 112, 112, 3) and eye patches (n, 2, 32, 32, 3)."""


class Sets:
    """Faces that nothing was trained on, as the product cuts them: each a crop, its eye region and its path."""

    def __init__(self, shared: Path) -> None:
        model = shared / "insightface/models/buffalo_sc_dequant"
        self._detector = FaceAnalysis(name=str(model), allowed_modules=["detection"])
        self._detector.prepare(ctx_id=-1, det_thresh=0.5, det_size=[(128, 128), (640, 640)])
        self._root = shared / "photos"

    def further(self, at_most: int) -> list[str]:
        """Return the fourth and further photos of LFW's people: nothing trains on them, and no benchmark takes them."""
        files = sorted(path.relative_to(self._root).as_posix() for path in (self._root / "lfw").glob("*/*.jpg"))
        seen = Counter[str]()
        further = []
        for path in files:
            seen[path.split("/")[1]] += 1
            if seen[path.split("/")[1]] > 3:
                further.append(path)
        return further[:: max(1, len(further) // at_most)][:at_most]

    def listed(self, *kinds: str) -> list[str]:
        """Return the held-out masks photos of these kinds."""
        return [path for path, kind, fold in read_list("masks.txt") if fold == HELD_OUT and kind in kinds]

    def cut(self, paths: list[str]) -> Cut:
        """Return the photos in which a face is found."""
        found, faces, patches = [], [], []
        for path in paths:
            image = read_rgb(self._root / path)
            landmarks = main_face(self._detector, image)
            region = None if landmarks is None else eye_region(image, landmarks)
            if landmarks is None or region is None:
                continue
            found.append(path)
            faces.append(align(image, landmarks))
            patches.append(eye_patches(region))
        return found, np.stack(faces), np.stack(patches)


def main() -> None:
    """Measure, set limits, export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", type=Path, default=Path("build/covering"))
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sets, rules = Sets(options.shared), Rules()
    bare = sets.cut(sets.further(2000))
    if (options.pool / "covering.pt").exists():
        _ship_covering(options.pool, options.out, bare, rules)
    if (options.pool / "eyes.pt").exists():
        _ship_eyes(options.pool, options.out, bare, rules)
    _measure(sets, options.shared, options.out, bare, rules)


def _ship_covering(pool: Path, out: Path, bare: Cut, rules: Rules) -> None:
    faces = covering()
    faces.load_state_dict(torch.load(pool / "covering.pt"))
    shown = scores(faces.eval(), _crops(bare[1])).numpy()
    limits = [float(np.quantile(shown[:, part], 1 - share)) for part, share in enumerate(REFUSED_COVERED)]
    print(f"limits: covered {np.round(limits, 3)}")
    shift = torch.tensor([*(_shift(value, rules.max_covered) for value in limits), 0.0])
    export(Shipped(faces, shift), (ALIGNED, ALIGNED), out / "covering.onnx", FACTS)


def _ship_eyes(pool: Path, out: Path, bare: Cut, rules: Rules) -> None:
    lids = eyes()
    lids.load_state_dict(torch.load(pool / "eyes.pt"))
    limit = float(np.quantile(_open(lids.eval(), bare[2]), REFUSED_CLOSED))
    print(f"limit: open {limit:.3f}")
    shift = torch.tensor([_shift(limit, rules.min_eyes_open)])
    export(Shipped(lids, shift), (SIDE, SIDE), out / "eyes.onnx", FACTS)


def _shift(limit: float, wanted: float) -> float:
    """Return what to add to a logit so that a probability of `limit` becomes the wanted one."""
    return max(-BOUND, min(BOUND, math.log(wanted / (1 - wanted)) - math.log(limit / (1 - limit))))


def _crops(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _open(network: Network, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return for each pair of patches how surely the eye that is more open is open."""
    both = scores(network, _crops(patches.reshape(-1, SIDE, SIDE, 3)))
    return np.asarray(both.reshape(-1, 2).max(dim=1).values)


def _said(model: Path, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what a shipped file says of crops (n, h, w, 3)."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    parts = np.array_split(crops.transpose(0, 3, 1, 2).astype(np.float32), -(-len(crops) // 256))
    return np.concatenate([np.asarray(session.run(None, {"crops": part})[0], np.float32) for part in parts])


def _measure(sets: Sets, shared: Path, folder: Path, bare: Cut, rules: Rules) -> None:
    groups = {
        "LFW, further photos": bare,
        "masks' bare faces, held out": sets.cut(sets.listed("bare")),
        "masks, held out": sets.cut(sets.listed("mask")),
        "mouth alone, held out": sets.cut(sets.listed("mouth_only", "hand")),
    }
    print("| faces | n | eyes | nose | mouth | any covered | closed | quality: 1 %, 5 %, half |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (_, crops, patches) in groups.items():
        said = _said(folder / "covering.onnx", crops)
        over = said[:, :3] > rules.max_covered
        opened = _said(folder / "eyes.onnx", patches.reshape(-1, SIDE, SIDE, 3)).reshape(-1, 2).max(axis=1)
        closed = opened < rules.min_eyes_open
        cells = [f"{share:.2%}" for share in [*over.mean(axis=0), over.any(axis=1).mean(), closed.mean()]]
        low = " ".join(f"{100 * value:.0f}" for value in np.quantile(said[:, 3], [0.01, 0.05, 0.5]))
        print(f"| {name} | {len(crops)} | {' | '.join(cells)} | {low} |")
    for kind in ("closed", "open"):
        listed = [path for path, label, fold in read_list("eyes.txt") if label == kind and fold == HELD_OUT]
        held = [close_up(read_rgb(shared / "photos" / path)) for path in listed]
        said = _said(folder / "eyes.onnx", np.stack(held))[:, 0]
        print(f"close-ups {kind}: {(said < rules.min_eyes_open).mean():.2%} of {len(held)} called closed")


if __name__ == "__main__":
    main()
