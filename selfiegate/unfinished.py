"""Which photos `reconcile` runs again: those with work left whose runs are dead."""

from __future__ import annotations

from selfiegate.clock import now_us
from selfiegate.model import Claim
from selfiegate.runtime import Runtime

_LONGEST_BACK_OFF_S = 86_400.0
_MOST_WAITS = 32
"""Attempts that are told apart; a lease that doubles so often is longer than a day."""


def unfinished(rt: Runtime, limit: int) -> list[Claim]:
    """Return at most so many rows with work left whose runs are dead, those first that were tried the least.

    Each attempt doubles how long a row is left alone, up to a day: a photo may be what kills its runs. Where there are
    more rows than `limit`, half are those whose leases ended last and half those whose leases ended first. So a backlog
    keeps no new photo back, and no row stays in the backlog: each attempt moves a row to the other end.
    """
    waits = back_offs(rt.settings.lease_s)
    rows = list(rt.ledger.unfinished(now_us(), limit, waits))
    if len(rows) == limit:
        newest = rt.ledger.unfinished(now_us(), (limit + 1) // 2, waits, newest_first=True)
        both = {(row.user_id, row.photo.id): row for row in (*newest, *rows)}
        rows = list(both.values())[:limit]
    return sorted(rows, key=lambda row: (row.attempt, *row.seniority))


def count_to_review(rt: Runtime) -> int:
    """Return how many photos wait for a person."""
    return rt.ledger.to_review()


def back_offs(lease_s: float) -> list[int]:
    """Return how long a row is left alone after its lease, by attempt, in microseconds."""
    doubled = (lease_s * 2.0**attempt for attempt in range(_MOST_WAITS))
    return [0, *(int(1e6 * min(wait, _LONGEST_BACK_OFF_S)) for wait in doubled)]
