"""What every ledger works out alike, whatever stores its rows."""

from __future__ import annotations

from collections.abc import Sequence

from selfiegate.clock import now_us
from selfiegate.errors import ClaimLost
from selfiegate.model import Claim, Verdict


def is_due(lease_until: int, attempt: int, before: int, waits: Sequence[int]) -> bool:
    """Say whether `Ledger.unfinished` returns a row with work left."""
    return lease_until + (waits[min(attempt, len(waits)) - 1] if waits else 0) < before


def taken_over(claim: Claim) -> ClaimLost:
    """Return the error that says so."""
    return ClaimLost(f"another run took over {claim.photo.name} of {claim.user_id}")


def opened_anew(claim: Claim, upload_order: str, notify: bool) -> dict[str, str | int | None]:
    """Return what `Ledger.reopen` changes in a row, beside its attempt, verdict and contests."""
    face_id = "" if claim.status in ("rejected", "needs_review") else None  # a refused photo has none
    notice = "none" if notify else "off"
    changes: dict[str, str | int | None] = {
        "status": "pending",
        "lease_until": 0,
        "notice": notice,
        "face_id": face_id,
        "look_at": 0,
    }
    if upload_order:
        now = max(now_us(), claim.claimed_at + 1)
        changes |= {"upload_order": upload_order, "claimed_at": now, "uploads": claim.uploads + 1}
    return changes


def as_decided(row: Claim | None, claim: Claim, verdict: Verdict, written: bool) -> Claim:
    """Return the row that `Ledger.decide` leaves, written now or by a write whose reply was lost."""
    if row is None or not (written or row.verdict == verdict):
        raise taken_over(claim)
    return row
