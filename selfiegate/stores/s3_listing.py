"""What a bucket holds, page by page, and whole objects as temporary files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from botocore.exceptions import ClientError

from selfiegate.aws.clients import AwsSettings, client, code_of, translated
from selfiegate.errors import WrongInput
from selfiegate.ingestion.messages import Upload

_GONE = {"NoSuchBucket", "NoSuchKey", "404"}


class S3Listing:
    """Lists the present objects of buckets; needs s3:ListBucketVersions."""

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings

    def present(self, bucket: str, prefix: str) -> Iterator[Upload]:
        """Go through the latest versions below a prefix, but for deleted objects, as S3 sorts them."""
        with _asked("s3:ListBucketVersions", f"s3://{bucket}/{prefix}"):
            pages = client("s3", self._settings).get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Versions", []):
                    if found["IsLatest"]:
                        version = found.get("VersionId", "null")
                        yield Upload(
                            bucket=bucket,
                            key=found["Key"],
                            version="" if version == "null" else version,
                            etag=found["ETag"].strip('"'),
                            time=found["LastModified"].isoformat(),
                        )

    @contextmanager
    def open(self, bucket: str, key: str) -> Iterator[IO[bytes]]:
        """Download an object into a file that is gone after the block; it can be read twice."""
        with tempfile.TemporaryFile() as file:
            with _asked("s3:GetObject", f"s3://{bucket}/{key}"):
                body = client("s3", self._settings).get_object(Bucket=bucket, Key=key)["Body"]
                with body:
                    shutil.copyfileobj(body, file)
            file.seek(0)
            yield file


@contextmanager
def _asked(call: str, uri: str) -> Iterator[None]:
    with translated(f"{call} on {uri}"):
        try:
            yield
        except ClientError as error:
            if code_of(error) in _GONE:
                raise WrongInput(f"there is no {uri!r} ({code_of(error)})") from None
            raise
