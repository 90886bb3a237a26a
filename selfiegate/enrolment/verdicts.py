"""The verdict's part of the enrolment protocol: stored once, and told to the user where the photo is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from selfiegate.clock import in_us
from selfiegate.enrolment.likeness import threshold_of
from selfiegate.enrolment.protocol import lost, still_ours
from selfiegate.enrolment.search import SearchResult
from selfiegate.errors import BackendUnavailable, ClaimLost, PartlyTold
from selfiegate.model import Check, Claim, Match, Reason, Verdict
from selfiegate.runtime import Runtime

Status = Literal["accepted", "rejected", "needs_review"]


def accept(
    rt: Runtime,
    claim: Claim,
    face_id: str,
    thumbnails: Mapping[str, str],
    checks: Sequence[Check],
    searched: SearchResult,
) -> Claim:
    """Store the verdict: accepted. The face is won and the profile saved by now."""
    return _decide(rt, claim, _verdict(rt, claim, "accepted", (), checks, searched, (face_id, thumbnails)))


def refuse(
    rt: Runtime,
    claim: Claim,
    reasons: Sequence[Reason],
    checks: Sequence[Check],
    searched: SearchResult,
) -> Claim:
    """Store the verdict: rejected, or to be reviewed, with all reasons."""
    return _decide(rt, claim, _verdict(rt, claim, _status_of(searched), reasons, checks, searched))


def lose(rt: Runtime, row: Claim, match: Match) -> bool:
    """Replace the verdict of an accepted row by that of one that lost to this face; False where the row has changed."""
    searched = lost(rt, match)
    checks = row.verdict.checks if row.verdict else ()
    return rt.ledger.lose(row, _verdict(rt, row, _status_of(searched), searched.reasons, checks, searched))


def _status_of(searched: SearchResult) -> Status:
    return "needs_review" if searched.review else "rejected"


def _decide(rt: Runtime, claim: Claim, verdict: Verdict) -> Claim:
    after_s = rt.settings.recheck_after_s if verdict.status == "accepted" else 0
    try:
        return rt.ledger.decide(claim, verdict, in_us(after_s) if after_s else 0)
    except ClaimLost:
        still_ours(rt, claim, verdict.face_id)  # raises `UserForgotten` where that is why
        raise


def _verdict(
    rt: Runtime,
    claim: Claim,
    status: Status,
    reasons: Sequence[Reason],
    checks: Sequence[Check],
    searched: SearchResult,
    enrolled: tuple[str, Mapping[str, str]] | None = None,
) -> Verdict:
    face_id, thumbnails = enrolled or (None, {})
    score = searched.match.score if searched.match else searched.own_score
    threshold = threshold_of(rt, searched.match) if searched.match else rt.faces.thresholds.verify
    return Verdict(
        status=status,
        user_id=claim.user_id,
        photo=claim.photo,
        reasons=tuple(reasons),
        checks=tuple(checks),
        face_id=face_id,
        matched_user_id=searched.match.user_id if searched.match else None,
        score=score,
        threshold=threshold if score is not None else None,
        thumbnails=dict(thumbnails),
        model=rt.faces.model,
        policy=rt.settings.rules.digest,
    )


def notify_user(rt: Runtime, claim: Claim) -> None:
    """Tell the user what is wrong; a notice that fails may be tried again.

    The ledger is the outbox: whoever takes the notice sends it. A notice is sent twice only where a process is
    killed, or sleeps for longer than its lease, between sending it and writing that down. Of several ways, those that
    failed are tried again, and no other.
    """
    if claim.verdict is None:
        return
    token = rt.ledger.begin_notice(claim, rt.settings.lease_s)
    if token is None:
        row = rt.ledger.get(claim.photo, claim.user_id)
        if row and row.notice == "sending":
            raise BackendUnavailable(f"another run is telling {claim.user_id} of {claim.photo.name}, or died at it")
        return
    try:
        row = rt.ledger.get(claim.photo, claim.user_id)
        rt.notifier.notify(claim.verdict, row.told if row else ())
    except PartlyTold as partly:
        rt.ledger.end_notice(claim, token, sent=False, told=partly.told)
        raise partly.error from None
    except Exception:
        rt.ledger.end_notice(claim, token, sent=False)
        raise
    rt.ledger.end_notice(claim, token, sent=True, told=())
