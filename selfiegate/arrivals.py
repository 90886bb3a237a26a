"""The photos that an event tells of, each pinned to a version and with its user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfiegate.events import Upload, uploads
from selfiegate.keys import KeyTemplate
from selfiegate.model import ETAG, PhotoRef, user_id_of
from selfiegate.runtime import Runtime


def arrivals(rt: Runtime, event: Mapping[str, Any]) -> list[tuple[PhotoRef, str]]:
    """Return each photo of an event with its user; our own thumbnails are left out, lest they come round as photos.

    Raises `WrongInput` for a malformed event, a key that names no user and a photo that is not there.
    """
    template = KeyTemplate(rt.settings.key_template)
    return [
        (_pinned(rt, upload), user_id_of(upload.user_id) if upload.user_id else template.user_of(upload.key))
        for upload in uploads(event)
        if upload.bucket != rt.settings.aws.thumbnail_bucket
    ]


def _pinned(rt: Runtime, upload: Upload) -> PhotoRef:
    """Take the version that the event tells; one that tells none means the present one."""
    version = upload.version or (f'{ETAG}"{upload.etag}"' if upload.etag else "")
    if not version:
        return rt.photos.find(f"s3://{upload.bucket}/{upload.key}")
    return PhotoRef(bucket=upload.bucket, key=upload.key, version=version)
