"""Where photos lie that exist already: folders, S3 prefixes, S3 Inventories, the workshop's batches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfiegate.backfill.listing import Entry, Fault
from selfiegate.backfill.sources.folder import beside, photos_below
from selfiegate.backfill.sources.inventory import Manifest, OpenData, rows_of
from selfiegate.backfill.sources.objects import UserOf, batch_entries, object_entries
from selfiegate.errors import WrongInput
from selfiegate.key_template import KeyTemplate
from selfiegate.settings import Settings
from selfiegate.user_ids import user_id_of

if TYPE_CHECKING:
    from selfiegate.stores.s3_listing import S3Listing

_KNOWN = (
    "a backfill takes a folder, s3://bucket/prefix, the manifest.json of an S3 Inventory, or a .json with the "
    "workshop's s3Bucket and images"
)
_MAX_JSON = 64 << 20
"""Some 500,000 images of a batch; an inventory's manifest has a few lines per million objects."""


def entries(source: str, settings: Settings, template: str | None = None) -> Iterator[Entry | Fault]:
    """Go through the photos of a source, in no order, and through what cannot be taken as one.

    - A folder: all regular files below it that are named like photos, hidden ones left out.
    - `s3://bucket/prefix`: the present version of each object named like a photo.
    - A path or `s3://` URI that ends in .json: the manifest of an S3 Inventory, or the workshop's batch, whose
      photos may have any name.

    The template (else `settings.key_template`) is held against the path below the folder, in S3 against the
    whole key, the prefix included; a batch names its users. Versions are those that S3's events tell, so that
    a photo that was processed already is known again; only an inventory of current versions alone tells none, and
    its photos are pinned by ETag. Those of files and batches are pinned when they are read.

    Raises `WrongInput` for a source that cannot be read as a whole, at once or when the damaged part is reached.
    """
    found = (_in_s3 if source.startswith("s3://") else _on_disk)(source, settings, template)
    return (_storable(one, settings.backend) for one in found)


def _storable(one: Entry | Fault, backend: str) -> Entry | Fault:
    """Return an entry, or a fault where the face backend cannot store its user id."""
    if isinstance(one, Fault):
        return one
    try:
        user_id_of(one.user_id, backend)
    except WrongInput as error:
        return Fault(where=one.uri, why=str(error))
    return one


def _on_disk(source: str, settings: Settings, template: str | None) -> Iterator[Entry | Fault]:
    try:
        path = Path(source).expanduser().resolve(strict=True)
        str(path).encode()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no such home, a ring of links
        raise WrongInput(f"cannot read {source!r}: {getattr(error, 'strerror', None) or error}; {_KNOWN}") from None
    if path.is_dir():
        return photos_below(path, _users(settings, template))
    if path.suffix.lower() != ".json" or not path.is_file():
        raise WrongInput(f"{source!r} is not a folder; {_KNOWN}; `selfiegate process` takes a single photo")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_JSON + 1)
    except OSError as error:
        raise WrongInput(f"cannot read {source!r}: {error.strerror}") from None
    return _named_in(source, content, lambda _, key: beside(path, key), settings, template)


def _in_s3(source: str, settings: Settings, template: str | None) -> Iterator[Entry | Fault]:
    parts = re.fullmatch(r"s3://([A-Za-z0-9._-]{3,255})(?:/(.*))?", source, re.DOTALL)
    if parts is None:
        raise WrongInput(f"{source!r} names no bucket; write s3://bucket/prefix")
    bucket, key = parts[1], parts[2] or ""
    objects = _s3(settings)
    if not key.lower().endswith(".json"):
        _refuse_thumbnails(bucket, settings)
        return object_entries(objects.present(bucket, key), _users(settings, template))
    with objects.open(bucket, key) as file:
        content = file.read(_MAX_JSON + 1)
    return _named_in(source, content, objects.open, settings, template)


def _named_in(
    source: str, content: bytes, open_data: OpenData, settings: Settings, template: str | None
) -> Iterator[Entry | Fault]:
    match _json(source, content):
        case {"fileFormat": _} as found:
            manifest = Manifest.of(found, source)
            _refuse_thumbnails(manifest.source_bucket, settings)
            return object_entries(rows_of(manifest, open_data), _users(settings, template))
        case {"s3Bucket": bucket, "images": [*images]}:
            return batch_entries(source, bucket, images)
        case {"s3Bucket": bucket, "s3Key": _} as image:
            return batch_entries(source, bucket, [image])
    raise WrongInput(f"{source!r} is neither a manifest nor a batch; {_KNOWN}")


def _json(source: str, content: bytes) -> Any:
    if len(content) > _MAX_JSON:
        raise WrongInput(f"{source!r} is larger than {_MAX_JSON} bytes; split it")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # no JSON, no Unicode, numbers of thousands of digits
        raise WrongInput(f"{source!r} is not JSON ({type(error).__name__}); {_KNOWN}") from None


def _users(settings: Settings, template: str | None) -> UserOf:
    if template is None and settings.user_metadata:
        raise WrongInput(
            "listings do not tell the metadata that names users here (SELFIEGATE_USER_METADATA); give the backfill a "
            "key template such as {user_id}/{name}, or a batch that names each photo's user"
        )
    return KeyTemplate(settings.key_template if template is None else template).user_of


def _refuse_thumbnails(bucket: str, settings: Settings) -> None:
    if bucket == settings.aws.thumbnail_bucket:
        raise WrongInput(f"the bucket {bucket!r} holds our own thumbnails; name the one that photos are uploaded to")


def _s3(settings: Settings) -> S3Listing:
    from selfiegate.stores.s3_listing import S3Listing

    return S3Listing(settings.aws)
