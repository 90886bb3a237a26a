"""Narrow the teacher's detector and teach what is left to say what the teacher says of drawn scenes.

    python -m training.tiny.train_detector --shared ../shared

Reads `build/tiny/faces.npz` (`photos.py`); writes `det_tiny.onnx` into the pack.
"""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch import Tensor

from training.tiny.arguments import arguments
from training.tiny.detector import PER_PLACE, STUDENT, Detector, Maps, read_teacher
from training.tiny.export import PACK, list_digests
from training.tiny.export_detector import save_detector
from training.tiny.photos import load
from training.tiny.scenes import Scenes
from training.tiny.sessions import TEACHER
from training.tiny.shrink_detector import shrink

SEED = 20261122
SIDE = 320
FITTED_ON = 120
BATCH = 4
LEARNING_RATE = 2e-4
WARM_UP = 100
CAUTION = 0.3
"""Taken off every score's logit: the small network is at times half sure of a head without a face."""
BOX_WEIGHT, LANDMARK_WEIGHT = 1.0, 1.0


def main() -> None:
    """Run both steps and print how long each took."""
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=PACK, help="folder of the pack")
    parser.add_argument("--steps", type=int, default=1200, help="batches of 4 scenes; 0: refits alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    photos = [photo for photo in load(options.build)[0] if not photo.held_out]
    scenes = Scenes(options.shared / "photos", photos, SIDE, np.random.default_rng(SEED))
    teacher = read_teacher(options.shared / TEACHER / "det_500m.onnx")
    started = monotonic()
    network = shrink(teacher, STUDENT, blob([scenes.draw() for _ in range(FITTED_ON)]))
    print(f"{len(photos)} photos to draw on; shrunk in {monotonic() - started:.0f} s", flush=True)
    train(network, teacher, scenes, options.steps)
    for head in network.heads:
        head.say.bias.data[: PER_PLACE[0]] -= CAUTION
    save_detector(network, options.out / "det_tiny.onnx")
    list_digests(options.out)
    print(f"{monotonic() - started:.0f} s in all")


def train(network: Detector, teacher: Detector, scenes: Scenes, steps: int) -> None:
    """Bring the network's maps to the teacher's on fresh scenes; layers of the largest maps stay as refitted."""
    for part in (network.stem, network.eighth[:3]):
        part.requires_grad_(False)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / WARM_UP, 0.5 + 0.5 * float(np.cos(np.pi * step / max(steps, 1))))
    )
    started, seen = monotonic(), []
    for step in range(steps):
        pictures = blob([scenes.draw() for _ in range(BATCH)])
        with torch.no_grad():
            wished = teacher(pictures)
        parts = off_by(network(pictures), wished)
        optimiser.zero_grad()
        parts.sum().backward()
        optimiser.step()
        schedule.step()
        seen.append(parts.detach().numpy())
        if step % 100 == 0:
            scores, boxes, landmarks = np.mean(seen[-100:], axis=0)
            print(f"{step}: {scores:.4f} {boxes:.4f} {landmarks:.4f}, {monotonic() - started:.0f} s", flush=True)


def off_by(said: Maps, wished: Maps) -> Tensor:
    """Return how far scores, boxes and landmarks are off, boxes and landmarks where the teacher sees a face."""
    parts = []
    for ours, theirs in zip(said, wished, strict=True):
        scores, sides, points = ours.split(PER_PLACE, dim=1)
        sure, true_sides, true_points = theirs.split(PER_PLACE, dim=1)
        sure = torch.sigmoid(sure)
        surprise = torch.nn.functional.binary_cross_entropy_with_logits(scores, sure, reduction="none")
        surprise = surprise - torch.nn.functional.binary_cross_entropy(sure, sure, reduction="none")
        faces = torch.where(sure > 0.2, sure, 0.0)
        total = faces.sum() + 1
        parts.append(
            torch.stack(
                [
                    ((1 + 10 * sure) * surprise).sum() / (total + 10),
                    BOX_WEIGHT * (faces.repeat_interleave(4, 1) * (sides - true_sides).abs()).sum() / (4 * total),
                    LANDMARK_WEIGHT
                    * (faces.repeat_interleave(10, 1) * (points - true_points).abs()).sum()
                    / (10 * total),
                ]
            )
        )
    return torch.stack(parts).sum(dim=0)


def blob(pictures: list[np.ndarray]) -> Tensor:
    """Return BGR pictures (height, width, 3) as the network's input."""
    planes = np.ascontiguousarray(np.stack(pictures)[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    return torch.from_numpy((planes - 127.5) / 128)


if __name__ == "__main__":
    main()
