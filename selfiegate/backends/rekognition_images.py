"""What Rekognition is shown of a photo: the object in S3 where it can, else its bytes, else one canonical JPEG."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from selfiegate.decoding.decode import Limits, canonical_jpeg, is_plain
from selfiegate.decoding.process_pool import decode
from selfiegate.model import PhotoRef
from selfiegate.ports import PhotoStore

_INLINE, _FROM_S3 = 5 * 2**20, 15_000_000
"""Bytes that Rekognition takes in a request, and of an object in S3."""

_REMEMBERED = 16
"""Photos whose image is kept between a run's steps: 5 MB each at most."""

Image = tuple[Mapping[str, Any], tuple[int, int]]
"""The image as a request takes it, and the size of the photo, upright."""


class Images:
    """The images of photos, the same for each call about one photo."""

    def __init__(self, photos: PhotoStore, limits: Limits) -> None:
        self._photos, self._limits = photos, limits
        self.of = lru_cache(_REMEMBERED)(self._of)

    def _of(self, photo: PhotoRef) -> Image:
        data = self._photos.read(photo)
        picture, size = decode(data, self._limits, self._limits.working_side)
        as_it_is = is_plain(data)
        in_s3 = photo.uri.startswith("s3://") and not photo.etag
        if as_it_is and in_s3 and len(data) <= _FROM_S3:
            return {"S3Object": {"Bucket": photo.bucket, "Name": photo.key, "Version": photo.version}}, size
        return {"Bytes": data if as_it_is and len(data) <= _INLINE else canonical_jpeg(picture)}, size
