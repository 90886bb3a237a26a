"""The profile's part of the enrolment protocol: saved when the face is won, the older photo removed after it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from selfiegate import thumbnails as thumbs
from selfiegate.enrolment.protocol import still_ours
from selfiegate.enrolment.uploads import date_profile
from selfiegate.errors import ClaimLost
from selfiegate.model import Claim, Profile, Remains
from selfiegate.runtime import Runtime


def saved_profile(rt: Runtime, claim: Claim) -> Profile | None:
    """Return the profile that an earlier attempt at this claim saved: all but the clean-up is done then."""
    profile = rt.profiles.get(claim.user_id) if claim.status == "accepting" else None
    if profile is None or (profile.photo, profile.face_id) != (claim.photo, claim.face_id):
        return None
    return date_profile(rt, claim.photo, claim.user_id, claim.upload_rank)


def save_profile(rt: Runtime, claim: Claim, face_id: str, thumbnails: Mapping[str, str]) -> bool:
    """Make this photo the user's profile, unless a newer photo is it already; repeating changes nothing.

    Returns whether a replaced photo is left to be removed.
    """
    while True:
        if still_ours(rt, claim, face_id).status != "accepting":
            raise ClaimLost(f"{claim.photo.name} of {claim.user_id} did not win its face")
        present = rt.profiles.get(claim.user_id)
        if present and present.photo == claim.photo and present.face_id == face_id:
            if dated := date_profile(rt, claim.photo, claim.user_id, claim.upload_rank):
                return bool(dated.remains)
            continue
        if present and present.upload_rank > claim.upload_rank:
            return True
        profile = Profile(
            user_id=claim.user_id,
            photo=claim.photo,
            face_id=face_id,
            thumbnails=dict(thumbnails),
            model=rt.faces.model,
            upload_rank=claim.upload_rank,
            enrolled_at=datetime.now(UTC),
            held_since=present.since if present else claim.claimed_at,
            remains=_remains(present) if present else (),
            # After an erasure it begins anew, and a run that read the profile before must not replace this one.
            revision=present.revision + 1 if present else claim.claimed_at,
        ).keeping(present)
        if rt.profiles.put(profile, replacing=present):
            return bool(profile.remains)


def remove_older_photo(rt: Runtime, claim: Claim, face_id: str) -> None:
    """Remove what replaced photos left in gallery and thumbnails; this photo's own, where a newer one won."""
    profile = rt.profiles.get(claim.user_id)
    if profile is None:
        return
    for remains in profile.remains:
        remove_remains(rt, remains, keep=profile)
    if profile.remains:
        cleaned = profile.model_copy(update={"remains": (), "revision": profile.revision + 1})
        rt.profiles.put(cleaned, replacing=profile)  # somebody newer has them noted, where this fails
    if profile.photo != claim.photo:
        remove_remains(rt, Remains(face_id=face_id, photo=claim.photo), keep=profile)


def _remains(replaced: Profile) -> tuple[Remains, ...]:
    return (*replaced.remains, Remains(face_id=replaced.face_id, photo=replaced.photo))


def remove_remains(rt: Runtime, remains: Remains, keep: Profile) -> None:
    """Remove what an older photo left behind, but for what is the profile's own."""
    if remains.face_id != keep.face_id:  # equal photos may have equal faces
        rt.faces.remove(remains.face_id)
    if remains.photo != keep.photo:
        rt.thumbnails.remove(thumbs.folder(remains.photo, keep.user_id))
