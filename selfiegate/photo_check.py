"""What the policy says of a photo outside of any flow: nothing is stored, and no gallery is opened."""

from __future__ import annotations

import os
import threading
import uuid

from selfiegate.errors import PhotoRejected
from selfiegate.model import ReasonCode
from selfiegate.policy import Judgement, judge, unusable
from selfiegate.runtime import open_detector, open_photos
from selfiegate.settings import Settings, load_settings
from selfiegate.stores.memory_photos import MemoryPhotos

_lock = threading.Lock()
_checker: PhotoChecker | None = None


class PhotoChecker:
    """Keeps the models that the settings name; may be used from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Load the models; raises `BackendMisconfigured` where models or libraries are missing."""
        self._rules, self._limits = settings.rules, settings.photos
        self._stored = open_photos(settings)
        self._given = MemoryPhotos("/memory")  # named like a folder: Rekognition then gets bytes, not an S3 object
        self._faces = open_detector(settings, self._given)

    def check(self, photo: str | os.PathLike[str] | bytes) -> Judgement:
        """Judge a photo: a path, an address in S3, or the file's bytes."""
        try:
            data = self._bytes_of(photo)
        except PhotoRejected as rejected:
            return unusable(ReasonCode(rejected.code), self._limits.compare(rejected.measured))
        given = self._given.add(str(uuid.uuid4()), data)  # a key of its own: two threads may check equal photos
        try:
            return judge(self._faces.detect(given), self._rules)
        finally:
            self._given.erase(given, asked_at=0)

    def _bytes_of(self, photo: str | os.PathLike[str] | bytes) -> bytes:
        if not isinstance(photo, bytes):
            return self._stored.read(self._stored.find(os.fspath(photo)))
        if len(photo) > self._limits.max_bytes:
            raise PhotoRejected(ReasonCode.PHOTO_TOO_LARGE, len(photo))
        return photo


def checker() -> PhotoChecker:
    """Return this process's checker; the first call builds it from the settings."""
    global _checker
    with _lock:
        if _checker is None:
            _checker = PhotoChecker(load_settings())
        return _checker
