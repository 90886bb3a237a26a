"""Rows that `reconcile` cannot read: each sweep skips them, so they are listed here."""

from __future__ import annotations

from selfiegate.clock import now_us
from selfiegate.errors import UnreadableRow
from selfiegate.runtime import Runtime

_MOST = 1000
"""Rows with work left that are read in search of others that cannot be."""


def unreadable_rows(rt: Runtime) -> list[tuple[str, str]]:
    """Return whose rows with work left cannot be read, and why; a row that a run holds is left to that run."""
    found: list[UnreadableRow] = []
    rt.ledger.unfinished(before=now_us(), limit=_MOST, skip=found.append)
    rt.erasures.unfinished(found.append)
    return [(row.user_id, str(row)) for row in found]
