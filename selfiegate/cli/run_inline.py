"""Runs the sequences in this process, without Prefect: the same steps, retried alike, and nothing recorded."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Unpack

from selfiegate import reconciliation
from selfiegate.backfill.listing import Listing
from selfiegate.backfill.processor import CHUNK, BackfillOptions, processor_here, side_by_side
from selfiegate.backfill.progress import BackfillProgress
from selfiegate.backfill.rounds import take_all
from selfiegate.backfill.sources import entries
from selfiegate.cli.console import err, shown
from selfiegate.cli.runner import BackfillAsked
from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import BackendUnavailable, ClaimLost, PhotoInProgress, UserForgotten
from selfiegate.model import Claim, PhotoRef, Verdict
from selfiegate.privacy.sequence import forget_user
from selfiegate.reconciliation import Restarts
from selfiegate.records import Erasure
from selfiegate.runtime import runtime
from selfiegate.steps import inline

_log = logging.getLogger(__name__)


def verdicts(photos: Iterable[tuple[PhotoRef, str]]) -> list[Verdict]:
    """Take each photo of each user to its verdict; a fault raises a `SelfiegateError`."""

    async def verdict(photo: PhotoRef, user_id: str) -> Verdict:
        try:
            claim = await process_photo(runtime(), inline(runtime()), photo, user_id, _owner())
        except PhotoInProgress as elsewhere:
            raise PhotoInProgress(f"{elsewhere}; try again in a minute") from None
        assert claim.verdict is not None  # noqa: S101  a claim that is decided has one
        return claim.verdict

    async def run() -> list[Verdict]:
        return [await verdict(photo, user_id) for photo, user_id in photos]

    return asyncio.run(run())


def forgotten(user_id: str, photos: bool, keep_originals: bool) -> Erasure:
    """Forget a user and return the receipt; raises `BackendUnavailable` where another run took over.

    Runs that a Prefect server recorded of the user's photos are out of reach; stderr says so.
    """
    _say_that_runs_stay(user_id)
    try:
        rt = runtime()
        work = forget_user(rt, inline(rt), user_id, _owner(), photos, keep_originals=keep_originals)
        return asyncio.run(work)
    except ClaimLost:
        raise BackendUnavailable(f"another run is forgetting {user_id}; try again when it is done") from None


def reconciled(*, limit: int, audit: bool, repair: bool) -> tuple[dict[str, int], str]:
    """Finish what died; return how many findings of each kind there were, and which parts failed."""
    restarts = Restarts(_photo_again, _carry_on, _no_runs)
    work = reconciliation.reconcile(
        runtime(), inline(runtime()), restarts, limit=limit, at_once=1, audit=audit, repair=repair
    )
    done = asyncio.run(work)
    return done.counts, done.failures


def backfilled(watch: Callable[[int, int], None], **asked: Unpack[BackfillAsked]) -> tuple[dict[str, Any], bool]:
    """Run a backfill; return its counts, and whether no more photos failed than are tolerated."""
    rt = runtime()
    workers, records_id = asked["workers"] or side_by_side(rt), rt.known_gallery.records_id
    options = BackfillOptions(_owner(), workers, asked["notify"], asked["dry_run"], records_id)

    async def show(done: int, total: int) -> None:
        watch(done, total)

    async def run(listing: Listing, progress: BackfillProgress) -> None:
        with processor_here(rt, options) as processor:
            await take_all(processor, listing, CHUNK, progress)

    with Listing(asked["order"]) as listing:
        listing.add(entries(asked["source"], rt.settings, asked["key_template"]))
        total = len(listing) + listing.fault_count
        with BackfillProgress(rt, total, asked["report"], asked["html"], show) as progress:
            asyncio.run(run(listing, progress))
    progress.summary.finish()
    return progress.summary.as_json(), progress.summary.failed_share <= asked["tolerate"]


async def _photo_again(row: Claim) -> str:
    try:
        of_row = row.photo, row.user_id, _owner(), row.upload_rank
        claim = await process_photo(runtime(), inline(runtime()), *of_row, notify=False)
    except PhotoInProgress:
        return "InProgress"
    except UserForgotten:
        return "Forgotten"
    except Exception as error:  # whatever a library raises about one photo: the others go on
        _log.error("%s of %s failed: %s: %s", row.photo.name, row.user_id, type(error).__name__, error)
        return "Failed"
    return claim.verdict.outcome if claim.verdict else "InProgress"


async def _carry_on(erasure: Erasure) -> str:
    rt = runtime()
    try:
        await forget_user(rt, inline(rt), erasure.user_id, _owner(), erasure.photos, erasure.asked_at)
    except ClaimLost:
        return "InProgress"
    except Exception as error:  # whatever a store raises: the others go on
        _log.error("forgetting %s failed: %s: %s", erasure.user_id, type(error).__name__, error)
        return f"Failed: {error}"
    _say_that_runs_stay(erasure.user_id)
    return "Forgotten"


def _say_that_runs_stay(user_id: str) -> None:
    err.print(
        f"[dim]Runs that a Prefect server recorded of {shown(user_id)} stay; set PREFECT_API_URL, in a checkout or the "
        "image, and run `selfiegate forget` to have them removed.[/]",
        soft_wrap=True,
    )


async def _no_runs() -> int:
    return 0


def _owner() -> str:
    return f"command {uuid.uuid4()}"
