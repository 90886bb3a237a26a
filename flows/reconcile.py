"""Finishes what runs that died left behind, and holds the stores against each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

from prefect import State, flow, get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows.forget_user import forget_user
from flows.process_photo import process_photo
from selfiegate.audit import Kind, Orphan
from selfiegate.model import Claim, Verdict
from tasks.audits import (
    close_dead_runs,
    count_faces,
    drop_profile,
    find_orphans,
    find_unfinished,
    remove_orphan,
    reopen_photo,
    show_findings,
)
from tasks.erasures import expire_rejected, find_erasures

_SUSPECT = 4
"""Attempts from which on a photo is run by itself."""
_FEW, _SMALL_SHARE = 20, 0.05
"""More findings than this, and than this share of the faces, are no leftovers: a store is missing, say."""
_SETTLE_S = 5.0
"""Between two looks at the stores: DynamoDB's index lags behind by less."""


@flow(name="reconcile", persist_result=False, result_serializer="json")
async def reconcile(
    limit: Annotated[int, Field(ge=1, le=10_000, description="Photos to run again, at most")] = 200,
    at_once: Annotated[int, Field(ge=1, le=64, description="How many of them at the same time")] = 4,
    audit: Annotated[bool, Field(description="Also list faces, thumbnails and profiles without a counterpart")] = False,
    repair: Annotated[bool, Field(description="Repair what the audit lists")] = False,
) -> dict[str, int]:
    """Run photos again whose runs died and notices that failed; audit the stores where asked.

    Running it again, or twice at once, changes nothing more. Ends Completed, named Reconciled, with the number of
    findings of each kind; what it found and did is a table among the artifacts.
    """
    expired, erasures = await expire_rejected(), await find_erasures()
    for erasure in erasures:
        await forget_user(erasure.user_id, erasure.photos, erasure.asked_at, return_state=True)
    dead = await close_dead_runs()  # by their claims, which are somebody else's as soon as their photos run again
    rows = await find_unfinished(limit)
    turns = asyncio.Semaphore(at_once)
    table = list(await asyncio.gather(*(run_again(row, turns) for row in rows if row.attempt < _SUSPECT)))
    # What was tried so often may be what kills its runs: it must not take others along.
    table += [await run_again(row, turns) for row in rows if row.attempt >= _SUSPECT]
    if audit or repair:
        orphans = await find_orphans()
        if repair and orphans:
            await asyncio.sleep(_SETTLE_S)
            again = await find_orphans()
            orphans = [orphan for orphan in orphans if orphan in again]
        few = len(orphans) <= max(_FEW, _SMALL_SHARE * await count_faces())
        table += [await look_after(orphan, repair and few) for orphan in orphans]
        if repair and not few:
            get_run_logger().error("%d findings are too many to repair: see what happened to the stores", len(orphans))
    await show_findings(table)
    also = {"runs of dead processes": dead, "interrupted erasures": len(erasures), "expired photos": expired}
    found = {**Counter(line["found"] for line in table), **{name: count for name, count in also.items() if count}}
    message = ", ".join(f"{count} {kind}" for kind, count in found.items()) or "nothing to do"
    return Completed(name="Reconciled", message=message, data=found)  # type: ignore[return-value]


async def run_again(row: Claim, turns: asyncio.Semaphore) -> dict[str, str]:
    """Run a photo whose run died; a fault shows as a red run of its own."""
    found = "unfinished photo" if row.verdict is None else "untold user"
    async with turns:
        get_run_logger().info("%s of %s is run again: %s", row.photo.name, row.user_id, found)
        state = await again(row)
    return finding(found, row.user_id, row.photo.uri, f"run again: {state.name}")


async def look_after(orphan: Orphan, repair: bool) -> dict[str, str]:
    """Repair an orphan where that is asked for, and say what was done."""
    done = "listed"
    if repair and orphan.kind in (Kind.PROFILE, Kind.BARE_PROFILE, Kind.LOST_PROFILE):
        done = await enrol_again(orphan)
    elif repair and await remove_orphan(orphan):
        done = "removed"
    return finding(str(orphan.kind), orphan.user_id or "", orphan.name, done)


async def enrol_again(orphan: Orphan) -> str:
    """Let an accepted photo win its face again; a profile whose face is somebody else's by now goes."""
    done = "listed: the photo or its row can no longer be used"
    if row := await reopen_photo(orphan):
        done = f"run again: {(await again(row)).name}"
    return f"{done}; removed" if await drop_profile(orphan) else done


async def again(row: Claim) -> State[Verdict | None]:
    """Run a photo as a run of its own, and wait for its last state; its user may have been forgotten since."""
    state: State[Verdict | None] = await process_photo(row.photo, row.user_id, row.newness, return_state=True)
    return state


def finding(found: str, user_id: str, what: str, done: str) -> dict[str, str]:
    """Return one line of the table."""
    return {"found": found, "user": user_id, "what": what, "done": done}
