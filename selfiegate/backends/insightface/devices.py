"""Which device a pack's models run on: what is asked of onnxruntime, and what it really took."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import onnxruntime

from selfiegate.backends.insightface.pack import PackSettings
from selfiegate.cpus import available_cpus
from selfiegate.errors import BackendMisconfigured

_log = logging.getLogger(__name__)

ON_NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")


def wanted_providers(settings: PackSettings) -> list[str]:
    """Return the providers to ask for; raises `BackendMisconfigured` where onnxruntime lacks one that is named."""
    available = onnxruntime.get_available_providers()
    wanted = list(settings.providers) or ["CUDAExecutionProvider", "CPUExecutionProvider"]
    missing = [name for name in settings.providers if name not in available]
    if missing:
        raise BackendMisconfigured(
            f"onnxruntime has no {', '.join(missing)} here, only {', '.join(available)}; "
            "mend SELFIEGATE_INSIGHTFACE__PROVIDERS or install requirements-gpu.lock in the place of onnxruntime"
        )
    return [name for name in wanted if name in available]


def options_of(provider: str, settings: PackSettings) -> dict[str, str]:
    """Return a provider's own options; CUDA's exhaustive search for plans takes seconds for each count of photos."""
    plans = {"cudnn_conv_algo_search": "HEURISTIC"} if provider == "CUDAExecutionProvider" else {}
    return {"device_id": str(settings.device), **plans} if provider in ON_NVIDIA else {}


def device_of(sessions: Sequence[Any], wanted: Sequence[str], settings: PackSettings) -> str:
    """Return what the sessions really run on: onnxruntime takes another provider where one does not load.

    Raises `BackendMisconfigured` where that one was asked for by its name.
    """
    used = [session.get_providers() for session in sessions]
    unused = [name for name in wanted if not all(name in providers for providers in used)]
    runs_on = ", ".join(dict.fromkeys(providers[0] for providers in used))
    if not unused:
        return runs_on
    why = (
        "onnxruntime said above why: mostly that CUDA or cuDNN is missing or of another version "
        "(https://onnxruntime.ai/docs/install/#cuda-and-cudnn), or that this machine or container sees no GPU"
    )
    if settings.providers:
        raise BackendMisconfigured(
            f"{', '.join(unused)} of SELFIEGATE_INSIGHTFACE__PROVIDERS did not load, models would run on {runs_on}: "
            f"{why}; mend that, or take the name out of SELFIEGATE_INSIGHTFACE__PROVIDERS"
        )
    found = f"{runs_on}, for {', '.join(unused)} did not load"
    warn_once(f"the models run on {found}; {why}; SELFIEGATE_INSIGHTFACE__PROVIDERS={unused[0]} refuses to start then")
    return found


@cache
def warn_once(what: str) -> None:
    """Say something, once in a process."""
    _log.warning("%s", what)


def session_options(settings: PackSettings) -> Any:
    """Return how a session is to run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or available_cpus()
    options.log_severity_level = 3  # SCRFD at sizes it was not exported with warns about every output
    return options
