"""What would become of photos: a backfill's dry run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

from selfiegate.backfill.listing import Entry, pinned
from selfiegate.backfill.outcomes import Outcome
from selfiegate.enrolment.protocol import judge_photo
from selfiegate.enrolment.search import SearchResult, search_photo
from selfiegate.errors import BackendMisconfigured
from selfiegate.privacy.erasures import is_forgotten
from selfiegate.runtime import Runtime
from selfiegate.stuck import watched


def preview(rt: Runtime, entries: Sequence[Entry], pool: Executor) -> list[Outcome]:
    """Return what would become of photos as against what is enrolled now, and what the ledger says; writes nothing.

    Two photos of this very listing that show one face are not held against each other.
    """

    def look(entry: Entry) -> Outcome:
        with watched("a photo of a dry run", rt.settings.stuck_after_s):
            return _outcome(rt, entry)

    return list(pool.map(look, entries))


def _outcome(rt: Runtime, entry: Entry) -> Outcome:
    about = {"uri": entry.uri, "user_id": entry.user_id}
    try:
        photo = pinned(rt.photos, entry)
        row = rt.ledger.get(photo, entry.user_id)
        if is_forgotten(rt.erasures, entry.user_id, entry.upload_order):
            return Outcome(**about, status="skipped", why="its user asked to be forgotten", photo=photo)
        judgement, searched = judge_photo(rt, photo), SearchResult()
        if judgement.face and not judgement.reasons:
            searched = search_photo(rt, photo, entry.user_id, judgement.face.quality)
    except BackendMisconfigured:
        raise
    except Exception as error:  # as in a chunk: one photo must not stop the others
        return Outcome(**about, status="failed", why=f"{type(error).__name__}: {error}")
    reasons = (*judgement.reasons, *searched.reasons)
    status = "needs_review" if searched.review else "rejected" if reasons else "accepted"
    return Outcome(**about, status=status, reasons=reasons, before=row.status if row else "", photo=photo)
