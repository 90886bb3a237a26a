"""Whose a matched face is, and who goes first: the part of the enrolment protocol that judges rivals."""

from __future__ import annotations

from collections.abc import Sequence

from selfiegate.enrolment.likeness import counts
from selfiegate.model import Claim, Contest, Match
from selfiegate.runtime import Runtime

Rival = tuple[Match, Sequence[Claim] | None]
"""A match with the pending rows its face may belong to; None where it is held for good."""


def holders(rt: Runtime, match: Match) -> Sequence[Claim] | None:
    """Return the pending rows that the matched face belongs to, or None where it is held for good.

    A face that no row names yet belongs to the row of the photo that it was enrolled from. A face of a user without any
    row (enrolled by an older system, say) is held. No rows to return means that none explains the face: its claim was
    just lost, or its user forgotten, and it is gone by now.
    """
    rows = rt.ledger.claims_of(match.user_id)
    exact = [row for row in rows if row.face_id == match.face_id]
    if exact:
        return exact if all(row.status == "pending" for row in exact) else None
    profile = rt.profiles.get(match.user_id)
    is_profile = profile is not None and profile.face_id == match.face_id
    if not rows:
        erasure = rt.erasures.get(match.user_id)
        if erasure is None or (is_profile and erasure.finished_at is not None):
            return None
        return []
    if is_profile:
        return None
    origin = match.origin or match.face_id
    unnoted = [row for row in rows if row.status == "pending" and row.face_id is None]  # enrolled, not yet noted
    unnoted = [row for row in unnoted if rt.faces.origin(row.photo, row.user_id) == origin]
    erasure = rt.erasures.get(match.user_id) if unnoted else None
    return [row for row in unnoted if not (erasure and erasure.covers(row))]  # the forgotten win nothing


def contesters(rt: Runtime, ours: Claim, unclear: bool) -> list[Rival]:
    """Return who contested us and is not refused, as if our own search had found them."""
    near = [contest for contest in ours.contests if counts(rt, contest.score, unclear)]  # theirs may be the unclear one
    rows = [(contest, rt.ledger.get(contest.photo, contest.user_id)) for contest in near]
    return [
        (
            Match(face_id=row.face_id or "", user_id=row.user_id, score=contest.score),
            [row] if row.status == "pending" else None,
        )
        for contest, row in rows
        if row and row.status in ("pending", "accepting", "accepted") and row.face_id
    ]


def contest(rt: Runtime, ours: Claim, rivals: Sequence[Rival]) -> bool:
    """Contest every younger rival; False where one is no longer pending, so that we must look again."""
    return all(
        rt.ledger.contest(row, Contest(user_id=ours.user_id, photo=ours.photo, score=match.score))
        for match, rows in rivals
        for row in rows or ()
    )


def outranks(rows: Sequence[Claim] | None, ours: Claim) -> bool:
    return rows is None or (len(rows) > 0 and all(row.seniority < ours.seniority for row in rows))
