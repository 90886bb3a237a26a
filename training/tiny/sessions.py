"""onnxruntime on one thread, as every figure here is measured."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

TEACHER = Path("insightface/models/buffalo_sc_dequant")
"""The teacher's pack, below the folder beside the project."""


def one_thread() -> onnxruntime.SessionOptions:
    """Return session options that keep an inference on one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


def session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """Open a model, from its file or its bytes, on one thread of the CPU."""
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, one_thread(), providers=["CPUExecutionProvider"])
