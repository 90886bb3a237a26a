"""What runs that died left behind: photos to be run again, and stores that do not agree with each other.

A photo is finished by running it again (see `enrolment`). What no run would find any more is an orphan: it takes
a process that slept through its lease, a store that was restored from a backup, or somebody's own hands.

Looking is safe beside live traffic because of the order in which it is done: faces and thumbnails, then rows
without a verdict, then profiles. Whatever a run makes, it has a row before and a profile after. A face is removed only
where a row, or an erasure of its user, accounts for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from enum import StrEnum

from pydantic import Field

from selfiegate import thumbnails as thumbs
from selfiegate.enrolment.protocol import judge_photo
from selfiegate.errors import UnreadableRow
from selfiegate.model import Claim, PhotoRef, Profile, ReasonCode, Value
from selfiegate.ports import EnrolledFace
from selfiegate.privacy.erasures import is_forgotten
from selfiegate.records import Skip, warn
from selfiegate.runtime import Runtime

_FAR = 2**62


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


def orphans(rt: Runtime) -> list[Orphan]:
    """Hold gallery, thumbnails and profiles against each other; takes memory in proportion to the faces.

    Profiles of another model than the one that is loaded have their faces elsewhere and are left out.
    """
    faces = list(rt.faces.faces())
    folders = {key.rpartition("/")[0] for key in rt.thumbnails.keys()}  # noqa: SIM118  a store, not a dict
    unreadable: list[UnreadableRow] = []
    at_work = _at_work(rt, unreadable.append)
    profiles = list(rt.profiles.all(unreadable.append))

    busy = {row.user_id for row in at_work} | {row.user_id for row in unreadable}
    homes = tuple(f"{thumbs.home(row.user_id)}/" for row in unreadable)
    wanted = {face_id for profile in profiles for face_id in _faces(profile)}
    loose = [face for face in faces if face.face_id not in wanted and face.user_id not in busy]
    live = {folder for profile in profiles for folder in _folders(profile)}
    live |= {thumbs.folder(row.photo, row.user_id) for row in at_work}
    enrolled = {face.face_id for face in faces}
    of_faces = [orphan for face in loose if (orphan := _of_face(rt, face))]
    live |= {thumbs.folder(one.photo, one.user_id) for one in of_faces if one.photo and one.user_id}
    return [
        *of_faces,
        *(Orphan(kind=Kind.UNREADABLE, name=str(row), user_id=row.user_id) for row in unreadable),
        *(
            Orphan(kind=Kind.THUMBNAIL, name=folder)
            for folder in sorted(folders - live)
            if _is_ours(folder) and not folder.startswith(homes)
        ),
        *(
            Orphan(kind=kind, name=profile.photo.uri, user_id=profile.user_id, photo=profile.photo)
            for profile in profiles
            if profile.user_id not in busy and (kind := _lacks(rt, profile, enrolled, folders))
        ),
    ]


def count_to_review(rt: Runtime) -> int:
    """Return how many photos wait for a person."""
    return rt.ledger.to_review()


def count_faces(rt: Runtime) -> int:
    """Return how many faces are enrolled."""
    return rt.faces.stats().faces


def remove(rt: Runtime, orphan: Orphan) -> bool:
    """Remove a face or thumbnails that nothing explains, having looked once more; False for anything else."""
    if orphan.kind is Kind.FACE and orphan.face:
        now = _of_face(rt, orphan.face)
        if now is None or now.kind is not Kind.FACE:
            return False
        rt.faces.remove(orphan.name)
        return True
    if orphan.kind is Kind.THUMBNAIL and _is_ours(orphan.name):
        if orphan.name in {thumbs.folder(row.photo, row.user_id) for row in _at_work(rt)}:
            return False
        rt.thumbnails.remove(orphan.name)
        return True
    return False


def reopen(rt: Runtime, orphan: Orphan) -> Claim | None:
    """Let an accepted photo be run again whose face or profile is gone; its user is told nothing.

    None where the ledger does not know it, or the photo can no longer be used: what is left then stays as it is.
    """
    row = _row(rt, orphan)
    if row is None or (row.verdict and row.status != "accepted"):
        return None
    judgement = judge_photo(rt, row.photo)
    if judgement.face is None or judgement.reasons:
        return None
    return row if row.verdict is None or rt.ledger.reopen(row) else None


def drop(rt: Runtime, orphan: Orphan) -> bool:
    """Remove a profile whose photo was run again and lost its face to somebody else, or whose user was forgotten."""
    profile, row = rt.profiles.get(orphan.user_id or ""), _row(rt, orphan)
    if profile is None or profile.photo != orphan.photo:
        return False
    if row is None:  # written by a run that slept while its user was forgotten
        lost = is_forgotten(rt.erasures, profile.user_id, profile.upload_rank)
    else:
        lost = row.verdict is not None and _LOST in {reason.code for reason in row.verdict.reasons}
    if not lost or not rt.profiles.remove(profile):
        return False
    for face_id in _faces(profile):
        rt.faces.remove(face_id)
    for folder in _folders(profile):
        rt.thumbnails.remove(folder)
    return True


_LOST = ReasonCode.FACE_ALREADY_ENROLLED


def _of_face(rt: Runtime, face: EnrolledFace) -> Orphan | None:
    """Say what a face without a profile is as of now; None where all is well or somebody is at it."""
    try:
        return _by_its_rows(rt, face)
    except UnreadableRow as row:
        return Orphan(kind=Kind.UNREADABLE, name=str(row), user_id=face.user_id)


def _by_its_rows(rt: Runtime, face: EnrolledFace) -> Orphan | None:
    """Hold a face against its user's rows; one without a row may be all that keeps its owner from enrolling twice."""
    rows = rt.ledger.claims_of(face.user_id)
    row = next((row for row in rows if rt.faces.origin(row.photo, row.user_id) == face.origin), None)
    profile = rt.profiles.get(face.user_id)
    about = {"name": face.face_id, "user_id": face.user_id, "face": face}
    if any(row.verdict is None for row in rows) or (profile and face.face_id in _faces(profile)):
        return None
    if row is None:
        known = rt.erasures.get(face.user_id)  # written by a run that slept while its user was forgotten
        return Orphan(kind=Kind.FACE if known else Kind.FOREIGN_FACE, **about)
    if row.status == "accepted" and (profile is None or profile.upload_rank < row.upload_rank):
        return Orphan(kind=Kind.LOST_PROFILE, photo=row.photo, **about)
    return Orphan(kind=Kind.FACE, **about)


