"""The order of an erasure's steps. It stands here and nowhere else.

What each step does, and why the order is safe beside runs of the user's photos, `selfiegate.privacy.erasures` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from selfiegate.clock import seconds_until
from selfiegate.errors import ClaimLost, SelfiegateError
from selfiegate.leases import kept_by
from selfiegate.privacy.erasures import lease_of, put_off, request_erasure, write_receipt
from selfiegate.privacy.sweeps import erase_originals, sweep
from selfiegate.privacy.unreadable import drop_unreadable
from selfiegate.records import Erasure
from selfiegate.runtime import Runtime
from selfiegate.steps import Take

_log = logging.getLogger(__name__)

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
) -> Erasure:
    """Remove all that is held of a user, twice, with a wait between; return the receipt.

    `carry_on` is the `asked_at` of an erasure whose run died, `keep_originals` gives up on the original photos of an
    unfinished one. `remove_runs` removes what Prefect recorded of the user and returns the runs' ids. Raises
    `ClaimLost` where another run took over. After any other fault the next attempt is put off.
    """
    erasure = await take(request_erasure, user_id, run, photos, carry_on, keep_originals)
    if erasure.finished_at is not None:
        return erasure
    async with kept_by(take, lease_of(rt, erasure)) as lease:
        try:
            receipt = await remove_all(take, erasure, remove_runs, sleep)
        except Exception as error:  # whatever a library raises, the next attempt waits
            lease.held = ()
            if not isinstance(error, ClaimLost):
                await put_off_for(take, erasure, error)
            raise
        lease.held = ()
        return receipt


async def remove_all(take: Take, erasure: Erasure, remove_runs: RemoveRuns, sleep: Sleep) -> Erasure:
    """Carry an erasure on from where it is to its receipt."""
    erasure = await take(drop_unreadable, erasure)
    while erasure.sweeps < 1:
        erasure = await take(sweep, erasure)
    # A step that had begun when the rows went may still write, for as long as its lease lasts.
    await sleep(max(0.0, seconds_until(erasure.leases_end_at)))
    while erasure.sweeps < 2:
        erasure = await take(sweep, erasure)
    while erasure.originals:
        erasure = await take(erase_originals, erasure)
    removed = await remove_runs(erasure.user_id)
    return await take(write_receipt, erasure, [("run", run_id) for run_id in removed])


async def put_off_for(take: Take, erasure: Erasure, error: Exception) -> None:
    """Let the next attempt begin later; where that cannot be written down, it begins when the lease has ended."""
    try:
        await take(put_off, erasure, f"{type(error).__name__}: {error}")
    except SelfiegateError as fault:
        _log.warning("the erasure of %s is not put off: %s", erasure.user_id, fault)
