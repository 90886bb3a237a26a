"""The collaborators, built once per process from the settings, and replaceable in tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from selfiegate.backends.embedding import EmbeddingBackend, Thresholds
from selfiegate.ports import FaceBackend, Ledger, Notifier, PhotoStore, Profiles, ThumbnailStore
from selfiegate.settings import Settings, load_settings


@dataclass(frozen=True)
class Runtime:
    """All that a step needs. Each member is safe to use from several threads."""

    settings: Settings
    photos: PhotoStore
    faces: FaceBackend
    ledger: Ledger
    profiles: Profiles
    thumbnails: ThumbnailStore
    notifier: Notifier


def open_runtime(settings: Settings) -> Runtime:
    """Build what the settings name; imports only that."""
    from selfiegate.notices.log import LogNotices
    from selfiegate.stores.folder import FolderThumbnails
    from selfiegate.stores.sqlite import SqliteLedger, SqliteProfiles

    home = settings.folder
    photos = open_photos(settings)
    return Runtime(
        settings=settings,
        photos=photos,
        faces=_face_backend(settings, photos),
        ledger=SqliteLedger(home / "records.db"),
        profiles=SqliteProfiles(home / "records.db"),
        thumbnails=FolderThumbnails(home / "thumbnails"),
        notifier=LogNotices(),
    )


def open_photos(settings: Settings) -> PhotoStore:
    """Build the photo store alone: a wrong path is found out without loading models."""
    from selfiegate.stores.folder import FolderPhotos

    return FolderPhotos(settings.photos)


def _face_backend(settings: Settings, photos: PhotoStore) -> FaceBackend:
    match settings.backend:
        case "insightface":
            from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
            from selfiegate.galleries.sqlite import SqliteGallery

            analyser = InsightFaceAnalyser(settings.insightface)
            gallery = SqliteGallery(settings.folder / "gallery.db", analyser.model)
            return EmbeddingBackend(analyser, gallery, photos, settings.photos, _thresholds(settings))


def memory_runtime(settings: Settings | None = None) -> Runtime:
    """Build a runtime without files, models or services, for scripted photos (`backends.scripted`)."""
    from selfiegate.backends.scripted import ScriptedAnalyser
    from selfiegate.galleries.memory import MemoryGallery
    from selfiegate.notices.memory import MemoryNotices
    from selfiegate.stores import memory

    settings, photos = settings or load_settings(), memory.MemoryPhotos()
    analyser = ScriptedAnalyser()
    gallery = MemoryGallery(analyser.model)
    return Runtime(
        settings=settings,
        photos=photos,
        faces=EmbeddingBackend(analyser, gallery, photos, settings.photos, _thresholds(settings)),
        ledger=memory.MemoryLedger(),
        profiles=memory.MemoryProfiles(),
        thumbnails=memory.MemoryThumbnails(),
        notifier=MemoryNotices(),
    )


def _thresholds(settings: Settings) -> Thresholds:
    matching = settings.matching
    review = matching.match_threshold if matching.review_threshold is None else matching.review_threshold
    return Thresholds(match=matching.match_threshold, verify=matching.verify_threshold, review=review)


_current: Runtime | None = None
_lock = threading.Lock()


def runtime() -> Runtime:
    """Return this process's runtime; the first call builds it."""
    global _current
    with _lock:
        if _current is None:
            _current = open_runtime(load_settings())
        return _current


@contextmanager
def using(replacement: Runtime) -> Iterator[Runtime]:
    """Make `runtime()` return another one, in every thread, until the block ends."""
    global _current
    before, _current = _current, replacement
    try:
        yield replacement
    finally:
        _current = before
