"""The recogniser: the teacher's MobileFaceNet, narrower at the start and with cheaper activations.

Nearly half of the teacher's time goes into PReLU, which onnxruntime runs on its own; a leaky ReLU with one slope a
layer runs inside the convolution. Where pictures are still large, PReLU's slopes therefore move to one slope a layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from onnx import NodeProto, numpy_helper
from torch import Tensor, nn

WIDTH = 512


class Shape(NamedTuple):
    """How wide the start is, and whether its second layer mixes pairs of channels or leaves each alone."""

    start: int
    pairs: bool


TEACHER = Shape(128, pairs=True)
STUDENT = Shape(96, pairs=False)
MIDDLE = 64
BLOCKS = 4, 6, 2
"""Residual blocks of the three stages, after the one that halves the map."""


class Slope(nn.Module):
    """A leaky ReLU whose slopes, one a channel, can draw together: `spread` 1 is a PReLU, 0 has one slope."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.common = nn.Parameter(torch.zeros(()))
        self.own = nn.Parameter(torch.zeros(channels))
        self.spread = 1.0

    def forward(self, values: Tensor) -> Tensor:
        if self.spread == 0:
            return torch.maximum(values, values * self.common)
        return nn.functional.prelu(values, self.common + self.spread * self.own)


class Layer(nn.Sequential):
    """A convolution, and a slope unless it is linear."""

    def __init__(self, inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups), Slope(outputs))


class Bottleneck(nn.Module):
    """Widen, look around, narrow; at stride 1 what went in is added."""

    def __init__(self, inputs: int, wide: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.widen = Layer(inputs, wide)
        self.look = Layer(wide, wide, 3, stride, wide)
        self.narrow = nn.Conv2d(wide, outputs, 1)
        self.adds = stride == 1

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.narrow(self.look(self.widen(values)))
        return values + out if self.adds else out


class Recogniser(nn.Module):
    """Map aligned faces (N, 3, 112, 112), RGB -1..1, to embeddings (N, 512), not normalised."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.stem = Layer(3, shape.start, 3, 2)
        self.mix = Layer(shape.start, shape.start, 3, 1, 64 if shape.pairs else shape.start)
        self.early = _stage(Bottleneck(shape.start, 128, 128, 2), BLOCKS[0])
        self.late = _stage(Bottleneck(128, 256, 256, 2), BLOCKS[1])
        self.last = _stage(Bottleneck(256, 512, 256, 2), BLOCKS[2])
        self.widen, self.narrow = Layer(256, 512), Layer(512, MIDDLE)
        self.embed = nn.Linear(MIDDLE * 49, WIDTH)

    def forward(self, faces: Tensor) -> Tensor:
        values = self.last(self.late(self.early(self.mix(self.stem(faces)))))
        embeddings: Tensor = self.embed(self.narrow(self.widen(values)).flatten(1))
        return embeddings

    def fused(self) -> list[Slope]:
        """Return the slopes that run inside their convolution once each layer has one: where pictures are large."""
        parts = [self.stem, self.mix, self.early, self.late[0]]
        return [module for part in parts for module in part.modules() if isinstance(module, Slope)]


def _stage(first: Bottleneck, blocks: int) -> nn.Sequential:
    channels = first.narrow.out_channels
    return nn.Sequential(first, *(Bottleneck(channels, channels, channels) for _ in range(blocks)))


def read_teacher(file: Path) -> Recogniser:
    """Return the teacher as a network of this module, from its ONNX file."""
    network = Recogniser(TEACHER)
    graph = onnx.load(file).graph
    weights = {entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy()) for entry in graph.initializer}
    modules = list(network.modules())
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    for module, node in zip(convolutions, _nodes(graph, "Conv"), strict=True):
        module.weight.data, module.bias = weights[node.input[1]], nn.Parameter(weights[node.input[2]])
    slopes = [module for module in modules if isinstance(module, Slope)]
    for slope, node in zip(slopes, _nodes(graph, "PRelu"), strict=True):
        values = weights[node.input[1]].flatten()
        slope.common.data, slope.own.data = values.mean(), values - values.mean()
    [matrix], [norm], add = _nodes(graph, "MatMul"), _nodes(graph, "BatchNormalization"), _nodes(graph, "Add")[-1]
    gamma, beta, mean, variance = (weights[name] for name in norm.input[1:])
    factor = gamma / torch.sqrt(variance + next((entry.f for entry in norm.attribute if entry.name == "epsilon"), 1e-5))
    bias = next(weights[name] for name in add.input if name in weights)
    network.embed.weight.data = (weights[matrix.input[1]] * factor).T.contiguous()
    network.embed.bias.data = (bias - mean) * factor + beta
    return network.eval()


def _nodes(graph: onnx.GraphProto, kind: str) -> list[NodeProto]:
    return [node for node in graph.node if node.op_type == kind]
