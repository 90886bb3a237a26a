"""Writes a network as the ONNX file that the product loads."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import nn

OPSET = 17


def export(network: nn.Module, size: tuple[int, int], path: Path, facts: dict[str, str], name: str = "crops") -> None:
    """Write a file with `facts` as metadata: RGB crops (faces, 3, *size) under `name` to `probabilities` (faces, n)."""
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, *size),),
        str(path),
        input_names=[name],
        output_names=["probabilities"],
        dynamic_axes={name: {0: "faces"}, "probabilities": {0: "faces"}},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
