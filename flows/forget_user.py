"""The right to be forgotten."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from selfiegate.errors import ClaimLost
from selfiegate.privacy import sequence
from selfiegate.records import Erasure
from selfiegate.user_ids import UserId
from tasks.erasures import remove_runs, show_receipt
from tasks.steps import as_task, opened


@flow(name="forget-user", flow_run_name="forget {user_id}", persist_result=False, result_serializer="json")
async def forget_user(
    user_id: Annotated[UserId, Field(description="Who is to be forgotten")],
    photos: Annotated[bool, Field(description="Remove the original photos, too, with all their versions")] = False,
    carry_on: Annotated[int | None, Field(description="`asked_at` of an interrupted erasure; empty: a new one")] = None,
    keep_originals: Annotated[
        bool, Field(description="Let an unfinished erasure end without the original photos, which cannot be removed")
    ] = False,
) -> Erasure | None:
    """Remove faces, thumbnails, profile and ledger rows of a user, also while photos of the user are under way.

    Running it again removes what is left, and changes nothing where nothing is. Ends Completed, named Forgotten, with
    the receipt: counts, times and the run, nothing biometric. Where another run of it took over, it ends InProgress.
    The order of its steps stands in `selfiegate.privacy.sequence`; each is a task here.
    """
    run = str(flow_run.id)
    rt = await opened()
    try:
        erasure = await sequence.forget_user(
            rt, as_task, user_id, run, photos, carry_on, keep_originals, remove_runs=remove_runs
        )
    except ClaimLost as elsewhere:
        return Completed(name="InProgress", message=str(elsewhere))  # type: ignore[return-value]
    await show_receipt(erasure)
    what = ", ".join(f"{count} {kind}" for kind, count in erasure.removed.items()) or "nothing was held"
    return Completed(name="Forgotten", message=what, data=erasure)  # type: ignore[return-value]
