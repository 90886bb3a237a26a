"""What becomes of two users with one face, whom a search let through: who has held it for less long loses it, late.

    note       in the loser's row, by compare-and-set: to whom, and which face. The row stays accepted
    look       whether the winner still holds the face; if not, the note goes, and nothing else has happened
    take back  the profile, by compare-and-set, then the face and the thumbnails
    lose       the row's verdict turns from accepted to that of any photo that loses, by compare-and-set

Each step may be repeated. A row with such a note is due for a look until it has lost, so whoever dies in between leaves
that to the next `reconcile`. The photo is not needed: it may be gone by then. Once the profile is gone, the loss is
carried out, also where the winner is forgotten meanwhile; the loser may upload a photo again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from selfiegate import thumbnails as thumbs
from selfiegate.clock import now_us
from selfiegate.enrolment.profiles import remove_remains
from selfiegate.enrolment.rivals import holders
from selfiegate.enrolment.verdicts import lose
from selfiegate.errors import BackendUnavailable
from selfiegate.model import Claim, LateLoss, Match, Profile
from selfiegate.runtime import Runtime
from selfiegate.stuck import alive

_MOST_MATCHES = 100
"""Of one face. Each of the others is looked up as well, and finds the one that has been held for longest."""


class Look(NamedTuple):
    """What became of one accepted row when its face was looked up."""

    lost: Sequence[Claim] = ()
    """The rows that lost the face, as decided."""
    again: str = ""
    """Why the row is to be looked at once more; empty: it is not."""


def look_up(rt: Runtime, row: Claim, profile: Profile) -> Look:
    """Search the gallery for the face of an accepted row's profile, and let the younger of two such users lose it."""
    if _is_leaving(rt, profile):
        return Look(again=f"{row.user_id} is being forgotten")
    matches = _matches(rt, profile)
    looks = [Look(again="more faces match than one look takes")] if len(matches) > _MOST_MATCHES else []
    for match in matches[:_MOST_MATCHES]:
        alive()
        looks.append(_settle(rt, profile, match))
        if rt.profiles.get(profile.user_id) != profile:
            break  # we lost
    return Look([row for look in looks for row in look.lost], next((look.again for look in looks if look.again), ""))


def take_back(rt: Runtime, loser: Claim | Profile) -> Look:
    """Carry out what is noted in the row of a photo."""
    row = rt.ledger.get(loser.photo, loser.user_id)
    if row is None or row.late_loss is None or not row.loses_late:
        return Look()
    profile, loss = rt.profiles.get(row.user_id), row.late_loss
    if profile and profile.photo == row.photo and (kept := _take_profile(rt, row, loss, profile)):
        return Look(again=kept)
    if rt.ledger.get(row.photo, row.user_id) != row:
        return Look()  # opened again, or forgotten
    newer = rt.profiles.get(row.user_id)
    if newer is None or newer.face_id != loss.face_id:  # equal photos may have equal faces
        rt.faces.remove(loss.face_id)
    if newer is None or newer.photo != row.photo:
        rt.thumbnails.remove(thumbs.folder(row.photo, row.user_id))
    if newer:  # a photo that took its place: that one is looked up by itself
        rt.ledger.look_later(row, 0)
        return Look()
    decided = rt.ledger.get(row.photo, row.user_id) if lose(rt, row, loss.match) else None
    return Look([decided] if decided else ())


def _take_profile(rt: Runtime, row: Claim, loss: LateLoss, profile: Profile) -> str:
    """Remove the profile of a photo that loses its face, and its remains; return why it was kept, empty if it was not.

    Where the winner does not hold the face any more, the profile is written anew before the note goes: a process that
    slept since it read both then removes nothing.
    """
    winner = rt.profiles.get(loss.user_id)
    if _is_leaving(rt, profile):
        return f"{row.user_id} is being forgotten"
    if profile.face_id != loss.face_id or winner is None or not _is_held(rt, winner, loss.match):
        kept = profile.model_copy(update={"revision": profile.revision + 1})
        if rt.profiles.put(kept, replacing=profile):
            rt.ledger.look_later(row, now_us())
        return f"{loss.user_id} holds the face no longer"
    if rt.ledger.get(row.photo, row.user_id) != row:
        return "its row has changed"
    for remains in profile.remains:
        remove_remains(rt, remains, keep=profile)  # the profile may still stay
    return "" if rt.profiles.remove(profile) else "its profile has changed"


def _settle(rt: Runtime, ours: Profile, match: Match) -> Look:
    """Let the younger of two users lose a face, where both hold it for good."""
    rival = rt.profiles.get(match.user_id)
    if rival is None or not _is_held(rt, rival, match):
        return Look(again=f"a face of {match.user_id} matches, and no accepted photo accounts for it")
    older, younger = sorted((ours, rival), key=lambda one: (one.since, one.user_id))
    if not _note(rt, younger, older, match.score):
        return Look(again=f"the photo of {younger.user_id} has no accepted row, or that has changed")
    return take_back(rt, younger)


def _matches(rt: Runtime, profile: Profile) -> Sequence[Match]:
    """Return the other users' faces that match a profile's and are in the gallery now."""
    try:
        found = rt.faces.late_rivals(profile.face_id, profile.user_id)
    except BackendUnavailable:
        if rt.faces.holds(profile.face_id):
            raise
        return ()  # the audit mends a profile without its face
    there = rt.faces.held([match.face_id for match in found]) if found else ()
    return [match for match in found if match.face_id in there]


def _is_held(rt: Runtime, profile: Profile, match: Match) -> bool:
    """Say whether a matched face is this profile's, for good: its row is accepted, or an older system enrolled it."""
    if profile.face_id != match.face_id or holders(rt, match) is not None or _is_leaving(rt, profile):
        return False
    row = rt.ledger.get(profile.photo, profile.user_id)
    return row is None or (row.status == "accepted" and not row.loses_late)


def _is_leaving(rt: Runtime, profile: Profile) -> bool:
    erasure = rt.erasures.get(profile.user_id)
    return erasure is not None and (erasure.finished_at is None or erasure.covers_upload(profile.upload_rank))


def _note(rt: Runtime, loser: Profile, winner: Profile, score: float) -> bool:
    """Write into the row of a profile that it loses its face; it is due for a look from now on."""
    row = rt.ledger.get(loser.photo, loser.user_id)
    if row is None or row.status != "accepted" or row.loses_late:
        return False
    loss = LateLoss(
        user_id=winner.user_id,
        winner_face_id=winner.face_id,
        score=score,
        face_id=loser.face_id,
        attempt=row.attempt,
    )
    return rt.ledger.look_later(row, now_us(), loss)
