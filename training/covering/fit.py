"""Train both networks on the pool: `python -m training.covering.fit --pool build/covering [--device cuda]`.

Needs PyTorch, numpy and Pillow alone, so that it runs where nothing else is installed. Writes `covering.pt` and
`eyes.pt` beside the pool.
"""

from __future__ import annotations

import argparse
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.covering.network import LEARNING_RATE, RESUMED_RATE, Labels, Network, resume, train

SEED = 20261126
COVERING = [(16, 2), (32, 2), (32, 1), (56, 2), (56, 1), (96, 2), (96, 1)]
EYES = [(24, 1), (32, 2), (48, 2), (64, 1), (64, 2)]
"""Channels and stride of each stage."""

EPOCHS, RESUMED_EPOCHS = {"eyes": 24, "covering": 7}, 4
_MEASURED = 768
"""Crops that a resumed network's normalisation is measured on."""


def covering() -> Network:
    """Return the untrained network of faces: eyes, nose, mouth covered, and quality."""
    return Network(COVERING, 4)


def eyes() -> Network:
    """Return the untrained network of eyes: whether one is open."""
    return Network(EYES, 1)


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", type=Path, default=Path("build/covering"))
    parser.add_argument("--out", type=Path, help="folder for the weights; the pool's where left out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=EPOCHS)
    parser.add_argument("--resume", type=Path, help="folder of shipped networks, whose training goes on")
    options = parser.parse_args()
    out = options.out or options.pool
    torch.manual_seed(SEED)
    for name, network in (("eyes", eyes()), ("covering", covering())):
        if options.only not in (None, name):
            continue
        pool = dict(np.load(options.pool / f"{name}.npz"))
        crops = decoded(pool).to(options.device)
        parts = torch.from_numpy(pool["parts"]).to(options.device)
        quality = torch.from_numpy(pool["quality"]).to(options.device)
        print(f"{name}: {len(crops)} crops", flush=True)
        if options.resume:
            resume(network, options.resume / f"{name}.onnx", crops[:: max(1, len(crops) // _MEASURED)].cpu())
        epochs, rate = (RESUMED_EPOCHS, RESUMED_RATE) if options.resume else (EPOCHS[name], LEARNING_RATE)
        trained = train(network, crops, Labels(parts, quality), epochs, SEED, rate)
        torch.save(trained.state_dict(), out / f"{name}.pt")


def decoded(pool: dict[str, Any]) -> Tensor:
    """Return the pool's files as uint8 crops (n, 3, h, w)."""
    starts = np.concatenate([[0], pool["ends"][:-1]])
    files = [pool["files"][start:end].tobytes() for start, end in zip(starts, pool["ends"], strict=True)]
    with ThreadPoolExecutor() as threads:
        images = list(threads.map(lambda file: np.asarray(Image.open(io.BytesIO(file)).convert("RGB")), files))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


if __name__ == "__main__":
    main()
