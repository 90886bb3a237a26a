"""What fuzzing found worth keeping is looked at again: `make fuzz` finds more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import kept

PICTURES = {"picture", "unsupported_format", "unreadable_photo", "photo_too_large", "photo_too_small"}


def replayed(target: str) -> dict[str, str]:
    """What came of each input, in a process that may crash, hang or run out of memory by itself."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "replay", target],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, f"after {lines[-1:]}: {run.stderr[-2000:]}"
    return {line["name"]: line["outcome"] for line in lines}


def test_each_kept_file_is_a_picture_or_has_a_reason() -> None:
    found = replayed("decode")

    assert found.keys() == kept("decode").keys()
    assert set(found.values()) == PICTURES


def test_each_kept_text_is_read_or_wrong_input() -> None:
    found = replayed("events")

    assert found.keys() == kept("events").keys()
    assert {"WrongInput", "1 uploads", "Entry", "Fault", "user", "no user", "no template"} <= set(found.values())


@pytest.mark.parametrize("target", ["decode", "events"])
def test_what_is_kept_is_small(target: str) -> None:
    assert len(kept(target)) >= 50
    assert sum(map(len, kept(target).values())) <= 200_000
