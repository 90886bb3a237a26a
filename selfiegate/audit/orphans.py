"""One thing that lacks its counterpart in another store, as of now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from selfiegate import thumbnails as thumbs
from selfiegate.errors import UnreadableRow
from selfiegate.model import PhotoRef, Profile
from selfiegate.ports import EnrolledFace
from selfiegate.runtime import Runtime
from selfiegate.values import Value


class Kind(StrEnum):
    """What an orphan is."""

    FACE = "face without a profile"
    FOREIGN_FACE = "face that the ledger does not know"
    LOST_PROFILE = "accepted photo without its profile"
    THUMBNAIL = "thumbnails without a profile"
    PROFILE = "profile without its face"
    BARE_PROFILE = "profile without its thumbnails"
    UNREADABLE = "row that cannot be read"


class Orphan(Value):
    """One thing that lacks its counterpart."""

    kind: Kind
    name: str = Field(description="Face id, the thumbnails' folder, the photo's URI, or which row and why")
    user_id: str | None = Field(None, description="None where a thumbnail's folder does not tell it")
    photo: PhotoRef | None = Field(None, description="Of an accepted photo")
    face: EnrolledFace | None = None


def of_face(rt: Runtime, face: EnrolledFace) -> Orphan | None:
    """Say what a face without a profile is; None where all is well, or somebody is at it.

    A face that no row accounts for may be all that keeps its owner from enrolling twice. So may the face of a user
    whose row or profile cannot be read.
    """
    try:
        found = _of_face(rt, face)
        return found if found and rt.faces.holds(face.face_id) else None  # else a newer photo took its place
    except UnreadableRow as row:
        return of_unreadable(row)


def of_profile(rt: Runtime, user_id: str) -> Orphan | None:
    """Say what a user's profile lacks; None where all is well, or somebody is at it."""
    try:
        profile = rt.profiles.get(user_id)
        kind = _lacks(rt, profile) if profile else None
        # A newer photo that took its place meanwhile has a row before, and another profile after.
        busy = kind and (any(row.verdict is None for row in rt.ledger.claims_of(user_id)))
        if kind is None or profile is None or busy or rt.profiles.get(user_id) != profile:
            return None
    except UnreadableRow as row:
        return of_unreadable(row)
    return Orphan(kind=kind, name=profile.photo.uri, user_id=user_id, photo=profile.photo)


def of_folder(rt: Runtime, folder: str) -> Orphan | None:
    """Say that nothing explains a folder of thumbnails; None where they are gone."""
    return Orphan(kind=Kind.THUMBNAIL, name=folder) if rt.thumbnails.keys(folder) else None


def of_unreadable(row: UnreadableRow) -> Orphan:
    """Say that nobody knows what a row accounts for."""
    return Orphan(kind=Kind.UNREADABLE, name=str(row), user_id=row.user_id)


def still(rt: Runtime, orphan: Orphan) -> Orphan | None:
    """Look at an orphan again, but for thumbnails; None where it is not the same any more."""
    now = of_face(rt, orphan.face) if orphan.face else of_profile(rt, orphan.user_id or "")
    return now if now == orphan else None


def is_ours(folder: str) -> bool:
    """Say whether a folder is one that `thumbnails.folder` makes; others may share the bucket."""
    return re.fullmatch(r"[A-Za-z0-9_.-]*-[0-9a-f]{16}/[0-9a-f]{32}", folder) is not None


def faces_of(profile: Profile) -> Sequence[str]:
    """Return the ids of the faces that a profile accounts for."""
    return [profile.face_id, *(remains.face_id for remains in profile.remains)]


def folders_of(profile: Profile) -> Sequence[str]:
    """Return the thumbnails' folders that a profile accounts for."""
    return [thumbs.folder(photo, profile.user_id) for photo in (profile.photo, *(r.photo for r in profile.remains))]


def _of_face(rt: Runtime, face: EnrolledFace) -> Orphan | None:
    rows = rt.ledger.claims_of(face.user_id)
    row = next((row for row in rows if rt.faces.origin(row.photo, row.user_id) == face.origin), None)
    profile = rt.profiles.get(face.user_id)
    about = {"name": face.face_id, "user_id": face.user_id, "face": face}
    if any(row.verdict is None or row.loses_late for row in rows) or (profile and face.face_id in faces_of(profile)):
        return None
    if row is None:
        known = rt.erasures.get(face.user_id)  # written by a run that slept while its user was forgotten
        return Orphan(kind=Kind.FACE if known else Kind.FOREIGN_FACE, **about)
    if row.status == "accepted" and (profile is None or profile.upload_rank < row.upload_rank):
        return Orphan(kind=Kind.LOST_PROFILE, photo=row.photo, **about)
    return Orphan(kind=Kind.FACE, **about)


def _lacks(rt: Runtime, profile: Profile) -> Kind | None:
    """A profile of another model than the one that is loaded has its face elsewhere."""
    if profile.model not in ("", rt.faces.model):
        return None
    if not rt.faces.holds(profile.face_id):
        return Kind.PROFILE
    has_some = bool(profile.model and profile.thumbnails)
    return Kind.BARE_PROFILE if has_some and not rt.thumbnails.keys(folders_of(profile)[0]) else None
