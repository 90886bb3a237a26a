"""Which upload a row stands for: the same bytes, uploaded again later, are a new wish.

A folder and a bucket without versions name a photo's version by its bytes. So where a user uploads photo A, then B in
its place, then A again, the first and the third upload have one row. A claim for a later upload than the row's

    - opens a decided row anew, so that the photo is judged, enrolled and told of once more
    - lets the user's profile count from the later upload, where the photo is the profile already
    - lets an undecided row that the claim takes over count from the later upload

The same event once more, an older event and a command that knows no time of upload change nothing.
"""

from __future__ import annotations

from selfiegate.errors import PhotoInProgress
from selfiegate.model import Claim, PhotoRef, Profile
from selfiegate.runtime import Runtime

_CLOCKS_DIFFER_US = 60_000_000
"""An event and a listing tell different times of one upload: when it ended or began, whole seconds or parts of them."""
_TRIES = 3


def is_later(upload_order: str, row: Claim) -> bool:
    """Say whether an upload is a later one than that which a row stands for."""
    if not upload_order or not row.photo.recurs:
        return False
    known = row.upload_rank
    if _clock(upload_order) != _clock(known):
        return int(upload_order[:16]) > int(known[:16]) + _CLOCKS_DIFFER_US
    # S3's notification and EventBridge tell one upload with one sequencer, and its time more or less exactly.
    return upload_order > known and not (_sequencer(known) and _sequencer(known) == _sequencer(upload_order))


def _clock(order: str) -> tuple[bool, bool]:
    return "." in order, bool(_sequencer(order))


def _sequencer(order: str) -> str:
    return order.partition(".")[2].lstrip("0")


def claim_upload(
    rt: Runtime, photo: PhotoRef, user_id: str, owner: str, upload_order: str = "", notify: bool = True
) -> Claim:
    """Return the photo's row after asking for it, opened anew where it was decided for an earlier upload.

    Raises `PhotoInProgress` where other runs change the row again and again.
    """
    for _ in range(_TRIES):
        row = rt.ledger.claim(photo, user_id, owner, rt.settings.lease_s, upload_order, notify)
        if not is_later(upload_order, row) or (row.verdict is None and row.owner != owner):
            return row
        is_profile = row.status == "accepted" and date_profile(rt, photo, user_id, upload_order)
        if row.verdict and not is_profile:
            rt.ledger.reopen(row, upload_order, notify)
        elif rt.ledger.note_upload(row, upload_order):
            return row.model_copy(update={"upload_order": upload_order})
    raise PhotoInProgress(f"other runs are working on {photo.name} of {user_id}")


def date_profile(rt: Runtime, photo: PhotoRef, user_id: str, upload_rank: str) -> Profile | None:
    """Let a profile count from this upload of its photo, or a later one; None where the photo is not the profile."""
    while True:
        profile = rt.profiles.get(user_id)
        if profile is None or profile.photo != photo:
            return None
        if profile.upload_rank >= upload_rank:
            return profile
        dated = profile.model_copy(update={"upload_rank": upload_rank, "revision": profile.revision + 1})
        if rt.profiles.put(dated, replacing=profile):
            return dated


def wait_for_removal(rt: Runtime, claim: Claim) -> None:
    """Raise `PhotoInProgress` while a run may still remove what an earlier upload of this photo had left.

    The photo that replaced this one removes the face and the thumbnails before it is decided. They are made anew now,
    under the same names.
    """
    if claim.uploads > 1 and claim.status == "pending":
        for row in rt.ledger.claims_of(claim.user_id):
            if row.status == "accepting":
                raise PhotoInProgress(f"another run is working on {row.photo.name} of {claim.user_id}")
