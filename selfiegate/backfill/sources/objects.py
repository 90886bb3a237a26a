"""Objects in S3 as entries: whose they are, and by what they are pinned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from selfiegate.backfill.listing import Entry, Fault
from selfiegate.clock import LAST_MOMENT
from selfiegate.decoding.decode import named_like_photo
from selfiegate.errors import WrongInput
from selfiegate.ingestion.messages import Upload, uploads
from selfiegate.key_template import MAX_KEY
from selfiegate.model import ETAG

UserOf = Callable[[str], str]
"""The user that a key belongs to; raises `WrongInput` where that is not certain."""


def object_entries(found: Iterable[Upload | Fault], user_of: UserOf) -> Iterator[Entry | Fault]:
    """Turn each object that is named like a photo into an entry, or a fault that says why not."""
    for one in found:
        if isinstance(one, Fault):
            yield one
        elif named_like_photo(one.key):
            yield _entry(one, user_of)


def batch_entries(source: str, bucket: object, images: Iterable[object]) -> Iterator[Entry | Fault]:
    """Turn each image of the workshop's batch into an entry; one that is malformed spoils no other."""
    for number, image in enumerate(images):
        try:
            (upload,) = uploads({"s3Bucket": bucket, "images": [image]})
        except WrongInput as error:
            yield Fault(where=f"{source}, image {number}", why=str(error))
        else:
            yield _entry(upload, user_of=lambda _: "")


def micros(time: datetime) -> int:
    """Return microseconds since 1970, within what an entry may hold."""
    elapsed = time.replace(tzinfo=time.tzinfo or UTC).timestamp()
    return min(max(0, round(elapsed * 1e6)), LAST_MOMENT)


def _entry(upload: Upload, user_of: UserOf) -> Entry | Fault:
    uri = f"s3://{upload.bucket}/{upload.key}"
    try:
        _check(upload.key)
        user_id = upload.user_id or user_of(upload.key)
        return Entry(uri=uri, user_id=user_id, version=_version(upload), modified=_modified(upload.time))
    except WrongInput as error:
        return Fault(where=uri, why=str(error))


def _check(key: str) -> None:
    if len(key.encode()) > MAX_KEY:
        raise WrongInput(f"the key is longer than S3's {MAX_KEY} bytes")
    if "\0" in key or re.search(r"(^|/)\.\.?(/|$)", key):
        raise WrongInput("the key holds a NUL, or a '.' or '..' between slashes, which programs read in different ways")


def _version(upload: Upload) -> str:
    return upload.version or (f'{ETAG}"{upload.etag}"' if upload.etag else "")


def _modified(time: str) -> int:
    try:
        return micros(datetime.fromisoformat(time)) if time else 0
    except (ValueError, OverflowError):
        raise WrongInput(f"the time {time[:40]!r} is not ISO 8601") from None
