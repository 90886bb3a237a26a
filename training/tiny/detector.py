"""The detector: the teacher's SCRFD, narrower, and its export with a second, smaller look for close-ups."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

STRIDES = (8, 16, 32)
NECK = 16
PER_PLACE = (2, 8, 20)
"""Scores, sides of boxes and landmarks of a place's two anchors."""

Maps = list[Tensor]
"""One map a stride, (N, 30, height, width): two score logits, then eight sides, then twenty coordinates."""


class Shape(NamedTuple):
    """How many channels each part has; the depth is the teacher's."""

    quarter: int
    eighth: int
    sixteenth: int
    last: int
    fine_head: int
    head: int


TEACHER = Shape(40, 72, 152, 288, 64, 64)
STUDENT = Shape(32, 64, 144, 288, 48, 64)


class Pair(nn.Module):
    """A depthwise and a pointwise convolution, each with a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.look = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
        self.mix = nn.Conv2d(inputs, outputs, 1)

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(self.mix(torch.relu(self.look(values))))


class Head(nn.Module):
    """Two pairs and one convolution that says all of a place; SCRFD's three in one, which is twice as fast."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.pairs = nn.Sequential(Pair(NECK, wide), Pair(wide, wide))
        self.say = nn.Conv2d(wide, sum(PER_PLACE), 3, 1, 1)

    def forward(self, values: Tensor) -> Tensor:
        said: Tensor = self.say(self.pairs(values))
        return said


class Detector(nn.Module):
    """Map pictures (N, 3, height, width), RGB (value - 127.5) / 128, to the three strides' maps."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        a, b, c, d, fine_head, head = shape
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.eighth = nn.Sequential(Pair(16, 16), Pair(16, a, 2), Pair(a, a), Pair(a, b, 2), Pair(b, b), Pair(b, b))
        self.sixteenth = nn.Sequential(Pair(b, c, 2), Pair(c, c))
        self.last = nn.Sequential(Pair(c, d, 2), *(Pair(d, d) for _ in range(5)))
        self.side = nn.ModuleList(nn.Conv2d(width, NECK, 1) for width in (b, c, d))
        self.smooth = nn.ModuleList(nn.Conv2d(NECK, NECK, 3, 1, 1) for _ in STRIDES)
        self.down = nn.ModuleList(nn.Conv2d(NECK, NECK, 3, 2, 1) for _ in STRIDES[1:])
        self.after = nn.ModuleList(nn.Conv2d(NECK, NECK, 3, 1, 1) for _ in STRIDES[1:])
        self.heads = nn.ModuleList(Head(width) for width in (fine_head, head, head))

    def forward(self, pictures: Tensor) -> Maps:
        fine = self.eighth(torch.relu(self.stem(pictures)))
        middle = self.sixteenth(fine)
        return self.speak([fine, middle, self.last(middle)])

    def speak(self, features: list[Tensor]) -> Maps:
        """Return the maps for the backbone's features of the three strides."""
        fine, middle, coarse = (side(values) for side, values in zip(self.side, features, strict=True))
        middle = middle + nn.functional.interpolate(coarse, size=middle.shape[2:])
        fine = fine + nn.functional.interpolate(middle, size=fine.shape[2:])
        first = self.smooth[0](fine)
        second = self.smooth[1](middle) + self.down[0](first)
        third = self.smooth[2](coarse) + self.down[1](second)
        levels = first, self.after[0](second), self.after[1](third)
        return [head(level) for head, level in zip(self.heads, levels, strict=True)]

    def in_teachers_order(self) -> list[nn.Conv2d]:
        """Return the convolutions in the order of SCRFD's file, each head's last one thrice."""
        backbone = [self.stem, *_convolutions(self.eighth), *_convolutions(self.sixteenth), *_convolutions(self.last)]
        neck = [*self.side, *self.smooth, *self.down, *self.after]
        heads = [conv for head in self.heads for conv in [*_convolutions(head.pairs), *[head.say] * 3]]
        return [module for module in [*backbone, *neck, *heads] if isinstance(module, nn.Conv2d)]


def _convolutions(part: nn.Module) -> list[nn.Module]:
    return [module for module in part.modules() if isinstance(module, nn.Conv2d)]


def read_teacher(file: Path) -> Detector:
    """Return the teacher as a network of this module, from its ONNX file."""
    network = Detector(TEACHER)
    graph = onnx.load(file).graph
    weights = {entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy()) for entry in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    ends = [0, PER_PLACE[0], sum(PER_PLACE[:2]), sum(PER_PLACE)]
    said = 0
    for module, node in zip(network.in_teachers_order(), nodes, strict=True):
        weight, bias = weights[node.input[1]], weights[node.input[2]]
        rows = slice(None)
        if module.out_channels == ends[-1]:
            rows = slice(ends[said % 3], ends[said % 3 + 1])
            said += 1
        module.weight.data[rows], module.bias.data[rows] = weight, bias
    return network.eval()
