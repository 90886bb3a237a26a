"""What a test expects to be there."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def present(found: T | None) -> T:
    """Return what was looked up; fail where there is nothing."""
    assert found is not None
    return found
