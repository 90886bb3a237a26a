"""Events as photos: what AWS, S3-compatible stores and the workshop say about uploads, and whose photo a key is.

Known messages, as JSON text or parsed:

    {"userId", "s3Bucket", "s3Key"}            the workshop's, or {"s3Bucket", "images": [{"userId", "s3Key"}]}
    {"user_id", "bucket", "key"}               our own; may hold a version and a time, and no user_id
    {"Records": [{"eventName", "s3"}]}         S3 notifications, webhooks of MinIO and Ceph; keys are form-encoded
    {"source", "detail-type", "detail"}        EventBridge: S3's `Object Created`, or an S3 call seen by CloudTrail
    {"Type": "Notification", "Message"}        any of these in an SNS envelope
    {"Body"}, {"Records": [{"body"}]}          any of these in an SQS message, as boto3 or Lambda give it

Well-formed events that create no object (deletions, S3's test event, other services) name no photo.
Shapes: AWS's "Event message structure" (S3 notifications), "EventBridge event message structure" and
"Amazon S3 CloudTrail events"; MinIO's `webhook.go`. Ceph (`rgw_notify.cc`) form-encodes no key.
What is wrong raises `WrongInput`, never another error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from pydantic import Field

from selfiegate.errors import WrongInput
from selfiegate.key_template import MAX_KEY
from selfiegate.user_ids import user_id_of
from selfiegate.values import Value

_KNOWN = (
    "known are the workshop's userId, s3Bucket and s3Key (or s3Bucket and images), user_id, bucket and key, S3's "
    "Records, EventBridge's 'Object Created' of aws.s3, CloudTrail's PutObject, PostObject, CopyObject and "
    "CompleteMultipartUpload, and each of these in an SNS or SQS message"
)
_MAX_MESSAGE = 1 << 20
"""SQS and EventBridge carry a mebibyte at most."""
_MAX_TEXTS = 5
"""JSON text within JSON text; an event in SNS in SQS takes two."""
_MAX_FIELD = 4096
_CREATING = ("PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload")
# No slash: a bucket with one would be a folder on this machine (see `PhotoRef`).
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")


class Upload(Value):
    """One uploaded object, as far as its event tells; "" is "not told"."""

    bucket: str
    key: str = Field(description="As S3 knows it, decoded")
    version: str = Field("", description="S3 version id; the 'null' of unversioned objects pins nothing and is dropped")
    etag: str = Field("", description="Without quotation marks")
    sequencer: str = Field("", description="Hexadecimal; orders the events of one key once padded to equal length")
    time: str = Field("", description="When it was uploaded, in ISO 8601")
    user_id: str | None = Field(None, description="None where the event names none: see `KeyTemplate`")


class Event(NamedTuple):
    """What a message tells."""

    uploads: list[Upload]
    wrong: list[str]
    """What is wrong with each malformed record, or with the message."""


def uploads(message: str | bytes | Mapping[str, Any]) -> list[Upload]:
    """Return the uploads that a message tells of, none for an event of another kind.

    Raises `WrongInput` that names what is missing where any part of the message is malformed.
    """
    event = read_event(message)
    if event.wrong:
        raise WrongInput("; ".join(event.wrong))
    return event.uploads


def read_event(message: str | bytes | Mapping[str, Any]) -> Event:
    """Return the uploads that a message tells of, and of each malformed record what is wrong with it.

    A wrong record keeps back no other one.
    """
    wrong: list[str] = []
    try:
        return Event(_uploads(message, 0, wrong), wrong)
    except WrongInput as error:
        return Event([], [str(error)])


def _uploads(message: object, texts: int, wrong: list[str]) -> list[Upload]:
    if isinstance(message, str | bytes):
        return _uploads(_parsed(message, texts), texts + 1, wrong)
    if not isinstance(message, Mapping):
        raise WrongInput(f"the event is not an object but {type(message).__name__}; {_KNOWN}")
    match message:
        case {"Type": "Notification"}:
            return _uploads(_enclosed(message, "Message"), texts, wrong)
        case {"Body": _}:
            return _uploads(_enclosed(message, "Body"), texts, wrong)
        case {"Records": records}:
            return _each("Records", records, wrong, lambda record: _from_record(record, texts, wrong))
        case {"Event": "s3:TestEvent"} | {"Type": "SubscriptionConfirmation" | "UnsubscribeConfirmation"}:
            return []
        case {"source": str(), "detail-type": str(), "detail": Mapping()}:
            return _from_eventbridge(message)
        case {"images": images}:
            return _each("images", images, wrong, lambda image: [_from_workshop(message, image)])
    return [_from_line(message)]


def _from_line(event: Mapping[str, Any]) -> Upload:
    match event:
        case {"s3Bucket": _} | {"s3Key": _} | {"userId": _}:
            return _from_workshop(event, event)
        case {"bucket": _} | {"key": _} | {"user_id": _}:
            return _from_own(event)
    raise WrongInput(f"the event is of no known shape; {_KNOWN}")


def _each(name: str, items: object, wrong: list[str], read: Callable[[object], list[Upload]]) -> list[Upload]:
    """Read each item of a list, and note what is wrong with the others."""
    if not isinstance(items, list):
        raise WrongInput(f"the event's {name} is not a list; {_KNOWN}")
    found: list[Upload] = []
    for number, item in enumerate(items):
        try:
            found += read(item)
        except WrongInput as error:
            wrong.append(f"{name}[{number}]: {str(error).removesuffix(f'; {_KNOWN}')}")
    return found


def _parsed(text: str | bytes, texts: int) -> object:
    if texts == _MAX_TEXTS or len(text) > _MAX_MESSAGE:
        raise WrongInput(f"the event is larger than {_MAX_MESSAGE} bytes, or wrapped more than {_MAX_TEXTS} times")
    try:
        return json.loads(text)
    except RecursionError:
        raise WrongInput("the event is nested too deeply to be read") from None
    except ValueError as error:  # no JSON, no Unicode, or a number of thousands of digits
        raise WrongInput(f"the event is not JSON ({type(error).__name__}); {_KNOWN}") from None


def _from_workshop(outer: Mapping[str, Any], image: object) -> Upload:
    user_id = user_id_of(_text(image, "userId"))
    return _upload(_text(outer, "s3Bucket"), _text(image, "s3Key"), user_id=user_id)


def _from_own(event: Mapping[str, Any]) -> Upload:
    user_id = user_id_of(_text(event, "user_id")) if event.get("user_id") is not None else None
    more = {name: _told(event, name) for name in ("version", "time")}
    return _upload(_text(event, "bucket"), _text(event, "key"), user_id=user_id, **more)


def _from_record(record: object, texts: int, wrong: list[str]) -> list[Upload]:
    match record:
        case {"body": _}:
            return _uploads(_enclosed(record, "body"), texts, wrong)
        case {"Sns": _}:
            return _uploads(_enclosed(record, "Sns", "Message"), texts, wrong)
    name = _text(record, "eventName").removeprefix("s3:")  # MinIO writes the prefix, AWS does not
    if not name.startswith("ObjectCreated:"):
        return []
    key = _text(record, "s3", "object", "key")
    if _at(record, "eventSource") != "ceph:s3":
        key = _form_decoded(key)
    time = _told(record, "eventTime")
    return [_created(record, "s3", key, version="versionId", etag="eTag", time=time)]


def _form_decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise WrongInput("the event's s3.object.key is not form-encoded UTF-8") from None


def _from_eventbridge(event: Mapping[str, Any]) -> list[Upload]:
    if _at(event, "detail", "eventSource") == "s3.amazonaws.com":
        return _from_cloudtrail(event)
    if (event["source"], event["detail-type"]) != ("aws.s3", "Object Created"):
        return []
    key = _text(event, "detail", "object", "key")
    time = _told(event, "time")
    return [_created(event, "detail", key, version="version-id", etag="etag", time=time)]


def _created(event: object, part: str, key: str, *, version: str, etag: str, time: str) -> Upload:
    return _upload(
        _text(event, part, "bucket", "name"),
        key,
        version=_told(event, part, "object", version),
        etag=_told(event, part, "object", etag),
        sequencer=_told(event, part, "object", "sequencer"),
        time=time,
    )


def _from_cloudtrail(event: Mapping[str, Any]) -> list[Upload]:
    # A refused call is an event too, with an errorCode.
    if _at(event, "detail", "eventName") not in _CREATING or _at(event, "detail", "errorCode"):
        return []
    return [
        _upload(
            _text(event, "detail", "requestParameters", "bucketName"),
            _text(event, "detail", "requestParameters", "key"),
            version=_told(event, "detail", "responseElements", "x-amz-version-id"),
            time=_told(event, "detail", "eventTime"),
        )
    ]


def _upload(bucket: str, key: str, *, version: str = "", etag: str = "", **more: Any) -> Upload:
    if not _BUCKET.fullmatch(bucket):
        raise WrongInput(f"{bucket[:80]!r} is no name of a bucket: 3 to 255 letters, digits, dots, hyphens")
    if len(key.encode()) > MAX_KEY:
        raise WrongInput(f"the key {key[:80]!r}... is longer than S3's {MAX_KEY} bytes")
    if "\0" in key + version + etag + more.get("sequencer", ""):
        raise WrongInput(f"the key {key[:80]!r}, its version or sequencer holds NUL, which PostgreSQL cannot keep")
    version = "" if version == "null" else version
    return Upload(bucket=bucket, key=key, version=version, etag=etag.strip('"'), **more)


def _at(event: object, *path: str) -> object:
    for name in path:
        event = event.get(name) if isinstance(event, Mapping) else None
    return event


def _enclosed(event: object, *path: str) -> object:
    value = _at(event, *path)
    if not isinstance(value, str):
        raise WrongInput(f"the event has no text in {'.'.join(path)}; {_KNOWN}")
    return value


def _text(event: object, *path: str) -> str:
    if value := _told(event, *path):
        return value
    raise WrongInput(f"the event has no {'.'.join(path)}; {_KNOWN}")


def _told(event: object, *path: str) -> str:
    value = _at(event, *path)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_FIELD or re.search("[\ud800-\udfff]", value):
        raise WrongInput(f"the event's {'.'.join(path)} is not text of at most {_MAX_FIELD} characters")
    return value
