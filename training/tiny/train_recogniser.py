"""Shrink the teacher's recogniser and teach what is left to say what the teacher says.

    python -m training.tiny.train_recogniser --shared ../shared

Reads `build/tiny/faces.npz` (`photos.py`); writes `rec_tiny.onnx` into the pack. The start of the network, refitted,
stays as it is: a quarter of the time for most of the gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.tiny.arguments import arguments
from training.tiny.export import PACK, list_digests, save_recogniser
from training.tiny.photos import MARGIN, load
from training.tiny.recogniser import STUDENT, Recogniser, read_teacher
from training.tiny.sessions import TEACHER, session
from training.tiny.shrink_recogniser import shrink
from training.tiny.spoil import spoiled_face

SEED = 20261121
FITTED_ON = 160
BATCH = 32
LEARNING_RATE = 1.2e-4
WARM_UP = 20


def main() -> None:
    """Run both steps and print how long each took."""
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=PACK, help="folder of the pack")
    parser.add_argument("--steps", type=int, default=120, help="batches of 32 faces; 0: refits alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    photos, crops = load(options.build)
    crops = crops[[not photo.held_out for photo in photos]]
    file = options.shared / TEACHER / "w600k_mbf.onnx"
    started = monotonic()
    rng = np.random.default_rng(SEED)
    some = rng.choice(len(crops), FITTED_ON, replace=False)
    faces = blob(crops[some][:, MARGIN:-MARGIN, MARGIN:-MARGIN])
    network = shrink(read_teacher(file), STUDENT, faces)
    print(f"{len(crops)} faces to train on; shrunk in {monotonic() - started:.0f} s", flush=True)
    train(network, file, crops, rng, options.steps)
    save_recogniser(network, options.out / "rec_tiny.onnx")
    list_digests(options.out)
    print(f"{monotonic() - started:.0f} s in all")


def train(network: Recogniser, file: Path, crops: NDArray[np.uint8], rng: np.random.Generator, steps: int) -> None:
    """Bring embeddings of spoiled faces to the teacher's of the same pixels."""
    for part in (network.stem, network.mix, network.early):
        part.requires_grad_(False)
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learnt, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / WARM_UP, 0.5 + 0.5 * float(np.cos(np.pi * step / max(steps, 1))))
    )
    started, seen = monotonic(), []
    for step, (faces, wanted) in enumerate(batches(file, crops, rng, steps)):
        alike = torch.cosine_similarity(network(faces), wanted)
        loss = (1 - alike).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        seen.append(float(alike.mean().detach()))
        if step % 20 == 0:
            print(f"{step}: cosine {np.mean(seen[-20:]):.4f}, {monotonic() - started:.0f} s", flush=True)


def batches(
    file: Path, crops: NDArray[np.uint8], rng: np.random.Generator, steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield spoiled faces and the teacher's embeddings of them, each face once before any comes again."""
    teacher, order = session(file), np.empty(0, np.intp)
    for _ in range(steps):
        if len(order) < BATCH:
            order = np.concatenate([order, rng.permutation(len(crops))])
        chosen, order = order[:BATCH], order[BATCH:]
        faces = blob(np.stack([spoiled_face(crops[index], rng) for index in chosen]))
        yield faces, torch.from_numpy(teacher.run(None, {"input.1": faces.numpy()})[0])


def blob(faces: NDArray[np.uint8]) -> Tensor:
    """Return BGR faces (N, 112, 112, 3) as the network's input."""
    planes = np.ascontiguousarray(faces[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    return torch.from_numpy((planes - 127.5) / 127.5)


if __name__ == "__main__":
    main()
