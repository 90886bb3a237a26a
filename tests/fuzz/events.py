"""Target: text from strangers: events, keys and key templates, inventories, batches. The first byte says which."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from tempfile import NamedTemporaryFile

from selfiegate.backfill.listing import Entry, Fault
from selfiegate.backfill.sources import entries
from selfiegate.backfill.sources.inventory import Manifest, rows_of
from selfiegate.backfill.sources.objects import object_entries
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.ingestion.messages import uploads
from selfiegate.ingestion.photo_requests import photo_request
from selfiegate.key_template import MAX_KEY, KeyTemplate
from selfiegate.settings import Settings
from selfiegate.stores.memory_photos import MemoryPhotos
from selfiegate.user_ids import user_id_of
from tests.aws import inventories

LONGEST = 4096

_SETTINGS = Settings()
_SHORT = 40
"""Characters of keys that are also read in every possible way."""

_NAMES = """
    userId s3Bucket s3Key images Records eventName s3 bucket name object key versionId eTag sequencer eventTime Event
    source detail-type detail time version-id etag Message Type Notification Body body Sns errorCode eventSource
    requestParameters responseElements bucketName x-amz-version-id sourceBucket destinationBucket fileFormat fileSchema
    files MD5checksum CSV Parquet ORC PutObject s3:TestEvent
