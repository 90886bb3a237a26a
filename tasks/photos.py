"""Steps that make pictures."""

from __future__ import annotations

from selfiegate import enrolment
from selfiegate.model import Claim, Face
from selfiegate.runtime import runtime
from tasks.steps import step


@step("make thumbnail of {claim.photo.name}")
def make_thumbnail(claim: Claim, face: Face) -> dict[str, str]:
    """Store the thumbnails and return size to where each lies."""
    return enrolment.make_thumbnails(runtime(), claim, face)
