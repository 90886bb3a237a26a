"""ONNX files whose weights are int8: a Cast and a Mul give them back, which onnxruntime works out once, at loading.

The recogniser's last matrix, half of its weights, has four bits for each.

The layers themselves run on float32, so speed and operators are those of an ordinary file of four times the size.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from training.tiny.recogniser import Layer, Recogniser, Slope

PACK = Path("selfiegate/backends/insightface/packs/selfiegate_tiny")
OPSET = 13
TOGETHER = 49
"""Weights of a row that share a scale where four bits hold each: one channel of the recogniser's last map."""
SMALL = 512
"""Arrays with fewer values stay float32."""


class Graph:
    """Nodes and their weights, in the order in which they run."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._names = 0

    def name(self) -> str:
        """Return a name that was not given before."""
        self._names += 1
        return f"v{self._names}"

    def run(self, kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """Add an operator and return its output's name."""
        output = output or self.name()
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def split(self, values: str, widths: list[int], axis: int) -> list[str]:
        """Add a split and return the parts' names."""
        parts = [self.name() for _ in widths]
        self.nodes.append(helper.make_node("Split", [values, self.exact(np.array(widths))], parts, axis=axis))
        return parts

    def exact(self, values: NDArray[np.generic]) -> str:
        """Add an array as it is."""
        name = self.name()
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def packed(self, values: NDArray[np.float32]) -> str:
        """Add weights as int8 with one scale for each row, the first axis."""
        if values.size < SMALL:
            return self.exact(values)
        axes = tuple(range(1, values.ndim))
        scale = np.maximum(np.abs(values).max(axis=axes, keepdims=True) / 127, 1e-12).astype(np.float32)
        whole = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        return self.run("Mul", self.run("Cast", self.exact(whole), to=TensorProto.FLOAT), self.exact(scale))

    def halved(self, values: NDArray[np.float32]) -> str:
        """Add a matrix as four bits a weight, two weights a byte, with one scale for each `TOGETHER` of a row.

        Arithmetic unpacks it, since types of four bits are younger than the operators that are used here.
        """
        rows, columns = values.shape
        grouped = values.reshape(rows, -1, TOGETHER)
        scale = (np.abs(grouped).max(axis=2, keepdims=True) / 7).astype(np.float16)
        whole = np.clip(np.rint(grouped / scale.astype(np.float32)), -7, 7).reshape(rows, columns) + 8
        low, high = np.split(whole.astype(np.uint8), 2, axis=1)
        both = self.run("Cast", self.exact(high * 16 + low), to=TensorProto.FLOAT)
        sixteen = self.exact(np.array(16, np.float32))
        upper = self.run("Floor", self.run("Div", both, sixteen))
        lower = self.run("Sub", both, self.run("Mul", upper, sixteen))
        signed = self.run("Sub", self.run("Concat", lower, upper, axis=1), self.exact(np.array(8, np.float32)))
        groups = self.run("Reshape", signed, self.exact(np.array([rows, -1, TOGETHER])))
        scaled = self.run("Mul", groups, self.run("Cast", self.exact(scale), to=TensorProto.FLOAT))
        return self.run("Reshape", scaled, self.exact(np.array([rows, columns])))

    def convolution(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32], inputs: str, **attributes: object
    ) -> str:
        """Add a convolution that keeps the picture's size but for its strides."""
        side = weight.shape[-1]
        attributes = {"kernel_shape": [side, side], "pads": [side // 2] * 4, **attributes}
        return self.run("Conv", inputs, self.packed(weight), self.exact(bias), **attributes)

    def model(self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> ModelProto:
        """Return the checked model."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="selfiegate")
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model


def list_digests(pack: Path) -> None:
    """Write `SHA256SUMS`, which the product checks before it loads the pack."""
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(pack.glob("*.onnx"))]
    (pack / "SHA256SUMS").write_text("".join(lines))


def save_recogniser(network: Recogniser, file: Path) -> None:
    """Write the recogniser as `ArcFaceONNX` expects one: (N, 3, 112, 112) RGB -1..1 in, (N, 512) out."""
    graph = Graph()
    values = _layer(graph, network.stem, "faces")
    values = _layer(graph, network.mix, values)
    for block in (*network.early, *network.late, *network.last):
        before = values
        values = _layer(graph, block.look, _layer(graph, block.widen, values))
        values = graph.convolution(*_arrays(block.narrow), values)
        values = graph.run("Add", values, before) if block.adds else values
    values = _layer(graph, network.narrow, _layer(graph, network.widen, values))
    weight, bias = _arrays(network.embed)
    graph.run(
        "Gemm", graph.run("Flatten", values), graph.halved(weight), graph.exact(bias), output="embeddings", transB=1
    )
    model = graph.model(
        "rec_tiny",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 512])],
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, file)


def _layer(graph: Graph, layer: Layer, values: str) -> str:
    convolution, slope = layer
    values = graph.convolution(
        *_arrays(convolution), values, strides=list(convolution.stride), group=convolution.groups
    )
    return _slope(graph, slope, values)


def _slope(graph: Graph, slope: Slope, values: str) -> str:
    if slope.spread == 0:
        return graph.run("LeakyRelu", values, alpha=float(slope.common.detach()))
    each = (slope.common + slope.spread * slope.own).detach().numpy()
    return graph.run("PRelu", values, graph.exact(each[:, None, None]))


def _arrays(module: object) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return module.weight.detach().numpy(), module.bias.detach().numpy()
