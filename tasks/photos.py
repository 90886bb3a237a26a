"""Steps that read events."""

from __future__ import annotations

from typing import Any

from selfiegate.ingestion.photo_requests import Arrival, arrivals
from selfiegate.runtime import runtime
from tasks.steps import step


@step("find the photos of an event")
def find_uploads(event: dict[str, Any]) -> list[Arrival]:
    """Return each photo of an event, pinned to a version, with its user."""
    return arrivals(runtime().settings, runtime().photos, event)