"""

DICTIONARY = (
    *(f'"{name}"'.encode() for name in _NAMES.split()),
    *(b"aws.s3", b"Object Created", b"ObjectCreated:Put", b"s3.amazonaws.com", b"null", b"\\u0000", b"\\ud800"),
    *(b"%00", b"%ff", b"%2F", b"+", b"{user_id}", b"{name}", b"*", b"/", b"..", b"1e999", b'""'),
    *(b"2026-01-02T03:04:05.678Z", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59"),
    *(b"Bucket, Key", b"IsLatest", b"IsDeleteMarker", b"LastModifiedDate", b"ETag"),
)


def seeds() -> Iterator[bytes]:
    """Make one input or some for each parser."""
    upload = {"userId": "ann", "s3Bucket": "photos", "s3Key": "ann/selfie.jpg"}
    record = {
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "s3": {"bucket": {"name": "photos"}, "object": {"key": "ann/a+b%20c.jpg", "eTag": "e", "sequencer": "0A"}},
    }
    bridge = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": "2026-01-02T03:04:05Z",
        "detail": {"bucket": {"name": "photos"}, "object": {"key": "ann/a.jpg", "version-id": "v", "etag": "e"}},
    }
    trail = {
        "source": "aws.s3",
        "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "s3.amazonaws.com",
            "eventName": "PutObject",
            "requestParameters": {"bucketName": "photos", "key": "ann/a.jpg"},
            "responseElements": {"x-amz-version-id": "v"},
        },
    }
    batch = {"s3Bucket": "photos", "images": [{"userId": "ann", "s3Key": "a.jpg"}]}
    events = [upload, batch, {"Records": [record]}, bridge, trail, {"Event": "s3:TestEvent"}]
    for event in events:
        text = json.dumps(event)
        yield b"e" + text.encode()
        yield b"e" + json.dumps({"Type": "Notification", "Message": text}).encode()
        yield b"e" + json.dumps({"Body": text}).encode()
        yield b"e" + json.dumps({"Records": [{"body": text}, {"Sns": {"Message": text}}]}).encode()
        yield b"f" + text.encode()
    for template in ("{user_id}/{name}", "in/*/u-{user_id}-*.jpg", "{user_id}.*/{name}", "a{name}b{user_id}c{name}d"):
        for key in ("ann/selfie.jpg", "in/x/u-ann-1.jpg", "in/x/u-ann-b-1.jpg", "axbanncxd", "a.b.c/d"):
            yield b"k" + "\n".join((template, key, "ann", "selfie.jpg")).encode()
    rows = [
        inventories.Row("ann/a b.jpg"),
        inventories.Row("b.jpg", "v1", latest=False),
        inventories.Row("c/ü.png", etag=""),
    ]
    columns = ", ".join(inventories.COLUMNS).encode()
    yield b"i" + columns + b"\n" + gzip.decompress(inventories.csv_file(rows))
    yield b"i" + b"Bucket, Key\n" + gzip.decompress(inventories.csv_file(rows, ["Bucket", "Key"]))
    yield b"g" + columns + b"\n" + inventories.csv_file(rows)
    for form in ("CSV", "Parquet"):
        yield b"f" + inventories.manifest({inventories.NAME: b""}, form)


def check(data: bytes) -> str:
    """Have the parser read it; return what came of it. Raises where that is neither a value nor a `WrongInput`."""
    read = _PARSERS.get(data[:1])
    if read is None:
        return "nothing"
    try:
        return read(data[1:])
    except WrongInput as error:
        str(error).encode()
        return "WrongInput"


def mutate(data: bytes, longest: int, seed: int, change: Callable[[bytes, int], bytes]) -> bytes:
    """Change an input, seldom which parser it is for."""
    return bytes(change(data, longest)) if seed % 16 == 0 else data[:1] + bytes(change(data[1:], longest - 1))


def _event(data: bytes) -> str:
    found = uploads(data)
    for upload in found:
        assert "/" not in upload.bucket
        assert len(upload.key.encode()) <= MAX_KEY
        try:
            one = photo_request(_SETTINGS, MemoryPhotos(), upload)
        except WrongInput:
            continue
        assert one
        assert user_id_of(one.user_id)
        assert re.fullmatch(r"(\d{16}\..{32,})?", one.upload_order, re.DOTALL)
    return f"{min(len(found), 2)} uploads"


def _file(data: bytes) -> str:
    with NamedTemporaryFile(suffix=".json") as file:
        file.write(data)
        file.flush()
        return _listed(entries(file.name, _SETTINGS, "{user_id}/{name}"))


def _inventory(data: bytes) -> str:
    return _compressed(b"\n".join([*data.split(b"\n", 1)[:1], gzip.compress(b"".join(data.split(b"\n", 1)[1:]), 0)]))


def _compressed(data: bytes) -> str:
    schema, _, rows = data.partition(b"\n")
    about = json.loads(inventories.manifest({inventories.NAME: rows}, fileSchema=schema.decode(errors="replace")))
    found = rows_of(Manifest.of(about, "manifest.json"), lambda *_: io.BytesIO(rows))
    return _listed(object_entries(found, KeyTemplate().user_of))


def _listed(found: Iterator[Entry | Fault]) -> str:
    kinds = set()
    for one in found:
        kinds.add(type(one).__name__)
        if isinstance(one, Entry):
            assert user_id_of(one.user_id)
            assert one.uri.startswith("s3://")
            one.uri.encode()
        else:
            assert (one.where + one.why).isprintable()
    return ", ".join(sorted(kinds))


def _key(data: bytes) -> str:
    text, key, user_id, name = ([*data.decode(errors="surrogateescape").split("\n", 3), "", "", ""])[:4]
    try:
        template = KeyTemplate(text)
    except BackendMisconfigured:
        return "no template"
    try:
        made = template.key_of(user_id, name)
        assert template.user_of(made) == user_id
    except WrongInput:
        pass
    try:
        found = template.user_of(key)
    except WrongInput:
        found = None
    if len(key) <= _SHORT and len(text) <= _SHORT:
        _check_alone(text, key, found)
    return "no user" if found is None else "user"


def _check_alone(text: str, key: str, found: str | None) -> None:
    """Read the key in every possible way: a user is found exactly where there is one way."""
    before, after = text.split("{user_id}")
    starts, ends = re.compile(_pattern(before), re.DOTALL), re.compile(_pattern(after, last=True), re.DOTALL)
    heads = {at for at in range(len(key) + 1) if starts.fullmatch(key[:at])}
    tails = {at for at in range(len(key) + 1) if ends.fullmatch(key[at:])}
    spans = combinations(range(len(key) + 1), 2)
    users = {key[a:b] for a, b in spans if a in heads and b in tails and "/" not in key[a:b]}
    try:
        alone = user_id_of(users.pop()) if len(users) == 1 else None
    except WrongInput:
        alone = None
    assert found == alone, f"{key!r} under {text!r} is of {found!r}, not of {alone!r}"


def _pattern(text: str, last: bool = False) -> str:
    end = ""
    if last and text.endswith("/{name}"):
        text, end = text.removesuffix("{name}"), r".+(?<!/)"
    parts = re.split(r"\{name\}|\*", text)
    return "[^/]+".join(map(re.escape, parts)) + end


_PARSERS = {b"e": _event, b"f": _file, b"i": _inventory, b"g": _compressed, b"k": _key}
