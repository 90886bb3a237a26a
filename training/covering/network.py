"""The networks: small stacks of convolutions, trained from scratch, exported to ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH = 256
LEARNING_RATE, RESUMED_RATE = 3e-3, 1.2e-3
"""The highest, of training from scratch and of training that goes on."""


class Labels(NamedTuple):
    """What is known of each crop: parts (n, p) of 1, 0 and -1 (unknown), quality (n,), not a number where unknown."""

    parts: Tensor
    quality: Tensor


class Network(nn.Module):
    """Map RGB crops (n, 3, h, w), 0..255, to one logit per part and, last, one for quality."""

    def __init__(self, stages: list[tuple[int, int]], outputs: int) -> None:
        """Take stages as (channels, stride)."""
        super().__init__()
        layers, inputs = [], 6
        for channels, stride in stages:
            layers += [
                nn.Conv2d(inputs, channels, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            inputs = channels
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(3 * inputs, 96), nn.ReLU(), nn.Linear(96, outputs))

    def forward(self, crops: Tensor) -> Tensor:
        """Look at the crop as it is, whose darkness counts, and at contrast alone."""
        seen = self.features(self.normalised(crops))
        third = seen.shape[2] // 3
        rows = [seen[:, :, :third], seen[:, :, third : 2 * third + 1], seen[:, :, 2 * third + 1 :]]
        logits: Tensor = self.head(torch.cat([row.mean(dim=(2, 3)) for row in rows], dim=1))
        return logits

    def normalised(self, crops: Tensor) -> Tensor:
        """Return six channels: the crop, and its contrast."""
        mean = crops.mean(dim=(1, 2, 3), keepdim=True)
        centred = crops - mean
        spread = (centred * centred).mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return torch.cat([(crops - 127.5) / 64, centred / (spread + 4.0)], dim=1)


def loss_of(logits: Tensor, labels: Labels) -> Tensor:
    """Return the mean loss over what is known."""
    known = labels.parts >= 0
    parts = logits[:, : labels.parts.shape[1]]
    wanted = labels.parts.float().clamp(min=0) * 0.96 + 0.02
    loss = (functional.binary_cross_entropy_with_logits(parts, wanted, reduction="none") * known).sum() / known.sum()
    if logits.shape[1] > labels.parts.shape[1]:
        told = ~labels.quality.isnan()
        error = logits[:, -1].sigmoid() - labels.quality.nan_to_num().clamp(0, 1)
        loss = loss + 8 * (error * error * told).sum() / told.sum().clamp(min=1)
    return loss


def train(
    network: Network, crops: Tensor, labels: Labels, epochs: int, seed: int, rate: float = LEARNING_RATE
) -> Network:
    """Train on uint8 crops (n, 3, h, w) where they lie: a CPU's one thread gives the same network again."""
    device = crops.device
    network = network.to(device, memory_format=torch.channels_last)
    steps = epochs * (len(crops) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for step, chosen in enumerate(_batches(len(crops), epochs, seed)):
        chosen = chosen.to(device)
        batch = _varied(crops[chosen].float()).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = network(batch)
        loss = loss_of(logits.float(), Labels(labels.parts[chosen], labels.quality[chosen]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"  step {step}/{steps}: loss {loss.item():.3f}", flush=True)
    return network.cpu().eval()


@torch.no_grad()
def resume(network: Network, shipped: Path, crops: Tensor) -> None:
    """Take over the weights of an exported network, so that training goes on from it.

    An export folds normalisation into the convolutions. So each one's is measured anew, on these crops.
    """
    import onnx

    weights = [torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in onnx.load(shipped).graph.initializer]
    head = weights[1:5]  # the first moves the limits, and is set anew when this one is exported
    for parameter, weight in zip(network.head.parameters(), head, strict=True):
        parameter.copy_(weight)
    seen = network.eval().normalised(crops.float())
    folded = iter(zip(weights[5::2], weights[6::2], strict=True))
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            weight, bias = next(folded)
            layer.weight.copy_(weight)
        elif isinstance(layer, nn.BatchNorm2d):
            mean, spread = seen.mean(dim=(0, 2, 3)), seen.var(dim=(0, 2, 3))
            layer.running_mean, layer.running_var = mean, spread
            layer.weight.copy_((spread + layer.eps).sqrt())
            layer.bias.copy_(bias + mean)
        seen = layer(seen)
    network.train()


def _batches(count: int, epochs: int, seed: int) -> Iterator[Tensor]:
    chance = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(count, generator=chance)
        for start in range(0, count - BATCH + 1, BATCH):
            yield order[start : start + BATCH]


def _varied(batch: Tensor) -> Tensor:
    """Flip half of the crops; change light and shift a little."""
    flipped = torch.rand(len(batch), device=batch.device) < 0.5
    batch[flipped] = batch[flipped].flip(3)
    light = 1 + 0.1 * torch.randn(len(batch), 1, 1, 1, device=batch.device)
    across, down = (int(torch.randint(-3, 4, ()).item()) for _ in range(2))
    return (torch.roll(batch, (down, across), (2, 3)) * light).clamp(0, 255)


@torch.inference_mode()
def scores(network: Network, crops: Tensor) -> Tensor:
    """Return probabilities (n, outputs) of uint8 crops (n, 3, h, w)."""
    network = network.to(crops.device)
    return torch.cat([network(part.float()).sigmoid() for part in torch.split(crops, 512)]).cpu()


class Shipped(nn.Module):
    """The network with its probabilities moved so that the policy's limits are where training wants them."""

    def __init__(self, network: Network, shift: Tensor) -> None:
        super().__init__()
        self.network, self.shift = network, nn.Parameter(shift, requires_grad=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Return probabilities (n, outputs)."""
        return (self.network(crops) + self.shift).sigmoid()
