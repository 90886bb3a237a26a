"""Runtimes for tests: the package's own parts, put together otherwise, and a way to make any part fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from selfiegate.backends.embedding import EmbeddingBackend
from selfiegate.backends.scripted import ScriptedAnalyser
from selfiegate.errors import BackendUnavailable
from selfiegate.galleries.postgres import PostgresGallery
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.gallery import Gallery
from selfiegate.model import PhotoRef
from selfiegate.notices.memory import MemoryNotices
from selfiegate.ports import Thresholds
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.records import Records
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.stores.folder import FolderPhotos, FolderThumbnails
from selfiegate.stores.postgres_records import postgres_records
from selfiegate.stores.sqlite_records import sqlite_records

R = TypeVar("R", bound=Runtime)
THRESHOLDS = Thresholds(match=0.4, verify=0.3, review=0.4, unclear=0.32)


@dataclass(frozen=True)
class ScriptedRuntime(Runtime):
    """A runtime on disk whose notices tests read."""

    notifier: MemoryNotices


def scripted_runtime(home: Path, settings: Settings | None = None) -> ScriptedRuntime:
    """Return the embedded stores on disk, with the scripted analyser in the place of the models."""
    settings = settings or Settings(home=home)
    patience_s, path = settings.store_patience_s, home / "gallery.db"
    records = sqlite_records(home / "records.db", patience_s)
    gallery = SqliteGallery(path, ScriptedAnalyser.model, patience_s=patience_s, records=records)
    return scripted_over(home, settings, records, gallery)


def scripted_over(home: Path, settings: Settings, records: Records, gallery: Gallery) -> ScriptedRuntime:
    """Return the same over records and a gallery that are open already."""
    photos = FolderPhotos(settings.photos)
    return ScriptedRuntime(
        settings=settings,
        photos=photos,
        faces=EmbeddingBackend(ScriptedAnalyser(), gallery, photos, settings.photos, THRESHOLDS),
        **records._asdict(),
        thumbnails=FolderThumbnails(home / "thumbnails"),
        notifier=MemoryNotices(),
    )


def runtime_on_postgres(
    home: Path, url: str, thumbnails: Path, settings: Settings | None = None, size: int = 4
) -> ScriptedRuntime:
    """Return a home's runtime with records and faces in a database; thumbnails lie in one place for all homes."""
    home.mkdir(parents=True, exist_ok=True)
    settings = settings or Settings(home=home)
    database = PostgresDatabase(url, settings.store_patience_s, size)
    records = postgres_records(database)
    gallery = PostgresGallery(database, ScriptedAnalyser.model, records=records, together=True)
    rt = scripted_over(home, settings, records, gallery)
    return replacing(rt, "thumbnails", FolderThumbnails(thumbnails))


def replacing(rt: R, part: str, double: object) -> R:
    """Return the runtime with a double in the place of the part of this name."""
    parts: dict[str, Any] = {part: double}
    return replace(rt, **parts)


class Failing:
    """A collaborator one of whose methods fails, before or after its work, the first `times` times."""

    def __init__(self, real: Any, method: str, times: float, after: bool, error: Exception | None = None) -> None:
        self._real, self._method, self.left, self._after = real, method, times, after
        self._error = error or BackendUnavailable(f"{method} does not answer")

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return self._failing(real) if name == self._method else real

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0:
                return real(*args, **kwargs)
            self.left -= 1
            if self._after:
                real(*args, **kwargs)
            raise self._error

        return call


class Hanging:
    """A collaborator one of whose methods never returns; the caller's thread is lost until `over` is set."""

    def __init__(self, real: Any, method: str) -> None:
        self._real, self._method = real, method
        self.begun, self.over = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return self._hang if name == self._method else getattr(self._real, name)

    def _hang(self, *_: Any, **__: Any) -> Any:
        self.begun.set()
        self.over.wait()
        raise BackendUnavailable("the test is over")


class Meanwhile:
    """A collaborator during one call of which something else happens, once, before or after the call's work."""

    def __init__(self, real: Any, method: str, after: bool, what: Callable[[], object]) -> None:
        self._real, self._method, self._after, self._what, self.left = real, method, after, what, 1

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return self._disturbed(real) if name == self._method and self.left else real

    def _disturbed(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if not self._after:
                self._what()
                return real(*args, **kwargs)
            result = real(*args, **kwargs)
            self._what()
            return result

        return call


def assert_consistent(rt: Runtime, *photos: tuple[PhotoRef, str]) -> None:
    """Hold the stores against each other: every face and thumbnail has its profile, and the reverse."""
    claims = [claim for photo, user_id in photos if (claim := rt.ledger.get(photo, user_id))]
    users = {user_id for _, user_id in photos}
    profiles = [profile for user_id in users if (profile := rt.profiles.get(user_id))]
    expected = sorted(place for profile in profiles for place in profile.thumbnails.values())
    keys = tuple(rt.thumbnails.keys())  # listed once: in a bucket that is a call for each thousand
    stored = [place for place in expected if place.endswith(keys)]

    assert rt.faces.stats().faces == len(profiles)
    assert len(keys) == len(expected) == len(stored)
    assert all(not profile.remains for profile in profiles)
    assert {c.user_id for c in claims if c.status == "accepted"} == {profile.user_id for profile in profiles}
