"""Steps that make pictures."""

from __future__ import annotations

from typing import Any

from selfiegate import enrolment
from selfiegate.events import uploads
from selfiegate.keys import KeyTemplate
from selfiegate.model import ETAG, Claim, Face, PhotoRef, user_id_of
from selfiegate.runtime import runtime
from tasks.steps import step


@step("make thumbnail of {claim.photo.name}")
def make_thumbnail(claim: Claim, face: Face) -> dict[str, str]:
    """Store the thumbnails and return size to where each lies."""
    return enrolment.make_thumbnails(runtime(), claim, face)


@step("find the photos of an event")
def find_uploads(event: dict[str, Any]) -> list[tuple[PhotoRef, str]]:
    """Return each photo of an event, pinned, with its user; a version that the event tells is taken."""
    rt, found = runtime(), []
    template = KeyTemplate(rt.settings.key_template)
    for upload in uploads(event):
        if upload.bucket == rt.settings.aws.thumbnail_bucket:
            continue  # our own thumbnails must not come round as photos
        user_id = user_id_of(upload.user_id) if upload.user_id else template.user_of(upload.key)
        version = upload.version or (f'{ETAG}"{upload.etag}"' if upload.etag else "")
        pinned = PhotoRef(bucket=upload.bucket, key=upload.key, version=version) if version else None
        found.append((pinned or rt.photos.find(f"s3://{upload.bucket}/{upload.key}"), user_id))
    return found
