"""What is loaded is what is set."""

from __future__ import annotations

import subprocess
import sys

import pytest

from selfiegate.runtime import memory_runtime, runtime, using

WITHOUT = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
from selfiegate.runtime import memory_runtime, open_photos
from selfiegate.settings import load_settings
import selfiegate.enrolment.protocol
open_photos(load_settings())
memory_runtime()
"""


@pytest.mark.parametrize("absent", [["boto3", "botocore"], ["insightface", "onnxruntime", "cv2"], ["prefect"]])
def test_the_product_needs_only_what_is_set(absent: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(absent=absent)], capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr


def test_a_replaced_runtime_is_given_back() -> None:
    with using(memory_runtime()) as outer:
        with using(memory_runtime()) as inner:
            assert runtime() is inner
        assert runtime() is outer
