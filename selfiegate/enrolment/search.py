"""What the gallery says about a photo before its face is enrolled."""

from __future__ import annotations

from collections.abc import Sequence

from selfiegate.advice import reason
from selfiegate.enrolment.likeness import code_of, is_doubtful, is_unclear
from selfiegate.enrolment.rivals import holders
from selfiegate.errors import PhotoInProgress
from selfiegate.model import Claim, Match, PhotoRef, Profile, Reason, ReasonCode
from selfiegate.runtime import Runtime
from selfiegate.values import Value

_LOOKS = 3
"""How often the gallery is searched while the user's profile changes."""


class SearchResult(Value):
    """What the gallery says about a probe; reasons are empty if it may be enrolled."""

    reasons: tuple[Reason, ...] = ()
    match: Match | None = None
    review: bool = False
    own_score: float | None = None


def search_gallery(rt: Runtime, claim: Claim, quality: float | None) -> SearchResult:
    """Look the photo's face, of this quality, up; only faces that somebody holds for good count against it here."""
    won = claim.status == "accepting"  # a face that is won is not lost to one that is merely like it
    return search_photo(rt, claim.photo, claim.user_id, None if won else quality)


def search_photo(rt: Runtime, photo: PhotoRef, user_id: str, quality: float | None) -> SearchResult:
    """Do the same for a photo that nobody claimed.

    Raises `PhotoInProgress` where other photos of the user become the profile again and again.
    """
    unclear = is_unclear(rt, photo, user_id, quality)
    for _ in range(_LOOKS):
        profile = rt.profiles.get(user_id)  # before the search: then its face is in the gallery
        matches = rt.faces.search(photo, user_id, unclear)
        if not profile or profile.face_id in {match.face_id for match in matches}:
            break
        now = rt.profiles.get(user_id)
        if now and now.face_id == profile.face_id:
            break  # it was not replaced and removed before the search: it is not like this one
    else:
        raise PhotoInProgress(f"other photos of {user_id} are being enrolled")
    return _found(rt, photo, user_id, profile, matches, unclear)


def _found(
    rt: Runtime, photo: PhotoRef, user_id: str, profile: Profile | None, matches: Sequence[Match], unclear: bool
) -> SearchResult:
    """Say what the matches of a photo mean to a user with this profile."""
    others = [match for match in matches if match.user_id != user_id]
    held = next((match for match in others if holders(rt, match) is None), None)
    if profile and (profile.photo == photo or profile.model not in ("", rt.faces.model)):
        profile = None  # ours already, or of a model whose faces cannot be compared
    own = max((m.score for m in matches if profile and m.face_id == profile.face_id), default=None)
    stranger = profile is not None and (own is None or own < rt.faces.thresholds.verify)
    codes = [code_of(rt, held)] if held else []
    if stranger:
        codes.append(ReasonCode.DIFFERENT_PERSON)
    if unclear and not codes and own is not None and own < rt.faces.thresholds.match:
        codes.append(ReasonCode.UNCLEAR_MATCH)  # or the clear face would make way, and open a second account
    review = held is not None and is_doubtful(rt, held) and not stranger
    return SearchResult(reasons=tuple(map(reason, codes)), match=held, review=review, own_score=own)
