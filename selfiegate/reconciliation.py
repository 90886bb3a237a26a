"""The order of `reconcile`: photos that died, late looks, erasures, rejected rows, then the stores' audit.

Each part stands alone: where a part fails, the others still run, and the failure is a line of the report.

The flow `reconcile` and the command without a server run this. They differ in how a step is taken (`selfiegate.steps`)
and in what starts a photo or an erasure again (`Restarts`): a run of its own in Prefect, or a plain call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from selfiegate.audit import (
    KEPT,
    Kind,
    Orphan,
    Round,
    advance,
    begin,
    drop,
    keep,
    remove,
    reopen,
    second_look,
    too_many,
)
from selfiegate.clock import seconds_until
from selfiegate.late_looks import LATE, look_again
from selfiegate.model import Claim
from selfiegate.privacy.erasures import expire, unattended
from selfiegate.records import Erasure
from selfiegate.runtime import Runtime
from selfiegate.steps import Take
from selfiegate.unfinished import count_to_review, unfinished
from selfiegate.unreadable import unreadable_rows

_SUSPECT = 4
"""Attempts from which on a photo is run by itself."""
_TOO_MANY = "too many to repair: see what happened to the stores"
"""Said in the table as well: Prefect keeps that, but not our log."""
FAILED_PART = "failed part"
"""What a line has found that tells of a part of `reconcile` itself."""

_WAITING = "photos that wait for a person"

T = TypeVar("T")

_ERASURES_S = 120.0
"""After so long no other erasure is carried on; the photos of the next reconcile would wait."""

_log = logging.getLogger(__name__)


class Restarts(NamedTuple):
    """Starts again what died; a fault of the new run is told by what it returns. What they raise ends nothing else."""

    photo: Callable[[Claim], Awaitable[str]]
    """Runs a photo again, and returns how that ended: Accepted, Rejected, InProgress, Failed ..."""
    erasure: Callable[[Erasure], Awaitable[str]]
    """Carries on an erasure, and returns how that ended: Forgotten, InProgress, Failed ..."""
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

    @property
    def failures(self) -> str:
        """Say which parts failed, and why; empty where none did."""
        return "; ".join(f"{line.what}: {line.done}" for line in self.lines if line.found == FAILED_PART)


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

    Running it again, or twice at once, changes nothing more. Raises nothing: a part that fails is a line.
    """
    lines = list[Line]()
    # By their claims, which are somebody else's as soon as their photos run again.
    closed = await apart("runs of dead processes", restarts.close_dead_runs(), lines, 0)
    lines += await apart("unfinished photos", run_unfinished(take, restarts, limit, at_once), lines, [])
    lines += await apart("late looks", look_late(take, restarts), lines, [])
    await apart("erasures", carry_on_erasures(take, restarts, lines), lines, None)
    lines += await apart("unreadable rows", list_unreadable(take), lines, [])
    expired = await apart("expired photos", take(expire), lines, 0)
    if audit or repair:
        lines += await apart("audit", audit_stores(rt, take, restarts, repair), lines, [])
    counts = {"expired photos": expired, "runs of dead processes": closed}
    counts[_WAITING] = await apart(_WAITING, take(count_to_review), lines, 0)
    found = Counter(line.found for line in lines)
    return Reconciled(lines, {**found, **{name: count for name, count in counts.items() if count}})


async def apart(name: str, part: Awaitable[T], lines: list[Line], otherwise: T) -> T:
    """Await a part; where it fails, write that into the lines and return `otherwise`."""
    try:
        return await part
    except Exception as error:  # whatever a store or Prefect raises: the other parts go on
        why = f"{type(error).__name__}: {error}"
        _log.error("%s: %s", name, why)
        lines.append(Line(FAILED_PART, "", name, why))
        return otherwise


