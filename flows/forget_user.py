"""The right to be forgotten."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from selfiegate.errors import ClaimLost
from selfiegate.records import Erasure
from selfiegate.user_ids import UserId
from tasks.erasures import erase, order_erasure, remove_runs, show_receipt, write_receipt


@flow(name="forget-user", flow_run_name="forget {user_id}", persist_result=False, result_serializer="json")
async def forget_user(
    user_id: Annotated[UserId, Field(description="Who is to be forgotten")],
    photos: Annotated[bool, Field(description="Remove the original photos, too, with all their versions")] = False,
    carry_on: Annotated[int | None, Field(description="`asked_at` of an interrupted erasure; empty: a new one")] = None,
) -> Erasure | None:
    """Remove faces, thumbnails, profile and ledger rows of a user, also while photos of the user are under way.

    Running it again removes what is left, and changes nothing where nothing is. Ends Completed, named Forgotten, with
    the receipt: counts, times and the run, nothing biometric. Where another run of it took over, it ends InProgress.
    """
    try:
        erasure = await order_erasure(user_id, str(flow_run.id), photos, carry_on)
        if erasure.finished_at is None:
            erasure = await carry_out(erasure)
    except ClaimLost as elsewhere:
        return Completed(name="InProgress", message=str(elsewhere))  # type: ignore[return-value]
    await show_receipt(erasure)
    what = ", ".join(f"{count} {kind}" for kind, count in erasure.removed.items()) or "nothing was held"
    return Completed(name="Forgotten", message=what, data=erasure)  # type: ignore[return-value]


async def carry_out(erasure: Erasure) -> Erasure:
    """Remove all twice, with a wait between; return the receipt."""
    erasure = await erase(erasure)
    # A step that had begun when the rows went may still write, for as long as its lease lasts.
    await asyncio.sleep(max(0.0, erasure.quiet_at / 1e6 - time.time()))
    erasure = await erase(erasure)
    return await write_receipt(erasure, await remove_runs(erasure.user_id))
