"""Photos and thumbnails in S3, or in anything that speaks its protocol."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any

from botocore.exceptions import ClientError

from selfiegate.aws.clients import AwsSettings, client, code_of, translated
from selfiegate.decoding.decode import Limits
from selfiegate.errors import PhotoRejected, SelfiegateError, WrongInput
from selfiegate.model import ETAG, PhotoRef, ReasonCode
from selfiegate.paging import Page

_GONE = {"404", "412", "NoSuchKey", "NoSuchVersion", "PreconditionFailed", "MethodNotAllowed", "405"}


class S3Photos:
    """Photos by `s3://bucket/key`, pinned by version id, or by ETag where the bucket keeps no versions."""

    def __init__(self, settings: AwsSettings, limits: Limits) -> None:
        self._settings, self._limits = settings, limits

    def find(self, uri: str) -> PhotoRef:
        """Pin the present version of an object."""
        parts = re.fullmatch(r"s3://([^/]+)/(.+)", uri, re.DOTALL)
        if parts is None:
            raise WrongInput(f"{uri!r} names no object; write s3://bucket/key")
        bucket, key = parts.groups()
        head = self._call("head_object", bucket, key)
        if head is None:
            raise WrongInput(f"there is no photo {uri!r}")
        version = head.get("VersionId", "null")
        return PhotoRef(bucket=bucket, key=key, version=f"{ETAG}{head['ETag']}" if version == "null" else version)

    def read(self, photo: PhotoRef) -> bytes:
        """Return the bytes of exactly this version."""
        found = self._call("get_object", photo.bucket, photo.key, **_pin(photo))
        if found is None:
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
        if found["ContentLength"] > self._limits.max_bytes:
            found["Body"].close()
            raise PhotoRejected(ReasonCode.PHOTO_TOO_LARGE, found["ContentLength"])
        with translated(f"s3:GetObject on {photo.uri}"):
            data: bytes = found["Body"].read()
            return data

    def metadata(self, photo: PhotoRef) -> Mapping[str, str]:
        """Return what the uploader wrote beside this version; S3 keeps other scripts than ASCII encoded."""
        head = self._call("head_object", photo.bucket, photo.key, **_pin(photo))
        if head is None:
            raise WrongInput(f"there is no photo {photo.uri!r} of version {photo.version!r}")
        return {name.lower(): decoded(text) for name, text in head["Metadata"].items()}

    def erase(self, photo: PhotoRef, asked_at: int) -> None:
        """Remove the versions of a photo's key up to the second of `asked_at`, and its delete markers."""
        with translated(f"s3:DeleteObjectVersion on {photo.uri}"):
            try:
                _erase(client("s3", self._settings), photo.bucket, photo.key, asked_at / 1e6)
            except ClientError as error:
                if code_of(error) != "NoSuchBucket":
                    raise

    def put(self, bucket: str, key: str, data: bytes, metadata: Mapping[str, str]) -> PhotoRef:
        """Upload a photo and return its reference."""
        with translated(f"s3:PutObject on s3://{bucket}/{key}"):
            made = client("s3", self._settings).put_object(Bucket=bucket, Key=key, Body=data, Metadata=dict(metadata))
        version = made.get("VersionId", "null")
        return PhotoRef(bucket=bucket, key=key, version=f"{ETAG}{made['ETag']}" if version == "null" else version)

    def _call(self, operation: str, bucket: str, key: str, **pin: str) -> Any:
        """Return what S3 answers, None where the object, or this version of it, is gone."""
        with translated(f"s3:GetObject on s3://{bucket}/{key}"):
            try:
                return getattr(client("s3", self._settings), operation)(Bucket=bucket, Key=key, **pin)
            except ClientError as error:
                if code_of(error) in _GONE:
                    return None
                raise