def _lacks(rt: Runtime, profile: Profile, enrolled: Set[str], folders: Set[str]) -> Kind | None:
    """Say what a profile is without, where its face or its thumbnails are not among those listed before."""
    if profile.model not in ("", rt.faces.model):
        return None
    if profile.face_id not in enrolled and not rt.faces.holds(profile.face_id):
        return Kind.PROFILE
    folder = thumbs.folder(profile.photo, profile.user_id)
    if profile.model and profile.thumbnails and folder not in folders and not rt.thumbnails.keys(folder):
        return Kind.BARE_PROFILE
    return None


def _is_ours(folder: str) -> bool:
    """Say whether a folder is one that `thumbnails.folder` makes; others may share the bucket."""
    return re.fullmatch(r"[A-Za-z0-9_.-]*-[0-9a-f]{16}/[0-9a-f]{32}", folder) is not None


def _at_work(rt: Runtime, skip: Skip = warn) -> list[Claim]:
    return [row for row in rt.ledger.unfinished(before=_FAR, skip=skip) if row.verdict is None]


def _row(rt: Runtime, orphan: Orphan) -> Claim | None:
    return rt.ledger.get(orphan.photo, orphan.user_id) if orphan.photo and orphan.user_id else None


def _faces(profile: Profile) -> Sequence[str]:
    return [profile.face_id, *(remains.face_id for remains in profile.remains)]


def _folders(profile: Profile) -> Sequence[str]:
    return [thumbs.folder(photo, profile.user_id) for photo in (profile.photo, *(r.photo for r in profile.remains))]
