"""The order in which `reconcile` finishes what died: rejected rows, erasures, photos, then the stores' audit.

The flow `reconcile` and the command without a server run this. They differ in how a step is taken (`selfiegate.steps`)
and in what starts a photo or an erasure again (`Restarts`): a run of its own in Prefect, or a plain call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from selfiegate.audit import Kind, Orphan, count_faces, drop, orphans, remove, reopen, unfinished
from selfiegate.model import Claim
from selfiegate.privacy.erasures import expire, interrupted
from selfiegate.records import Erasure
from selfiegate.runtime import Runtime
from selfiegate.steps import Take

_SUSPECT = 4
"""Attempts from which on a photo is run by itself."""
_FEW, _SMALL_SHARE = 20, 0.05
"""More findings than this, and than this share of the faces, are no leftovers: a store is missing, say."""
_TOO_MANY = "too many to repair: see what happened to the stores"
"""Said in the table as well: Prefect keeps that, but not our log."""

_log = logging.getLogger(__name__)


class Restarts(NamedTuple):
    """Starts again what died; a fault of the new run is told by what it returns, and raises nothing."""

    photo: Callable[[Claim], Awaitable[str]]
    """Runs a photo again, and returns how that ended: Accepted, Rejected, InProgress, Failed ..."""
    erasure: Callable[[Erasure], Awaitable[object]]
    """Carries on an erasure."""
    close_dead_runs: Callable[[], Awaitable[int]]
    """Brings runs whose process died to an end in the UI, and returns how many."""


class Line(NamedTuple):
    """One thing that was found, and what was done about it."""

    found: str
    user: str
    what: str
    done: str


class Reconciled(NamedTuple):
    """What `reconcile` found and did."""

    lines: Sequence[Line]
    counts: dict[str, int]


async def reconcile(
    rt: Runtime,
    take: Take,
    restarts: Restarts,
    *,
    limit: int = 200,
    at_once: int = 4,
    audit: bool = False,
    repair: bool = False,
) -> Reconciled:
    """Run photos again whose runs died and notices that failed; audit the stores where asked.

    Running it again, or twice at once, changes nothing more.
    """
    counts = {"expired photos": await take(expire), "interrupted erasures": await carry_on_erasures(take, restarts)}
    # By their claims, which are somebody else's as soon as their photos run again.
    counts["runs of dead processes"] = await restarts.close_dead_runs()
    lines = await run_unfinished(take, restarts, limit, at_once)
    if audit or repair:
        lines += await audit_stores(take, restarts, repair, rt.settings.audit_pause_s)
    found = Counter(line.found for line in lines)
    return Reconciled(lines, {**found, **{name: count for name, count in counts.items() if count}})


async def carry_on_erasures(take: Take, restarts: Restarts) -> int:
    """Carry on erasures whose runs died, one after the other; return how many there were."""
    erasures = await take(interrupted)
    for erasure in erasures:
        await restarts.erasure(erasure)
    return len(erasures)


async def run_unfinished(take: Take, restarts: Restarts, limit: int, at_once: int) -> list[Line]:
    """Run photos again whose runs died, some at once; those that were tried often follow one by one."""
    rows = await take(unfinished, limit)
    turns = asyncio.Semaphore(at_once)
    lines = list(await asyncio.gather(*(run_again(row, restarts, turns) for row in rows if row.attempt < _SUSPECT)))
    # What was tried so often may be what kills its runs: it must not take others along.
    return lines + [await run_again(row, restarts, turns) for row in rows if row.attempt >= _SUSPECT]


async def run_again(row: Claim, restarts: Restarts, turns: asyncio.Semaphore) -> Line:
    """Run one photo again."""
    found = "unfinished photo" if row.verdict is None else "untold user"
    async with turns:
        _log.info("%s of %s is run again: %s", row.photo.name, row.user_id, found)
        return Line(found, row.user_id, row.photo.uri, f"run again: {await restarts.photo(row)}")


async def audit_stores(take: Take, restarts: Restarts, repair: bool, pause_s: float) -> list[Line]:
    """List what lacks its counterpart in the stores; with `repair`, mend what was seen twice."""
    found = await take(orphans)
    if repair and found:
        await asyncio.sleep(pause_s)
        again = await take(orphans)
        found = [orphan for orphan in found if orphan in again]
    few = len(found) <= max(_FEW, _SMALL_SHARE * await take(count_faces))
    if repair and not few:
        _log.error("%d findings are %s", len(found), _TOO_MANY)
        return [_line(orphan, f"listed: {_TOO_MANY}") for orphan in found]
    return [await look_after(orphan, take, restarts, repair) for orphan in found]


async def look_after(orphan: Orphan, take: Take, restarts: Restarts, repair: bool) -> Line:
    """Repair an orphan where that is asked for, and say what was done."""
    done = "listed"
    if repair and orphan.kind in (Kind.PROFILE, Kind.BARE_PROFILE, Kind.LOST_PROFILE):
        done = await enrol_again(orphan, take, restarts)
    elif repair and await take(remove, orphan):
        done = "removed"
    return _line(orphan, done)


async def enrol_again(orphan: Orphan, take: Take, restarts: Restarts) -> str:
    """Let an accepted photo win its face again; a profile whose face is somebody else's by now goes."""
    done = "listed: the photo or its row can no longer be used"
    if row := await take(reopen, orphan):
        done = f"run again: {await restarts.photo(row)}"
    return f"{done}; removed" if await take(drop, orphan) else done


def _line(orphan: Orphan, done: str) -> Line:
    return Line(str(orphan.kind), orphan.user_id or "", orphan.name, done)
