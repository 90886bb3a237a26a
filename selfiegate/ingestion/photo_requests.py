"""The photos that an event tells of, each pinned to a version and with its user."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from selfiegate.clock import LAST_MOMENT
from selfiegate.errors import WrongInput
from selfiegate.ingestion.messages import Upload
from selfiegate.key_template import KeyTemplate
from selfiegate.model import ETAG, PhotoRef
from selfiegate.ports import PhotoStore
from selfiegate.settings import Settings
from selfiegate.user_ids import UserId, user_id_of
from selfiegate.values import Value


class PhotoRequest(Value):
    """One photo to be processed: the parameters of the flow."""

    photo: PhotoRef
    user_id: UserId
    upload_order: str = Field("", description="See `Claim.upload_order`; empty where the event tells no time")


def photo_request(settings: Settings, photos: PhotoStore, upload: Upload) -> PhotoRequest | None:
    """Return one upload with its user; None for our own thumbnails, lest they come round as photos.

    Raises `WrongInput` for a photo that names no user and one that is not there.
    """
    if upload.bucket == settings.aws.thumbnail_bucket:
        return None
    if settings.aws.event_buckets and upload.bucket not in settings.aws.event_buckets:
        raise WrongInput(f"the bucket {upload.bucket!r} is not among SELFIEGATE_AWS__EVENT_BUCKETS")
    order = _order(upload)
    photo = _pinned(photos, upload)
    user_id = user_id_of(_user(settings, photos, upload, photo), settings.backend)
    return PhotoRequest(photo=photo, user_id=user_id, upload_order=order)


def _user(settings: Settings, photos: PhotoStore, upload: Upload, photo: PhotoRef) -> str:
    if upload.user_id:
        return user_id_of(upload.user_id)
    if not settings.user_metadata:
        return KeyTemplate(settings.key_template).user_of(upload.key)
    try:
        return user_id_of(photos.metadata(photo)[settings.user_metadata.lower()])
    except KeyError:
        raise WrongInput(f"{photo.uri!r} has no metadata {settings.user_metadata!r} that names its user") from None


def _pinned(photos: PhotoStore, upload: Upload) -> PhotoRef:
    """Take the version that the event tells; one that tells none means the present one."""
    version = upload.version or (f'{ETAG}"{upload.etag}"' if upload.etag else "")
    if not version:
        return photos.find(f"s3://{upload.bucket}/{upload.key}")
    return PhotoRef(bucket=upload.bucket, key=upload.key, version=version)


def _order(upload: Upload) -> str:
    """Microseconds since 1970, then the sequencer: EventBridge tells whole seconds."""
    if not upload.time:
        return ""
    try:
        time = datetime.fromisoformat(upload.time)
    except ValueError:
        raise WrongInput(f"the event's time {upload.time[:40]!r} is not ISO 8601") from None
    time = time.replace(tzinfo=time.tzinfo or UTC)
    return f"{min(max(0, int(time.timestamp() * 1e6)), LAST_MOMENT):016d}.{upload.sequencer.upper():0>32}"
