"""What fuzzing found worth keeping is looked at again: `make fuzz` finds more."""

from __future__ import annotations

import pytest

from tests.apart import lines_of
from tests.fuzz.__main__ import kept

PICTURES = {"picture", "unsupported_format", "unreadable_photo", "photo_too_large", "photo_too_small"}


def replayed(target: str) -> dict[str, str]:
    """What came of each input."""
    lines = lines_of("tests.fuzz", "replay", target, timeout_s=300)
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
