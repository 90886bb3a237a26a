"""What Rekognition is shown of a photo: the object in S3 where it can, else its bytes, else one canonical JPEG.

Rekognition reads the buckets of its own region, and no other store. A photo that we can read and Rekognition cannot is
sent as bytes. AWS documents that IndexFaces keeps one face of equal images; that an object in S3 equals its bytes is
our assumption. A photo above 5 MB is a smaller picture as bytes. So if Rekognition could read its bucket in only one of
two runs, the photo has two faces of one user, and the audit removes one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from PIL import Image as Pictures

from selfiegate.backends.rekognition_calls import Refused
from selfiegate.decoding.decode import Limits, canonical_jpeg, is_plain
from selfiegate.decoding.process_pool import decode
from selfiegate.errors import PhotoRejected
from selfiegate.model import PhotoRef, ReasonCode
from selfiegate.ports import PhotoStore

_INLINE, _FROM_S3 = 5 * 2**20, 15_000_000
"""Bytes that Rekognition takes in a request, and of an object in S3."""

_LEAST_SIDE = 80
"""Pixels; Rekognition answers InvalidParameterException below."""
_REMEMBERED = 16
"""Photos whose image is kept between a run's steps: 5 MB each at most."""

_log = logging.getLogger(__name__)

Image = tuple[Mapping[str, Any], tuple[int, int]]
"""The image as a request takes it, and the size of the photo, upright."""


class Images:
    """The images of photos, the same for each call about one photo."""

    def __init__(self, photos: PhotoStore, limits: Limits) -> None:
        self._photos, self._limits = photos, limits
        self._unreadable = set[str]()
        self._made = lru_cache(_REMEMBERED)(self._make)

    def of(self, photo: PhotoRef) -> Image:
        """Return what a request takes of a photo; raises `PhotoRejected` where it is gone, or no picture."""
        return self._made(photo, photo.bucket not in self._unreadable)

    def show(self, photo: PhotoRef, ask: Callable[..., Any]) -> Any:
        """Ask about a photo's image; by its bytes where Rekognition cannot read what we can."""
        try:
            return ask(Image=self.of(photo)[0])
        except Refused as refused:
            if refused.code != "InvalidS3ObjectException":
                raise
        return ask(Image=self.inline(photo)[0])

    def inline(self, photo: PhotoRef) -> Image:
        """Return the bytes of a photo that Rekognition could not read; its bucket's later photos go so at once."""
        image = self._made(photo, False)
        if photo.bucket not in self._unreadable:
            self._unreadable.add(photo.bucket)
            _log.warning(
                "Rekognition cannot read the bucket %s, so its photos are sent as bytes, smaller above 5 MB; "
                "`selfiegate aws check` tells a bucket of another region",
                photo.bucket,
            )
        return image

    def _make(self, photo: PhotoRef, may_name: bool) -> Image:
        data = self._photos.read(photo)
        picture, size = decode(data, self._limits, self._limits.working_side)
        as_it_is = is_plain(data)
        in_s3 = may_name and photo.uri.startswith("s3://") and not photo.etag
        if as_it_is and in_s3 and len(data) <= _FROM_S3:
            return {"S3Object": {"Bucket": photo.bucket, "Name": photo.key, "Version": photo.version}}, size
        return {"Bytes": data if as_it_is and len(data) <= _INLINE else _jpeg(picture)}, size


def _jpeg(picture: Pictures.Image) -> bytes:
    """Encode a picture so that a request takes it: by quarters smaller until it does, alike each time.

    Raises `PhotoRejected` where the photo is so narrow that Rekognition would not take the picture.
    """
    if min(picture.size) < _LEAST_SIDE:
        raise PhotoRejected(ReasonCode.PHOTO_TOO_SMALL)
    data = canonical_jpeg(picture)
    while len(data) > _INLINE:
        picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Pictures.Resampling.BOX)
        data = canonical_jpeg(picture)
    return data
