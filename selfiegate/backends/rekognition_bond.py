"""Holds Rekognition's collection and the records to each other, so that neither is used beside a stranger.

A collection that is lost, made anew or another's would call everybody new. So the records note which collection they
rely on: its ARN, and when it was created. They also note the most faces that it was seen to hold.

AWS does not say how soon DescribeCollection counts a face. So a low count proves nothing by itself. Where the count has
fallen to half, faces of profiles are looked up.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.rekognition_calls import Description, described, faces_among
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, UnreadableRow
from selfiegate.known_gallery import GalleryMark
from selfiegate.model import Profile
from selfiegate.move_notes import require_settled
from selfiegate.records import Records

_MEND = (
    "set SELFIEGATE_AWS__COLLECTION, SELFIEGATE_AWS__REGION and the credentials to those of before, or run "
    "`selfiegate gallery rebuild`; see 'A collection of Rekognition that is lost' in docs/operations.md"
)

_NONE = "rebuild"
"""Of no gallery: a rebuild has not ended."""

_SAMPLE = 100
"""Profiles whose faces are looked up: a page of profiles, and one ListFaces."""

_LOST_SHARE = 0.05
"""Of these, more than the nightly audit would repair."""


class _Failure(NamedTuple):
    at: float
    error: BackendUnavailable


class CollectionBond:
    """The check that a collection and the records belong together, at start and at each use.

    What a comparison finds holds for `compare_s`, for all threads. A comparison that gets no answer is a fault that
    may pass: nothing is searched or enrolled meanwhile.
    """

    def __init__(self, settings: AwsSettings, records: Records) -> None:
        self._settings, self._records = settings, records
        self._lock, self._compared_at = threading.Lock(), -math.inf
        self._failure: _Failure | None = None

    def check(self) -> None:
        """Raise `BackendMisconfigured` unless they belong together, `BackendUnavailable` where that cannot be told."""
        asked = time.monotonic()
        if asked - self._compared_at < self._settings.compare_s:
            return
        with self._lock:  # who waited for another thread's comparison takes its outcome
            if asked - self._compared_at < self._settings.compare_s:
                return
            if self._failure and asked <= self._failure.at:
                raise BackendUnavailable(str(self._failure.error)) from self._failure.error
            try:
                found, mark = self._compare()
            except BackendUnavailable as error:
                self._failure = _Failure(time.monotonic(), error)
                raise
            self._compared_at = asked
        if found.faces > mark.newest:  # no lock is held while the records are written
            self._records.known_gallery.keep(_mark_of(found))

    def loosen(self) -> None:
        """Let the records rely on no collection until `replace`: a rebuild begins."""
        self._records.known_gallery.replace(GalleryMark(gallery_id=_NONE, newest=0))

    def replace(self) -> None:
        """Let the records rely on the collection as it is now."""
        self._records.known_gallery.replace(_mark_of(self._described()))

    def _compare(self) -> tuple[Description, GalleryMark]:
        known = self._records.known_gallery
        found = self._described()
        mark = known.get()  # after the collection was described: a rebuild that ends meanwhile is no fault
        require_settled(mark)
        if mark is None:
            self._require_faces()
            known.keep(_mark_of(found))
            mark = known.get() or _mark_of(found)
        self._require_same(found, mark)
        if found.faces == 0 or 2 * found.faces < mark.newest:
            self._require_faces()
        return found, mark

    def _described(self) -> Description:
        name = self._settings.collection
        if found := described(self._settings):
            return found
        if mark := self._records.known_gallery.get():
            require_settled(mark)
            raise BackendMisconfigured(
                f"the collection {name} is not there, but the records rely on {_told(mark.gallery_id)}; {_MEND}"
            )
        raise BackendMisconfigured(
            f"there is no collection {name}: run `selfiegate gallery create`, or set SELFIEGATE_AWS__COLLECTION and "
            "SELFIEGATE_AWS__REGION"
        )

    def _require_same(self, found: Description, mark: GalleryMark) -> None:
        ours, theirs = _mark_of(found).gallery_id, mark.gallery_id
        if ours == theirs:
            return
        if theirs == _NONE:
            raise BackendMisconfigured(
                "a rebuild of the gallery was begun and has not ended; run `selfiegate gallery rebuild` again"
            )
        if theirs.startswith(f"{found.arn}@"):
            raise BackendMisconfigured(
                f"the collection {self._settings.collection} was made anew: this is {_told(ours)}, and the records "
                f"rely on {_told(theirs)}; {_MEND}"
            )
        raise BackendMisconfigured(
            f"{_told(ours)} is not the gallery that the records rely on, which is {_told(theirs)}; {_MEND}"
        )

    def _require_faces(self) -> None:
        """Refuse where faces of profiles are gone, of those that are looked up."""
        unreadable = list[UnreadableRow]()
        profiles = self._records.profiles.page(limit=_SAMPLE, skip=unreadable.append).items
        if unreadable and not profiles:
            raise BackendMisconfigured(
                f"none of {len(unreadable)} profiles that were looked up can be read ({unreadable[0].user_id!r} is "
                "one), so that nobody knows whose faces the collection should hold; start the version that wrote them"
            )
        gone = self._gone(profiles)
        if len(gone) > _LOST_SHARE * len(profiles):
            raise BackendMisconfigured(
                f"the collection {self._settings.collection} lacks the faces of {len(gone)} of {len(profiles)} users "
                f"with a profile that were looked up ({gone[0].user_id!r} is one); {_MEND}"
            )

    def _gone(self, profiles: Sequence[Profile]) -> Sequence[Profile]:
        if not profiles:
            return ()
        ids = [profile.face_id for profile in profiles]
        held = faces_among(self._settings, ids)
        return [profile for profile in profiles if profile.face_id not in held and self._is_still(profile)]

    def _is_still(self, profile: Profile) -> bool:
        """Look again: the face may have been replaced, or its user may be being forgotten."""
        now, erasure = self._records.profiles.get(profile.user_id), self._records.erasures.get(profile.user_id)
        is_being_forgotten = erasure is not None and erasure.finished_at is None
        return now is not None and now.face_id == profile.face_id and not is_being_forgotten


def _mark_of(found: Description) -> GalleryMark:
    return GalleryMark(gallery_id=f"{found.arn}@{found.created_ms}", newest=found.faces)


def _told(gallery_id: str) -> str:
    """Say which collection it is, for people."""
    arn, _, created = gallery_id.rpartition("@")
    if not arn:
        return f"the gallery {gallery_id!r} of another backend"
    return f"{arn} of {time.strftime('%F %TZ', time.gmtime(int(created) / 1000))}"
