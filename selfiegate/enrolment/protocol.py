"""One face, one account: the protocol that stays safe under races, crashes and retries, on every backend.

No gallery can "insert unless similar" in one step, so the ledger decides, row by row, by compare-and-set:

    claim     insert the row (photo version, user), pending, with the time that settles its seniority
    search    refuse early: another user holds this face, or this is not the user of the profile
    enrol     note that a face may be in the gallery, put it there, note its id; the same photo and user give the same
    confirm   search by the enrolled face; of the other users whose faces match
                  one that is accepting or accepted                 -> we lose
                  one that is pending and older                     -> we lose
                  one that is pending and younger                   -> contest it, then
              accept, unless somebody contested us since we looked  -> confirm again, and lose if the
                                                                       contester won or is undecided
    save      write the profile; the older photo's face and thumbnail are noted in it as remains
    settle    remove the remains, then store the verdict

Whoever enrols second sees the first, and accepting is a compare-and-set, so two never both win. A row
without a verdict is unfinished business: running the photo again finishes it, whatever died meanwhile.
While a row is accepting or accepted, its face (or a newer one of the same user) is in the gallery.
A contest names the contester, so it is enough if one of two rivals sees the other.

A claim belongs to one attempt of one run while that renews its lease. Each step of a run that lost its
lease (its process slept) looks first and stops with `ClaimLost`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from selfiegate import thumbnails as thumbs
from selfiegate.advice import reason
from selfiegate.enrolment.likeness import code_of, is_doubtful, is_unclear
from selfiegate.enrolment.rivals import contest, contesters, holders, outranks
from selfiegate.enrolment.search import SearchResult
from selfiegate.enrolment.uploads import claim_upload
from selfiegate.errors import FaceRefused, PhotoInProgress, StillContested, WrongInput
from selfiegate.face import Face
from selfiegate.ledger_rules import taken_over
from selfiegate.model import Claim, Match, PhotoRef
from selfiegate.policy import Judgement, judge
from selfiegate.privacy import erasures
from selfiegate.runtime import Runtime
from selfiegate.stuck import alive
from selfiegate.user_ids import user_id_of

_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Between confirmations: an older claim is decided, and a lost face gone, after some ten milliseconds."""


def claim_photo(
    rt: Runtime, photo: PhotoRef, user_id: str, owner: str, upload_order: str = "", notify: bool = True
) -> Claim:
    """Claim a photo for a run; a decided one comes back with its verdict, unless it was uploaded again since.

    Raises `PhotoInProgress` while another run holds it, `BackendUnavailable` while its user is being forgotten,
    `UserForgotten` where the photo was uploaded before its user asked for that, and `WrongInput` where the face backend
    cannot store the user id.
    """
    _check_user_id(rt, photo, user_id)
    wish = erasures.before_claim(rt, photo, user_id, upload_order)
    claim = claim_upload(rt, photo, user_id, owner, upload_order, notify)
    erasures.after_claim(rt, claim, owner, upload_order, wish)
    if claim.verdict is None and claim.owner != owner:
        raise PhotoInProgress(f"another run is working on {photo.name} of {user_id}")
    return claim


def _check_user_id(rt: Runtime, photo: PhotoRef, user_id: str) -> None:
    try:
        user_id_of(user_id, rt.settings.backend)
    except WrongInput:
        row = rt.ledger.get(photo, user_id)
        if row and row.status == "pending":  # of a version that had claimed it before it looked: it would never end
            rt.thumbnails.remove(thumbs.folder(photo, user_id))
            rt.ledger.remove(row)
        raise


def judge_photo(rt: Runtime, photo: PhotoRef) -> Judgement:
    """Find the faces of a photo and hold them against the rules; one that cannot be read is an outcome, no error."""
    return judge(rt.faces.detect(photo), rt.settings.rules)


def enrol_face(rt: Runtime, claim: Claim) -> str:
    """Put the face into the gallery and return its id; repeating it changes nothing.

    The row is noted before and after: what died between the two can be withdrawn without a look through the gallery.
    """
    first = announce_face(rt, claim)
    try:
        face_id = rt.faces.enrol(claim.photo, claim.user_id)
    except FaceRefused:
        if first:
            rt.ledger.note_face(claim, "")  # so that a withdrawal has nothing to ask for
        raise
    if not rt.ledger.note_face(claim, face_id):
        still_ours(rt, claim, face_id)  # raises, and knows why
        raise taken_over(claim)
    return face_id


def announce_face(rt: Runtime, claim: Claim) -> bool:
    """Note that a face of this claim may be in the gallery from now on; False where that is noted, or more."""
    if still_ours(rt, claim).face_id != "":
        return False
    if not rt.ledger.note_face(claim, None):
        raise taken_over(claim)
    return True


