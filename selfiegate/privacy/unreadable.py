"""The part of an erasure that removes rows which this version of the program cannot read."""

from __future__ import annotations

from collections import Counter

from selfiegate.clock import in_us
from selfiegate.errors import UnreadableRow
from selfiegate.privacy.erasures import changed, still, sum_of
from selfiegate.records import Erasure
from selfiegate.rows import warn
from selfiegate.runtime import Runtime


def drop_unreadable(rt: Runtime, ours: Erasure) -> Erasure:
    """Remove a user's ledger rows and profile as far as they cannot be read.

    Faces and thumbnails of theirs are found by the user's name. An original photo that only such a row names stays.
    """
    rows = list[UnreadableRow]()
    rt.ledger.claims_of(ours.user_id, rows.append)
    try:
        rt.profiles.get(ours.user_id)
    except UnreadableRow as profile:
        rows.append(profile)
    if not rows:
        return ours

    def waiting(present: Erasure | None) -> Erasure:
        present = still(present, ours)  # a run of a newer version may be at such a row, for as long as its lease lasts
        leases_end_at = max(present.leases_end_at, in_us(rt.settings.lease_s))
        return present.model_copy(update={"leases_end_at": leases_end_at})

    def counted(present: Erasure | None) -> Erasure:
        present = still(present, ours)
        return present.model_copy(update={"removed": sum_of(present.removed, gone)})

    changed(rt.erasures, ours.user_id, waiting)
    gone = Counter(f"unreadable {row.kind}" for row in rows if _removed(rt, row))
    return changed(rt.erasures, ours.user_id, counted)


def _removed(rt: Runtime, row: UnreadableRow) -> bool:
    warn(row)
    return rt.profiles.remove(row) if row.kind == "profile" else rt.ledger.remove(row)
