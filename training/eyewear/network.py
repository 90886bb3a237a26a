"""The network: five convolution stages on 64 x 96 RGB, trained from scratch, exported to ONNX."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from selfiegate.backends.insightface.eyewear import CLASSES
from training.eyewear.pool import Pool

BATCH = 128
EPOCHS = 4
LEARNING_RATE = 4e-3
SMOOTHING = 0.05


class Network(nn.Module):
    """Map regions (N, 3, 64, 96), RGB 0..255, to logits (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        stages = [(3, 24, 2), (24, 40, 2), (40, 40, 1), (40, 64, 2), (64, 64, 1), (64, 112, 2)]
        self.features = nn.Sequential(*(layer for stage in stages for layer in _stage(*stage)))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(112 * 2, len(CLASSES)))

    def forward(self, regions: Tensor) -> Tensor:
        # Each region is set to mean 0 and spread 1: exposure drops out, contrast with the skin stays.
        mean = regions.mean(dim=(1, 2, 3), keepdim=True)
        centred = regions - mean
        spread = (centred * centred).mean(dim=(1, 2, 3), keepdim=True).sqrt()
        seen = self.features(centred / (spread + 4.0))
        top, bottom = seen[:, :, :2].mean(dim=(2, 3)), seen[:, :, 2:].mean(dim=(2, 3))
        logits: Tensor = self.head(torch.cat([top, bottom], dim=1))
        return logits


def _stage(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def train(pool: Pool, seed: int, epochs: int = EPOCHS) -> Network:
    """Train on every crop of `pool`; the same seed gives the same network on one thread."""
    torch.manual_seed(seed)
    network = Network()
    weights = torch.bincount(torch.from_numpy(pool.labels), minlength=len(CLASSES)).float()
    loss_of = nn.CrossEntropyLoss(weights.sum() / weights / len(CLASSES), label_smoothing=SMOOTHING)
    steps = epochs * (len(pool.labels) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for step, (regions, labels) in enumerate(_batches(pool, epochs)):
        optimiser.zero_grad()
        loss = loss_of(network(regions), labels)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"  step {step}/{steps}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def _batches(pool: Pool, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(epochs):
        order = torch.randperm(len(pool.labels))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            regions = torch.from_numpy(pool.regions[chosen.numpy()]).permute(0, 3, 1, 2).float()
            flipped = torch.rand(len(chosen)) < 0.5
            regions[flipped] = regions[flipped].flip(3)
            yield regions, torch.from_numpy(pool.labels)[chosen]


@torch.inference_mode()
def probabilities(network: Network, regions: Tensor) -> Tensor:
    """Return probabilities (N, 3) of uint8 regions (N, 64, 96, 3)."""
    parts = [network(part.permute(0, 3, 1, 2).float()).softmax(dim=1) for part in torch.split(regions, 512)]
    return torch.cat(parts)
