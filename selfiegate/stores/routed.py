"""Photos wherever they lie: on disk or in S3, told apart by the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from selfiegate.model import PhotoRef
from selfiegate.ports import PhotoStore


class RoutedPhotos:
    """Asks one store for `s3://` and the other for paths; S3's is made when it is first asked."""

    def __init__(self, folder: PhotoStore, open_s3: Callable[[], PhotoStore]) -> None:
        self._folder, self._open_s3 = folder, open_s3

    def find(self, uri: str) -> PhotoRef:
        """Pin the present version of a photo."""
        return self._store(uri).find(uri)

    def read(self, photo: PhotoRef) -> bytes:
        """Return the bytes of exactly this version."""
        return self._store(photo.uri).read(photo)

    def metadata(self, photo: PhotoRef) -> Mapping[str, str]:
        """Return what the uploader wrote beside this version."""
        return self._store(photo.uri).metadata(photo)

    def erase(self, photo: PhotoRef, asked_at: int) -> None:
        """Remove a photo for good."""
        self._store(photo.uri).erase(photo, asked_at)

    def _store(self, uri: str) -> PhotoStore:
        return self._s3 if uri.startswith("s3://") else self._folder

    @cached_property
    def _s3(self) -> PhotoStore:
        return self._open_s3()
