"""Repairs what an audit found, looking once more right before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from selfiegate.audit.orphans import Kind, Orphan, faces_of, folders_of, is_ours, of_face
from selfiegate.audit.rounds import undecided_folders
from selfiegate.enrolment.protocol import judge_photo
from selfiegate.model import Claim, ReasonCode
from selfiegate.privacy.erasures import is_forgotten
from selfiegate.runtime import Runtime

_LOST = ReasonCode.FACE_ALREADY_ENROLLED
_FEW, _SMALL_SHARE = 20, 0.05
"""More findings than this, and than this share of what was looked at, are no leftovers: a store is missing, say."""
_STORES = {
    Kind.FACE: "faces",
    Kind.FOREIGN_FACE: "faces",
    Kind.LOST_PROFILE: "faces",
    Kind.PROFILE: "profiles",
    Kind.THUMBNAIL: "thumbnails",
    Kind.BARE_PROFILE: "thumbnails",
    Kind.UNREADABLE: "profiles",
}


def too_many(found: Sequence[Orphan], seen: Mapping[str, int]) -> int:
    """Return how many findings there are where they are no leftovers, else 0."""
    by_store = Counter(_STORES[orphan.kind] for orphan in found)
    are_many = any(count > max(_FEW, _SMALL_SHARE * seen[store]) for store, count in by_store.items())
    return len(found) if are_many else 0


def remove(rt: Runtime, orphan: Orphan) -> bool:
    """Remove a face or thumbnails that nothing explains, having looked once more; False for anything else."""
    if orphan.kind is Kind.FACE and orphan.face:
        now = of_face(rt, orphan.face)
        if now is None or now.kind is not Kind.FACE:
            return False
        rt.faces.remove(orphan.name)
        return True
    return orphan.kind is Kind.THUMBNAIL and orphan.name in remove_thumbnails(rt, [orphan.name])


def remove_thumbnails(rt: Runtime, folders: Sequence[str]) -> Sequence[str]:
    """Remove thumbnails that nothing explains, but for those that a run is about to account for; return the others."""
    at_work = {folder for page in undecided_folders(rt) for folder in page}
    removed = [folder for folder in folders if is_ours(folder) and folder not in at_work]
    for folder in removed:
        rt.thumbnails.remove(folder)
    return removed


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
    for face_id in faces_of(profile):
        rt.faces.remove(face_id)
    for folder in folders_of(profile):
        rt.thumbnails.remove(folder)
    return True


def _row(rt: Runtime, orphan: Orphan) -> Claim | None:
    return rt.ledger.get(orphan.photo, orphan.user_id) if orphan.photo and orphan.user_id else None