def _erase(s3: Any, bucket: str, key: str, until: float = math.inf) -> None:
    """Remove the versions and delete markers of a key that were there at a time, in seconds since 1970."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        for version in found:
            if version["Key"] == key and version["LastModified"].timestamp() <= until:
                s3.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
        if any(version["Key"] != key for version in found):
            return  # S3 sorts by key, so this one comes before all that begin with it


def decoded(text: str) -> str:
    """Return what a header of S3 says: S3 gives metadata that is not ASCII encoded."""
    with suppress(LookupError, ValueError, HeaderParseError):  # it only looks encoded
        return str(make_header(decode_header(text)))
    return text


def _pin(photo: PhotoRef) -> dict[str, str]:
    return {"IfMatch": photo.etag} if photo.etag else {"VersionId": photo.version}


class S3Thumbnails:
    """Thumbnails in a bucket of their own; a key never changes its content, so browsers may keep it."""

    def __init__(self, settings: AwsSettings) -> None:
        assert settings.thumbnail_bucket  # noqa: S101  the runtime chose this store because it is set
        self._settings, self._bucket = settings, settings.thumbnail_bucket

    def put(self, key: str, data: bytes, content_type: str) -> str:
        """Store a thumbnail and return its URI."""
        with translated(f"s3:PutObject on {self._bucket}"):
            client("s3", self._settings).put_object(
                Bucket=self._bucket,
                Key=key,
                Body=data,
                ContentType=content_type,
                CacheControl="private, max-age=31536000, immutable",
            )
        return f"s3://{self._bucket}/{key}"

    def remove(self, folder: str) -> None:
        """Remove all thumbnails whose keys begin with this folder."""
        with translated(f"s3:DeleteObject on {self._bucket}"):
            for key in self._keys(f"{folder}/"):
                self._delete(key)

    def erase(self, uri: str) -> None:
        """Remove a thumbnail by its address, where that is in this bucket."""
        key = uri.removeprefix(f"s3://{self._bucket}/")
        if key != uri:
            with translated(f"s3:DeleteObject on {self._bucket}"):
                self._delete(key)

    def read(self, key: str) -> bytes | None:
        """Return a thumbnail."""
        with translated(f"s3:GetObject on {self._bucket}"):
            try:
                found = client("s3", self._settings).get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if code_of(error) in _GONE:
                    return None
                raise
            data: bytes = found["Body"].read()
            return data

    def keys(self, folder: str = "") -> Sequence[str]:
        """List all keys, or those below a folder."""
        with translated(f"s3:ListBucket on {self._bucket}"):
            return self._keys(f"{folder}/" if folder else "")

    def folders(self, after: str = "", limit: int = 1000) -> Page[str]:
        """List folders that hold thumbnails; asks S3 once, and from behind a folder on, however much it holds."""
        more = {"StartAfter": after} if after else {}
        with translated(f"s3:ListBucket on {self._bucket}"):
            found = client("s3", self._settings).list_objects_v2(Bucket=self._bucket, **more)
        keys = [item["Key"] for item in found.get("Contents", [])]
        folders = list(dict.fromkeys("/".join(key.split("/")[:2]) for key in keys if key.count("/") > 1))
        if len(folders) > limit:
            return Page(folders[:limit], f"{folders[limit - 1]}0")
        if not found["IsTruncated"]:
            return Page(folders, "")
        return Page(folders, f"{folders[-1]}0" if keys[-1].count("/") > 1 else keys[-1])

    def _delete(self, key: str) -> None:
        """Remove a thumbnail; where the bucket keeps versions, S3 answers that it only marked it as deleted."""
        s3 = client("s3", self._settings)
        if s3.delete_object(Bucket=self._bucket, Key=key).get("DeleteMarker"):
            try:
                with translated(f"s3:DeleteObjectVersion on {self._bucket}, which keeps versions"):
                    _erase(s3, self._bucket, key)
            except SelfiegateError:
                s3.put_object(Bucket=self._bucket, Key=key)  # empty: the next try lists it, and does not call it gone
                raise

    def _keys(self, prefix: str) -> list[str]:
        pages = client("s3", self._settings).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._bucket, Prefix=prefix)
        return [item["Key"] for page in found for item in page.get("Contents", [])]
