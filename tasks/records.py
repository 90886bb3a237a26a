"""Steps that read and write ledger and profiles."""

from __future__ import annotations

from collections.abc import Sequence

from selfiegate.enrolment import profiles, protocol
from selfiegate.enrolment.protocol import Finding
from selfiegate.model import Check, Claim, PhotoRef, Profile, Reason
from selfiegate.runtime import runtime
from tasks.steps import step


@step("claim {photo.name}")
def claim_photo(photo: PhotoRef, user_id: str, owner: str, upload_order: str) -> Claim:
    """Claim the photo for this run, or learn its verdict."""
    return protocol.claim_photo(runtime(), photo, user_id, owner, upload_order)


@step("look for the profile of {claim.photo.name}")
def saved_profile(claim: Claim) -> Profile | None:
    """Return the profile that an earlier attempt saved."""
    return profiles.saved_profile(runtime(), claim)


@step("save profile for {claim.photo.name}")
def save_profile(claim: Claim, face_id: str, thumbnails: dict[str, str]) -> bool:
    """Make this photo the user's profile, unless a newer one is; say whether one was replaced."""
    return profiles.save_profile(runtime(), claim, face_id, thumbnails)


@step("remove the photo older than {claim.photo.name}")
def remove_older_photo(claim: Claim, face_id: str) -> None:
    """Remove the face and thumbnails that were replaced."""
    profiles.remove_older_photo(runtime(), claim, face_id)


@step("accept {claim.photo.name}")
def accept(claim: Claim, face_id: str, thumbnails: dict[str, str], checks: Sequence[Check], finding: Finding) -> Claim:
    """Store the verdict: accepted."""
    return protocol.settle(runtime(), claim, (), checks, finding, (face_id, thumbnails))


@step("refuse {claim.photo.name}")
def refuse(claim: Claim, reasons: Sequence[Reason], checks: Sequence[Check], finding: Finding) -> Claim:
    """Store the verdict: rejected, or to be reviewed, with all reasons."""
    return protocol.settle(runtime(), claim, reasons, checks, finding)
