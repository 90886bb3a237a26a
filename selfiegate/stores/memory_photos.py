"""Photos and thumbnails in memory, with the promises of the real stores: doubles that tests are written against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from selfiegate.errors import PhotoRejected, WrongInput
from selfiegate.model import PhotoRef, ReasonCode
from selfiegate.paging import Page


class MemoryPhotos:
    """Photos by name, in a bucket of their own."""

    def __init__(self, bucket: str = "memory") -> None:
        self._bucket = bucket
        self._photos: dict[str, bytes] = {}

    def add(self, key: str, data: bytes) -> PhotoRef:
        """Upload a photo and return its reference."""
        self._photos[key] = data
        return self.find(key)

    def find(self, uri: str) -> PhotoRef:
        """Pin the present version of a photo."""
        if uri not in self._photos:
            raise WrongInput(f"there is no photo {uri!r}")
        return PhotoRef(bucket=self._bucket, key=uri, version=hashlib.sha256(self._photos[uri]).hexdigest())

    def read(self, photo: PhotoRef) -> bytes:
        """Return the bytes of exactly this version."""
        data = self._photos.get(photo.key, b"")
        if hashlib.sha256(data).hexdigest() != photo.version:
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
        return data

    def metadata(self, photo: PhotoRef) -> Mapping[str, str]:
        """There is none."""
        return {}

    def erase(self, photo: PhotoRef, asked_at: int) -> None:
        """Remove a photo while it is this version."""
        if photo.key in self._photos and self.find(photo.key) == photo:
            del self._photos[photo.key]


class MemoryThumbnails:
    """Thumbnails by key."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, key: str, data: bytes, content_type: str) -> str:
        """Store a thumbnail."""
        self.files[key] = data
        return f"memory:{key}"

    def remove(self, folder: str) -> None:
        """Remove all thumbnails whose keys begin with this folder."""
        for key in [key for key in self.files if key.startswith(f"{folder}/")]:
            del self.files[key]

    def erase(self, uri: str) -> None:
        """Leave it: no older system put any here."""

    def read(self, key: str) -> bytes | None:
        """Return a thumbnail."""
        return self.files.get(key)

    def keys(self, folder: str = "") -> Sequence[str]:
        """List all keys, or those below a folder."""
        return [key for key in self.files if not folder or key.startswith(f"{folder}/")]

    def folders(self, after: str = "", limit: int = 1000) -> Page[str]:
        """List folders that hold thumbnails."""
        folders = {"/".join(key.split("/")[:2]) for key in self.files if key.count("/") > 1}
        found = sorted((one for one in folders if f"{one}/" > after), key=lambda one: f"{one}/")[:limit]
        return Page(found, f"{found[-1]}0" if len(found) == limit else "")
