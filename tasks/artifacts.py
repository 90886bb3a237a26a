"""Pages and tables attached to runs, for people; no run depends on one."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from prefect import get_run_logger

T = TypeVar("T")


async def attached(artifact: Awaitable[T]) -> T | None:
    """Await the making of an artifact; what it was made about is done, so that a failure is a warning."""
    try:
        return await artifact
    except Exception as error:  # whatever Prefect's client raises
        get_run_logger().warning("an artifact could not be attached: %s", error)
        return None