def make_thumbnails(rt: Runtime, claim: Claim, face: Face) -> dict[str, str]:
    """Render and store the thumbnails; returns size to where it lies."""
    settings = rt.settings.thumbnails
    files = thumbs.render(rt.photos.read(claim.photo), face, settings, rt.settings.photos)
    still_ours(rt, claim)
    return {
        size: rt.thumbnails.put(thumbs.key(claim.photo, claim.user_id, size, settings), data, settings.content_type)
        for size, data in files.items()
    }


def confirm_enrolment(rt: Runtime, claim: Claim, face_id: str, quality: float | None) -> SearchResult | None:
    """Win the face, of this quality, (None) or return to whom it is lost.

    Raises `StillContested` where it stays contested, `ClaimLost` where another run took over.
    """
    found, unclear = Contention(), is_unclear(rt, claim.photo, claim.user_id, quality)
    for pause in _PAUSES_S:
        alive()
        ours = still_ours(rt, claim, face_id)  # read before the search: contests that come later make accept fail
        if ours.status == "accepting":
            return None
        found = contend(rt, ours, rt.faces.rivals(face_id, claim.user_id, unclear), unclear)
        if found.won or found.lost_to:
            return lost(rt, found.lost_to) if found.lost_to else None
        time.sleep(pause)
    if found.unexplained:  # not on its way out after all: nobody knows whose it is, so it counts as held
        return lost(rt, found.unexplained)
    raise StillContested(f"the claim on the face of {claim.photo.name} is contested again and again")


class Contention(NamedTuple):
    """How one attempt to win a face ended; with nothing set, somebody else is to be waited for."""

    won: bool = False
    lost_to: Match | None = None
    unexplained: Match | None = None


def contend(rt: Runtime, ours: Claim, matches: Sequence[Match], unclear: bool) -> Contention:
    """Try once to win a face, clear or not, against the matches of a search that began after `ours` was read."""
    rivals = []
    for match, rows in chain(((match, holders(rt, match)) for match in matches), contesters(rt, ours, unclear)):
        if outranks(rows, ours):  # nor need the rest be read: of 100 photos of one person each has 99 rivals
            return Contention(lost_to=match)
        rivals.append((match, rows))
    unexplained = next((match for match, rows in rivals if rows == [] and rt.faces.holds(match.face_id)), None)
    won = not unexplained and contest(rt, ours, rivals) and rt.ledger.accept(ours)
    return Contention(won=won, unexplained=unexplained)


def withdraw(rt: Runtime, claim: Claim) -> None:
    """Take back face and thumbnails of a claim that did not win, or whose profile could not be saved.

    Does nothing where the profile was saved after all: then the photo is run forward, not back. Raises
    `ClaimLost` where another run took over; what that one refused is taken back all the same.
    """
    profile, before = rt.profiles.get(claim.user_id), rt.ledger.get(claim.photo, claim.user_id)
    is_profile = profile is not None and profile.photo == claim.photo
    # A pending row saved nothing: such a profile is an earlier one, whose photo was opened again.
    if profile and is_profile and before and before.status != "pending" and before.face_id == profile.face_id:
        return
    ours = rt.ledger.release(claim)
    row = rt.ledger.get(claim.photo, claim.user_id)
    if ours or (row and row.verdict and row.status != "accepted"):
        if before and before.face_id:
            rt.faces.remove(before.face_id)
        elif before is None or before.face_id is None:
            rt.faces.discard(claim.photo, claim.user_id)
        if not is_profile:
            rt.thumbnails.remove(thumbs.folder(claim.photo, claim.user_id))
    if not ours:
        still_ours(rt, claim)  # raises, and knows why
        raise taken_over(claim)


def lost(rt: Runtime, match: Match) -> SearchResult:
    """Return the finding of a claim that lost to another user's face."""
    return SearchResult(reasons=(reason(code_of(rt, match)),), match=match, review=is_doubtful(rt, match))


def still_ours(rt: Runtime, claim: Claim, face_id: str | None = None) -> Claim:
    """Return the row as it stands; raises `ClaimLost` where another run took over or it is decided.

    Where its user was forgotten it takes back what came after the sweep, the face that we enrolled included, and raises
    `UserForgotten`.
    """
    row = rt.ledger.get(claim.photo, claim.user_id)
    if row is None and erasures.covers(rt, claim):
        erasures.take_back(rt, claim, face_id)
        raise erasures.forgotten(claim)
    if row is None or row.verdict or (row.owner, row.attempt) != (claim.owner, claim.attempt):
        raise taken_over(claim)
    return row
