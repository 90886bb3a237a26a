"""Ledger, profiles and erasures in memory, with the promises of the real ones."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, TypeVar

from selfiegate.errors import UnreadableRow
from selfiegate.known_gallery import GalleryMark
from selfiegate.model import Profile
from selfiegate.paging import Page
from selfiegate.records import Erasure, Records
from selfiegate.rows import Skip, warn
from selfiegate.stores.memory_ledger import MemoryLedger


def memory_records() -> Records:
    """Return empty records."""
    return Records(MemoryLedger(), MemoryProfiles(), MemoryErasures(), MemoryKnownGallery())


R = TypeVar("R", Profile, Erasure)


class _ByUser(Generic[R]):
    """One value a user, written by compare-and-set of its revision, one lock around them."""

    def __init__(self) -> None:
        self._values: dict[str, R] = {}
        self._lock = threading.Lock()

    def get(self, user_id: str) -> R | None:
        """Return a user's, or None."""
        return self._values.get(user_id)

    def put(self, value: R, replacing: R | UnreadableRow | None) -> bool:
        """Store it unless something else than `replacing` is stored now."""
        with self._lock:
            stored = self._values.get(value.user_id)
            if (stored and stored.revision) != (replacing and replacing.revision):
                return False
            self._values[value.user_id] = value
            return True

    def _all(self) -> list[R]:
        with self._lock:
            return list(self._values.values())


class MemoryProfiles(_ByUser[Profile]):
    """The profiles."""

    def all(self, skip: Skip = warn) -> Iterable[Profile]:
        """Go through all profiles."""
        return self._all()

    def page(self, after: str = "", limit: int = 1000, skip: Skip = warn) -> Page[Profile]:
        """Return some profiles, sorted by their users."""
        later = (profile for profile in self._all() if profile.user_id > after)
        found = sorted(later, key=lambda profile: profile.user_id)[:limit]
        return Page(found, found[-1].user_id if len(found) == limit else "")

    def of(self, user_ids: Collection[str], skip: Skip = warn) -> Sequence[Profile]:
        """Return the profiles of many users."""
        return [profile for profile in self._all() if profile.user_id in set(user_ids)]

    def remove(self, profile: Profile | UnreadableRow) -> bool:
        """Remove a profile unless another revision is stored now."""
        if isinstance(profile, UnreadableRow):
            return False
        with self._lock:
            stored = self._values.get(profile.user_id)
            if stored is None or (stored.revision, stored.face_id) != (profile.revision, profile.face_id):
                return False
            del self._values[profile.user_id]
            return True


class MemoryErasures(_ByUser[Erasure]):
    """The erasures."""

    def unfinished(self, skip: Skip = warn) -> Sequence[Erasure]:
        """Return those that are not finished."""
        return [one for one in self._all() if one.finished_at is None]


class MemoryKnownGallery:
    """The note about a gallery."""

    def __init__(self) -> None:
        self.records_id = uuid.uuid4().hex
        self._mark: GalleryMark | None = None
        self._lock = threading.Lock()

    def get(self) -> GalleryMark | None:
        """Return the mark, or None."""
        return self._mark

    is_durable = True

    def keep(self, mark: GalleryMark) -> None:
        """Store a first mark, or raise it."""
        with self._lock:
            held = self._mark
            if held is None or (held.gallery_id == mark.gallery_id and held.newest < mark.newest):
                self._mark = mark

    def replace(self, mark: GalleryMark | None) -> None:
        """Rely on another gallery from now on, or on none."""
        self._mark = mark
