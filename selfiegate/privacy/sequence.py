"""The order of an erasure's steps. It stands here and nowhere else.

What each step does, and why the order is safe beside runs of the user's photos, `selfiegate.privacy.erasures` says.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence

from selfiegate.clock import seconds_until
from selfiegate.errors import ClaimLost, LeftForLater, SelfiegateError
from selfiegate.leases import kept_by
from selfiegate.privacy.erasures import lease_of, put_off, request_erasure, write_receipt
from selfiegate.privacy.sweeps import erase_originals, sweep
from selfiegate.privacy.unreadable import drop_unreadable
from selfiegate.records import Erasure
from selfiegate.runtime import Runtime
from selfiegate.steps import Take

_log = logging.getLogger(__name__)

SWEEPS = 2
CARRIED_ON_S = 120.0
"""After so long who carries an erasure on leaves the rest to the next `reconcile`, which has other work as well."""

RemoveRuns = Callable[[str], Awaitable[Sequence[str]]]
Sleep = Callable[[float], Awaitable[object]]


async def no_runs(user_id: str) -> Sequence[str]:
    """Remove nothing: without a Prefect server there are no runs of a user."""
    return ()


async def forget_user(
    rt: Runtime,
    take: Take,
    user_id: str,
    run: str,
    photos: bool = False,
    carry_on: int | None = None,
    keep_originals: bool = False,
    *,
    remove_runs: RemoveRuns = no_runs,
    sleep: Sleep = asyncio.sleep,
    carried_on_s: float = CARRIED_ON_S,
) -> Erasure:
    """Remove all that is held of a user, twice, with a wait between; return the receipt.

    `carry_on` is the `asked_at` of an erasure whose run died, `keep_originals` gives up on the original photos of an
    unfinished one. `remove_runs` removes what Prefect recorded of the user and returns the runs' ids. Raises
    `ClaimLost` where another run took over, and `LeftForLater` where carrying it on takes long. After any other fault
    the next attempt is put off.
    """
    erasure = await take(request_erasure, user_id, run, photos, carry_on, keep_originals)
    if erasure.finished_at is not None:
        return erasure
    async with kept_by(take, lease_of(rt, erasure)) as lease:
        enough = time.monotonic() + (math.inf if carry_on is None else carried_on_s)
        try:
            receipt = await remove_all(take, erasure, remove_runs, sleep, enough)
        except LeftForLater:
            raise
        except Exception as error:  # whatever a library raises, the next attempt waits
            lease.held = ()
            if not isinstance(error, ClaimLost):
                await put_off_for(take, erasure, error)
            raise
        lease.held = ()
        return receipt


async def remove_all(
    take: Take, erasure: Erasure, remove_runs: RemoveRuns, sleep: Sleep, enough: float = math.inf
) -> Erasure:
    """Carry an erasure on from where it is to its receipt; raises `LeftForLater` where that takes too long."""

    async def repeat(step: Callable[[Runtime, Erasure], Erasure], left: Callable[[Erasure], bool]) -> None:
        nonlocal erasure
        while left(erasure):
            if time.monotonic() >= enough:
                raise LeftForLater(f"forgetting {erasure.user_id} takes long: it goes on with the next reconcile")
            erasure = await take(step, erasure)

    erasure = await take(drop_unreadable, erasure)
    await repeat(sweep, lambda now: now.sweeps < 1)
    # A step that had begun when the rows went may still write, for as long as its lease lasts.
    await sleep(max(0.0, seconds_until(erasure.leases_end_at)))
    await repeat(sweep, lambda now: now.sweeps < SWEEPS)
    await repeat(erase_originals, lambda now: bool(now.originals))
    removed = await remove_runs(erasure.user_id)
    return await take(write_receipt, erasure, [("run", run_id) for run_id in removed])


async def put_off_for(take: Take, erasure: Erasure, error: Exception) -> None:
    """Let the next attempt begin later; where that cannot be written down, it begins when the lease has ended."""
    try:
        await take(put_off, erasure, f"{type(error).__name__}: {error}")
    except SelfiegateError as fault:
        _log.warning("the erasure of %s is not put off: %s", erasure.user_id, fault)
