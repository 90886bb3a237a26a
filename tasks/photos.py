"""Steps that read events."""

from __future__ import annotations

from typing import Any

from selfiegate.ingestion.photo_requests import PhotoRequest, photo_requests
from selfiegate.runtime import runtime
from tasks.steps import step


@step("find the photos of an event")
def find_uploads(event: dict[str, Any]) -> list[PhotoRequest]:
    """Return each photo of an event, pinned to a version, with its user."""
    return photo_requests(runtime().settings, runtime().photos, event)
