"""Write the detector as SCRFD's file: nine outputs, any input size; with a second look at a quarter of the size.

A face that fills the picture is too large for the widest anchors of a 640 pixel input, but at a quarter it is found
at stride 16. The second look shares all weights, costs a sixteenth, and speaks through the places of stride 32: each
of its places, 64 pixels of the input apart, answers for two by two of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from training.tiny.detector import PER_PLACE, STRIDES, Detector, Head
from training.tiny.export import Graph

QUARTER = 4
CLOSE_UP_WEIGHT = 0.35
"""Factor of a close-up's logit above 0: it stays above a threshold of 0.5, but the first look's boxes, which are
sharper, are surer where both find a face."""

KINDS = ("score", "box", "landmarks")


class _Writer:
    """Writes one network's layers, each weight once however often it is used."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._weights: dict[tuple[nn.Conv2d, bool], tuple[str, str]] = {}

    def conv(self, layer: nn.Conv2d, values: str, *, relu: bool = False, one_more: bool = False) -> str:
        """Add a convolution; `one_more` adds a channel that is 1 everywhere."""
        if (layer, one_more) not in self._weights:
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr]
            if one_more:
                weight = np.concatenate([weight, np.zeros_like(weight[:1])])
                bias = np.append(bias, np.float32(1))
            self._weights[layer, one_more] = self.graph.packed(weight), self.graph.exact(bias)
        side = layer.kernel_size[0]
        values = self.graph.run(
            "Conv",
            values,
            *self._weights[layer, one_more],
            kernel_shape=[side, side],
            pads=[side // 2] * 4,
            strides=list(layer.stride),
            group=layer.groups,
        )
        return self.graph.run("Relu", values) if relu else values

    def pairs(self, part: nn.Sequential, values: str) -> str:
        for pair in part:
            values = self.conv(pair.mix, self.conv(pair.look, values, relu=True), relu=True)  # type: ignore[arg-type]
        return values

    def levels(self, network: Detector, pictures: str) -> list[str]:
        """Add everything before the heads."""
        fine = self.pairs(network.eighth, self.conv(network.stem, pictures, relu=True))
        middle = self.pairs(network.sixteenth, fine)
        coarse = self.pairs(network.last, middle)
        fine, middle, coarse = (
            self.conv(side, v) for side, v in zip(network.side, (fine, middle, coarse), strict=True)
        )
        middle = self.add(middle, self._enlarged(coarse, middle))
        fine = self.add(fine, self._enlarged(middle, fine))
        first = self.conv(network.smooth[0], fine)
        second = self.add(self.conv(network.smooth[1], middle), self.conv(network.down[0], first))
        third = self.add(self.conv(network.smooth[2], coarse), self.conv(network.down[1], second))
        return [first, self.conv(network.after[0], second), self.conv(network.after[1], third)]

    def head(self, head: Head, values: str, *, one_more: bool = False) -> str:
        return self.conv(head.say, self.pairs(head.pairs, values), one_more=one_more)

    def add(self, one: str, other: str) -> str:
        return self.graph.run("Add", one, other)

    def cut(self, values: str, like: str) -> str:
        """Cut a map to the height and width of another; where sides are odd, a doubled map is one too large."""
        run, exact = self.graph.run, self.graph.exact
        size = run("Slice", run("Shape", like), exact(np.array([2])), exact(np.array([4])))
        return run("Slice", values, exact(np.array([0, 0])), size, exact(np.array([2, 3])))

    def _enlarged(self, values: str, like: str) -> str:
        scales = self.graph.exact(np.array([1, 1, 2, 2], np.float32))
        doubled = self.graph.run(
            "Resize",
            values,
            "",
            scales,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
        return self.cut(doubled, like)


def save_detector(network: Detector, file: Path) -> None:
    """Write the network with its second look."""
    graph = Graph()
    writer = _Writer(graph)
    maps = [
        writer.head(head, level) for head, level in zip(network.heads, writer.levels(network, "picture"), strict=True)
    ]
    quarter = graph.exact(np.array([1, 1, 1 / QUARTER, 1 / QUARTER], np.float32))
    # As cv2.resize would; onnxruntime's AveragePool of three channels takes twice the time.
    small = graph.run("Resize", "picture", "", quarter, mode="linear", coordinate_transformation_mode="half_pixel")
    close = writer.head(network.heads[1], writer.levels(network, small)[1], one_more=True)
    close = writer.cut(graph.run("ConvTranspose", close, graph.exact(_doubling()), strides=[2, 2]), maps[2])
    rows = [_rows(graph, values) for values in (*maps, close)]
    *rows, (close_score, *close_places) = rows
    lower = graph.run(
        "Min", close_score, graph.run("Mul", close_score, graph.exact(np.array(CLOSE_UP_WEIGHT, np.float32)))
    )
    better = graph.run("Greater", lower, rows[2][0])
    rows[2] = [
        graph.run("Where", better, other, first) for first, other in zip(rows[2], [lower, *close_places], strict=True)
    ]
    outputs = []
    for kind, name in enumerate(KINDS):
        for stride, level in zip(STRIDES, rows, strict=True):
            operator = "Sigmoid" if kind == 0 else "Identity"
            graph.run(operator, level[kind], output=f"{name}_{stride}")
            shape = [f"places_{stride}", PER_PLACE[kind] // 2]
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, shape))
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, "height", "width"])
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph.model("det_tiny", [picture], outputs), file)


def _rows(graph: Graph, values: str) -> list[str]:
    """Turn a map into SCRFD's rows, one an anchor: (n, 1), (n, 4) and (n, 10)."""
    last = graph.run("Transpose", values, perm=[0, 2, 3, 1])
    parts = graph.split(last, list(PER_PLACE), axis=3)
    return [
        graph.run("Reshape", part, graph.exact(np.array([-1, width // 2])))
        for part, width in zip(parts, PER_PLACE, strict=True)
    ]


def _doubling() -> np.ndarray:
    """Return weights (31, 30, 2, 2) that turn a place 64 pixels apart from the next into four that are 32 apart.

    Lengths double with the stride's halving, and what is measured from a place moves with it; the channel of ones
    brings the move.
    """
    weights = np.zeros((sum(PER_PLACE) + 1, sum(PER_PLACE), 2, 2), np.float32)
    for channel in range(sum(PER_PLACE)):
        weights[channel, channel] = 1 if channel < PER_PLACE[0] else 2
    places = np.arange(2, dtype=np.float32)
    for channel in range(PER_PLACE[0], sum(PER_PLACE)):
        landmark = channel >= PER_PLACE[0] + PER_PLACE[1]
        which = (channel - PER_PLACE[0]) % (2 if landmark else 4)
        sign = -1 if landmark or which >= 2 else 1
        weights[-1, channel] = sign * (places[None, :] if which % 2 == 0 else places[:, None])
    return weights
