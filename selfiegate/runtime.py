"""The collaborators, built once per process from the settings, and replaceable in tests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from selfiegate.backends.embedding import EmbeddingBackend
from selfiegate.databases import open_gallery, open_records
from selfiegate.errors import WrongSetting
from selfiegate.extras import named_when_missing
from selfiegate.gallery import Gallery
from selfiegate.known_gallery import KnownGallery
from selfiegate.matching import COSINE, NOBODY_DECIDES, REKOGNITION
from selfiegate.ports import FaceBackend, Notifier, PhotoStore, ThumbnailStore
from selfiegate.records import Erasures, Ledger, Profiles, Records
from selfiegate.settings import Settings, load_settings

if TYPE_CHECKING:
    from selfiegate.notices.memory import MemoryNotices
    from selfiegate.stores.memory_photos import MemoryPhotos, MemoryThumbnails


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """All that a step needs. Each member is safe to use from several threads."""

    settings: Settings
    photos: PhotoStore
    faces: FaceBackend
    ledger: Ledger
    profiles: Profiles
    erasures: Erasures
    known_gallery: KnownGallery
    thumbnails: ThumbnailStore
    notifier: Notifier


@dataclass(frozen=True)
class MemoryRuntime(Runtime):
    """A runtime whose photos, thumbnails and notices tests write and read."""

    photos: MemoryPhotos
    thumbnails: MemoryThumbnails
    notifier: MemoryNotices


@named_when_missing()
def open_runtime(settings: Settings, more_notices: Sequence[Notifier] = ()) -> Runtime:
    """Build what the settings name; imports only that."""
    if settings.matching.review_threshold is not None:
        _log.warning("%s", NOBODY_DECIDES)
    records = open_records(settings)
    return assembled(settings, records, partial(open_gallery, settings, records), more_notices, held_to=records)


@named_when_missing()
def assembled(
    settings: Settings,
    records: Records,
    open_gallery: Callable[[str], Gallery],
    more_notices: Sequence[Notifier] = (),
    held_to: Records | None = None,
) -> Runtime:
    """Build a runtime over these records, and the gallery that is made for the model's name.

    With `held_to`, a collection of Rekognition has to be the one that those records rely on.
    """
    photos = open_photos(settings)
    return Runtime(
        settings=settings,
        photos=photos,
        faces=_face_backend(settings, photos, open_gallery, held_to),
        **records._asdict(),
        thumbnails=open_thumbnails(settings),
        notifier=_notifier(settings, more_notices),
    )


def open_photos(settings: Settings) -> PhotoStore:
    """Build the photo store alone: a wrong path is found out without loading models."""
    from selfiegate.stores.folder import FolderPhotos
    from selfiegate.stores.routed import RoutedPhotos

    @named_when_missing()
    def s3() -> PhotoStore:
        from selfiegate.stores.s3 import S3Photos

        return S3Photos(settings.aws, settings.photos)

    return RoutedPhotos(FolderPhotos(settings.photos), s3)


@named_when_missing()
def open_detector(settings: Settings, photos: PhotoStore) -> FaceBackend:
    """Build the face backend to find faces alone: no gallery is opened."""
    from selfiegate.galleries.memory import MemoryGallery

    return _face_backend(settings, photos, MemoryGallery)


def _face_backend(
    settings: Settings, photos: PhotoStore, open_gallery: Callable[[str], Gallery], held_to: Records | None = None
) -> FaceBackend:
    match settings.backend:
        case "insightface":
            from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

            analyser = InsightFaceAnalyser(settings.insightface)
            gallery = open_gallery(analyser.model)
            return EmbeddingBackend(analyser, gallery, photos, settings.photos, settings.matching.on(COSINE))
        case "rekognition":
            from selfiegate.backends.rekognition import RekognitionBackend

            thresholds = settings.matching.on(REKOGNITION)
            return RekognitionBackend(settings.aws, photos, settings.photos, thresholds, held_to)


def open_thumbnails(settings: Settings) -> ThumbnailStore:
    """Build the store of thumbnails alone; raises `WrongSetting` where other machines would miss them."""
    if settings.aws.thumbnail_bucket:
        from selfiegate.stores.s3 import S3Thumbnails

        return S3Thumbnails(settings.aws)
    from selfiegate.stores.folder import FolderThumbnails

    if settings.thumbnails.folder is None and settings.records != "sqlite":
        raise WrongSetting(
            f"SELFIEGATE_AWS__THUMBNAIL_BUCKET is not set, and records in {settings.records} serve many machines: "
            "thumbnails in this machine's home would be found and removed by no other; set the bucket, or "
            "SELFIEGATE_THUMBNAILS__FOLDER to a folder that all machines share, on one machine to any"
        )
    return FolderThumbnails((settings.thumbnails.folder or settings.folder / "thumbnails").expanduser())


def _notifier(settings: Settings, more: Sequence[Notifier]) -> Notifier:
    from selfiegate.notices.several import SeveralNotices

    return SeveralNotices([*(_notices(name, settings) for name in settings.notices), *more])


def _notices(name: str, settings: Settings) -> Notifier:
    match name:
        case "sns":
            from selfiegate.notices.sns import SnsNotices

            return SnsNotices(settings.aws)
        case "ses":
            from selfiegate.notices.ses import SesNotices

            return SesNotices(settings.aws)
    from selfiegate.notices.log import LogNotices

    return LogNotices()


def memory_runtime(settings: Settings | None = None) -> MemoryRuntime:
    """Build a runtime without files, models or services, for scripted photos (`backends.scripted`)."""
    from selfiegate.backends.scripted import ScriptedAnalyser
    from selfiegate.galleries.memory import MemoryGallery
    from selfiegate.notices.memory import MemoryNotices
    from selfiegate.stores.memory_photos import MemoryPhotos, MemoryThumbnails
    from selfiegate.stores.memory_records import memory_records

    settings, photos = settings or load_settings(), MemoryPhotos()
    analyser = ScriptedAnalyser()
    gallery = MemoryGallery(analyser.model)
    return MemoryRuntime(
        settings=settings,
        photos=photos,
        faces=EmbeddingBackend(analyser, gallery, photos, settings.photos, settings.matching.on(COSINE)),
        **memory_records()._asdict(),
        thumbnails=MemoryThumbnails(),
        notifier=MemoryNotices(),
    )


_current: Runtime | None = None
_opener: Callable[[Settings], Runtime] = open_runtime
_lock = threading.Lock()


def runtime() -> Runtime:
    """Return this process's runtime; the first call builds it."""
    global _current
    with _lock:
        if _current is None:
            _current = _opener(load_settings())
        return _current


def open_with(opener: Callable[[Settings], Runtime]) -> None:
    """Let another function build the runtime: one that knows more than the settings."""
    global _opener
    _opener = opener


R = TypeVar("R", Runtime, MemoryRuntime, None)


@contextmanager
def using(replacement: R) -> Iterator[R]:
    """Make `runtime()` return another one, in every thread, until the block ends; None: let it open one."""
    global _current
    before, _current = _current, replacement
    try:
        yield replacement
    finally:
        _current = before
