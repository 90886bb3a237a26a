"""Steps that make pictures."""

from __future__ import annotations

from typing import Any

from selfiegate.enrolment import protocol
from selfiegate.ingestion.photo_requests import Arrival, arrivals
from selfiegate.model import Claim, Face
from selfiegate.runtime import runtime
from tasks.steps import step


@step("make thumbnail of {claim.photo.name}")
def make_thumbnail(claim: Claim, face: Face) -> dict[str, str]:
    """Store the thumbnails and return size to where each lies."""
    return protocol.make_thumbnails(runtime(), claim, face)


@step("find the photos of an event")
def find_uploads(event: dict[str, Any]) -> list[Arrival]:
    """Return each photo of an event, pinned to a version, with its user."""
    return arrivals(runtime().settings, runtime().photos, event)