async def carry_on_erasures(take: Take, restarts: Restarts, lines: list[Line], for_s: float = _ERASURES_S) -> None:
    """Carry on erasures that nobody is at, one after the other; say what those that were put off wait for.

    What there is no time for is left to the next reconcile.
    """
    enough = time.monotonic() + for_s
    for erasure in await take(unattended):
        pause_s = seconds_until(erasure.lease_until)
        if pause_s > 0:
            done = f"goes on in {pause_s / 60:.0f} minutes: {erasure.problem}"
            lines.append(Line("erasures put off", erasure.user_id, "", done))
            continue
        if time.monotonic() >= enough:
            break
        ended = await apart(f"erasure of {erasure.user_id}", restarts.erasure(erasure), lines, "Failed")
        lines.append(Line("interrupted erasures", erasure.user_id, "", f"carried on: {ended}"))


async def list_unreadable(take: Take) -> list[Line]:
    """List rows that this version cannot read, which every part has left out."""
    return [Line("unreadable row", user_id, why, "skipped") for user_id, why in await take(unreadable_rows)]


async def run_unfinished(take: Take, restarts: Restarts, limit: int, at_once: int) -> list[Line]:
    """Run photos again whose runs died, some at once; those that were tried often follow one by one."""
    rows = await take(unfinished, limit)
    turns = asyncio.Semaphore(at_once)
    lines = list(await asyncio.gather(*(run_again(row, restarts, turns) for row in rows if row.attempt < _SUSPECT)))
    # What was tried so often may be what kills its runs: it must not take others along.
    return lines + [await run_again(row, restarts, turns) for row in rows if row.attempt >= _SUSPECT]


async def look_late(take: Take, restarts: Restarts) -> list[Line]:
    """Look accepted faces up once more; tell whom that cost a face, as of any refusal."""
    lines = list[Line]()
    for found in await take(look_again):
        told = f"; run again: {await ended(restarts.photo(found.row))}" if found.tell else ""
        lines.append(Line(LATE, found.row.user_id, found.row.photo.uri, f"{found.done}{told}"))
    return lines


async def run_again(row: Claim, restarts: Restarts, turns: asyncio.Semaphore) -> Line:
    """Run one photo again."""
    found = "unfinished photo" if row.verdict is None else "untold user"
    async with turns:
        _log.info("%s of %s is run again: %s", row.photo.name, row.user_id, found)
        return Line(found, row.user_id, row.photo.uri, f"run again: {await ended(restarts.photo(row))}")


async def ended(photo: Awaitable[str]) -> str:
    """Await a photo's run, and return how it ended; one that cannot even begin does not keep the others back."""
    try:
        return await photo
    except Exception as error:
        _log.error("a photo could not be run again: %s: %s", type(error).__name__, error)
        return f"{type(error).__name__}: {error}"


async def audit_stores(rt: Runtime, take: Take, restarts: Restarts, repair: bool) -> list[Line]:
    """List what lacks its counterpart in the stores; with `repair`, mend what was seen twice.

    Goes on where the last audit stopped, and stops after `audit_run_s`, or where it found enough.
    """
    ours = await take(begin)
    ends_at = time.monotonic() + rt.settings.audit_run_s
    while not (ours.ended or (ours.may_stop and (len(ours.found) >= KEPT or time.monotonic() > ends_at))):
        await take(advance, ours)
    found = await seen_twice(ours, take, rt.settings.audit_pause_s) if repair and ours.found else ours.found
    lines = [] if ours.ended else [Line("audit that stopped", "", f"at {ours}", "the next audit goes on there")]
    if repair and (many := too_many(found, ours.seen)):
        _log.error("%d findings are %s", many, _TOO_MANY)
        return lines + [_line(orphan, f"listed: {_TOO_MANY}") for orphan in found]
    lines += [await look_after(orphan, take, restarts, repair) for orphan in found]
    await take(keep, ours.at)
    return lines


async def seen_twice(first: Round, take: Take, pause_s: float) -> Sequence[Orphan]:
    """Return what is found a second time, a pause later."""
    await asyncio.sleep(pause_s)
    again = second_look(first)
    while not again.ended:
        await take(advance, again)
    return again.found


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
        done = f"run again: {await ended(restarts.photo(row))}"
    return f"{done}; removed" if await take(drop, orphan) else done


def _line(orphan: Orphan, done: str) -> Line:
    return Line(str(orphan.kind), orphan.user_id or "", orphan.name, done)
