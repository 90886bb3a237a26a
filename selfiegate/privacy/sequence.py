"""The order of an erasure's steps. It stands here and nowhere else.

What each step does, and why the order is safe beside runs of the user's photos, `selfiegate.privacy.erasures` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from selfiegate.clock import seconds_until
from selfiegate.privacy.erasures import request_erasure, sweep, write_receipt
from selfiegate.records import Erasure
from selfiegate.steps import Take


async def no_runs(user_id: str) -> Sequence[str]:
    """Remove nothing: without a Prefect server there are no runs of a user."""
    return ()


async def forget_user(
    take: Take,
    user_id: str,
    run: str,
    photos: bool = False,
    carry_on: int | None = None,
    *,
    remove_runs: Callable[[str], Awaitable[Sequence[str]]] = no_runs,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Erasure:
    """Remove all that is held of a user, twice, with a wait between; return the receipt.

    `carry_on` is the `asked_at` of an erasure whose run died. `remove_runs` removes what Prefect recorded of
    the user and returns the runs' ids. Raises `ClaimLost` where another run took over.
    """
    erasure = await take(request_erasure, user_id, run, photos, carry_on)
    if erasure.finished_at is None:
        erasure = await take(sweep, erasure)
        # A step that had begun when the rows went may still write, for as long as its lease lasts.
        await sleep(max(0.0, seconds_until(erasure.leases_end_at)))
        erasure = await take(sweep, erasure)
        removed = await remove_runs(user_id)
        erasure = await take(write_receipt, erasure, [("run", run_id) for run_id in removed])
    return erasure
