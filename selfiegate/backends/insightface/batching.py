"""Makes a detector take many pictures in one call: SCRFD is exported for one, its heads lay all places in one row.

Only the last operations of the heads have to change. A head ends in a transposition and a reshape, which put the
places of all pictures behind each other. Here they keep the pictures apart, (pictures, places, 1 | 4 | 10). The surest
places are given, and their numbers. Pixels go in as bytes, and the network scales them: a quarter of the data.

A graph is taken only where it is proved: pictures together give what each gives in the pack's own graph. A detector
of another build that resists is run one picture at a time. The rewriting takes 50 ms, so nothing is cached that could
be stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PIXELS = "pixels"
"""Name of the rewritten graph's input: RGB bytes, (pictures, height, width, 3)."""

KEPT = 128
"""Places of each level that a rewritten graph gives; a face covers about ten."""

ANCHORS = {3: 2, 5: 1}
"""Levels of a detector to its anchors at each place, as SCRFD and insightface have them."""

_MEAN, _SCALE = 127.5, 1 / 128
"""SCRFD's input is (value - mean) * scale."""

_ROWS_FIRST = ([2, 3, 0, 1], [0, 2, 3, 1])
"""The transposition of a head as it is exported, and with the picture kept first; in both places go row by row."""


class Unbatchable(ValueError):
    """The graph is not built like SCRFD."""


def batched_detector(file: Path, size: tuple[int, int]) -> bytes:
    """Return the graph of a detector that takes any number of pictures of one size (width, height), as bytes.

    Raises `Unbatchable` where its heads are not SCRFD's.
    """
    model = onnx.load(file)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    (given,) = (value for value in graph.input if value.name not in weights)
    for node in list(_heads(graph)):
        if node.op_type == "Transpose":
            _keep_pictures_first(node)
        else:
            _keep_pictures_apart(graph, node, weights)
    _take_pixels(graph, given, size)
    _keep_the_surest(graph, size)
    del graph.value_info[:]  # what was inferred for one picture
    return bytes(model.SerializeToString())


def _heads(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the transpositions and reshapes between the last convolutions and the outputs."""
    makers = {name: node for node in graph.node for name in node.output}
    left, seen = [output.name for output in graph.output], set[str]()
    while left:
        name = left.pop()
        node = makers.get(name)
        if node is None or name in seen or node.op_type == "Conv":
            continue
        seen.add(name)
        if node.op_type in ("Transpose", "Reshape"):
            yield node
        left += node.input


def _keep_pictures_first(node: onnx.NodeProto) -> None:
    (order,) = (attribute for attribute in node.attribute if attribute.name == "perm")
    if list(order.ints) not in _ROWS_FIRST:
        raise Unbatchable(f"{node.name} transposes by {list(order.ints)}")
    order.ints[:] = _ROWS_FIRST[1]


def _keep_pictures_apart(graph: onnx.GraphProto, node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> None:
    constants = {one.output[0]: one.attribute[0].t for one in graph.node if one.op_type == "Constant"}
    shape = weights.get(node.input[1]) or constants.get(node.input[1])
    target = numpy_helper.to_array(shape).tolist() if shape is not None else []
    if target[-2:-1] != [-1] or target[:-2] not in ([], [1], [0]):
        raise Unbatchable(f"{node.name} reshapes to {target}")
    kept = f"{node.output[0]} of each picture"
    graph.initializer.append(numpy_helper.from_array(np.array([0, -1, target[-1]], np.int64), kept))
    node.input[1] = kept


def _keep_the_surest(graph: onnx.GraphProto, size: tuple[int, int]) -> None:
    """Give of each level the `KEPT` places of the highest scores, and which places these are, row by row.

    A picture's 16,800 places at 640 pixels take as long to copy from a GPU as the network takes to run.
    """
    names = [output.name for output in graph.output]
    levels = len(names) // 3
    if levels not in ANCHORS or len(names) % 3:
        raise Unbatchable(f"it has {len(names)} outputs")
    del graph.output[:]
    values: dict[str, list[onnx.ValueInfoProto]] = {"scores": [], "sides": [], "points": [], "places": []}
    for level in range(levels):
        scores, sides, points = names[level::levels]
        there = ANCHORS[levels] * (size[0] // (8 * 2**level)) * (size[1] // (8 * 2**level))
        kept = min(KEPT, there)
        graph.initializer.append(numpy_helper.from_array(np.array([kept], np.int64), f"kept {level}"))
        given = {kind: f"{kind} {level}" for kind in values}
        graph.node.append(
            helper.make_node("TopK", [scores, f"kept {level}"], [given["scores"], given["places"]], axis=1)
        )
        for kind, source, width in (("sides", sides, 4), ("points", points, 10)):
            graph.node.append(helper.make_node("Concat", [given["places"]] * width, [f"{given[kind]} at"], axis=2))
            graph.node.append(helper.make_node("GatherElements", [source, f"{given[kind]} at"], [given[kind]], axis=1))
        for kind, width in (("scores", 1), ("sides", 4), ("points", 10), ("places", 1)):
            of_type = TensorProto.INT64 if kind == "places" else TensorProto.FLOAT
            values[kind].append(helper.make_tensor_value_info(given[kind], of_type, ["pictures", kept, width]))
    for each in values.values():
        graph.output.extend(each)


def _take_pixels(graph: onnx.GraphProto, given: onnx.ValueInfoProto, size: tuple[int, int]) -> None:
    """Put before the graph what makes its input of bytes."""
    width, height = size
    for name, value in (("mean", _MEAN), ("scale", _SCALE)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"{PIXELS} {name}"))
    steps = [
        helper.make_node("Transpose", [PIXELS], [f"{PIXELS} in planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [f"{PIXELS} in planes"], [f"{PIXELS} as numbers"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{PIXELS} as numbers", f"{PIXELS} mean"], [f"{PIXELS} centred"]),
        helper.make_node("Mul", [f"{PIXELS} centred", f"{PIXELS} scale"], [given.name]),
    ]
    nodes = [*steps, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    given.CopyFrom(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["pictures", height, width, 3]))
