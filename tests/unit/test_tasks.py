"""Tasks take and give references: nothing biometric reaches Prefect."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prefect import Task

from selfiegate.errors import BackendUnavailable
from selfiegate.runtime import Runtime, open_with, using
from selfiegate.settings import Settings
from tasks.blocks import open_with_blocks
from tasks.steps import opened

BIOMETRIC = (bytes, bytearray, memoryview, np.ndarray, np.generic, Image.Image)
MODULES = [path.stem for path in Path(__file__).parents[2].glob("tasks/*.py") if path.stem != "__init__"]
TASKS = [
    value
    for name in MODULES
    for value in vars(importlib.import_module(f"tasks.{name}")).values()
    if isinstance(value, Task)
]


def types_in(hint: object) -> list[object]:
    """Return a type and all that it is made of, the fields of models too."""
    parts = [part for argument in typing.get_args(hint) for part in types_in(argument)]
    fields = getattr(hint, "model_fields", {})
    return [hint, typing.get_origin(hint), *parts, *(p for f in fields.values() for p in types_in(f.annotation))]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_no_task_takes_or_gives_pictures_or_embeddings(task: Task[..., Any]) -> None:
    for hint in typing.get_type_hints(inspect.unwrap(task.fn)).values():
        assert not any(isinstance(part, type) and issubclass(part, BIOMETRIC) for part in types_in(hint)), hint


def test_every_step_is_looked_at() -> None:
    assert {task.fn.__name__ for task in TASKS} >= {
        "claim_photo",
        "judge_photo",
        "enrol_face",
        "save_profile",
        "accept",
    }


def test_opening_the_runtime_is_tried_again_where_a_store_does_not_answer(rt: Runtime) -> None:
    faults = [BackendUnavailable("a block is not given"), BackendUnavailable("nor now")]

    def opener(settings: Settings) -> Runtime:
        if faults:
            raise faults.pop()
        return rt

    open_with(opener)
    try:
        with using(None):  # none is open
            assert asyncio.run(opened()) is rt
    finally:
        open_with(open_with_blocks)
