"""Steps that read events."""

from __future__ import annotations

from typing import Any

from selfiegate.ingestion.messages import Event, Upload, read_event
from selfiegate.ingestion.photo_requests import PhotoRequest, photo_request
from selfiegate.runtime import runtime
from tasks.steps import step


@step("read the event")
def read_uploads(event: dict[str, Any]) -> Event:
    """Return each upload of an event, and what is wrong with the others."""
    return read_event(event)


@step("find {upload.key}")
def find_photo(upload: Upload) -> PhotoRequest | None:
    """Return an upload's photo, pinned to a version, with its user; None for our own thumbnails."""
    return photo_request(runtime().settings, runtime().photos, upload)
