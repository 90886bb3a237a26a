"""One photo of one user, from upload to verdict."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from selfiegate.enrolment import sequence
from selfiegate.errors import PhotoInProgress, UserForgotten
from selfiegate.model import PhotoRef, Verdict
from selfiegate.user_ids import UserId
from tasks import photo_steps  # noqa: F401  the tasks that `as_task` takes
from tasks.meters import count
from tasks.notices import show_verdict
from tasks.steps import as_task, opened


# Prefect writes the error of a flow that fails to its result storage whatever is set: as JSON, its message alone.
@flow(name="process-photo", flow_run_name="{user_id}: {photo.name}", persist_result=False, result_serializer="json")
async def process_photo(
    photo: Annotated[PhotoRef, Field(description="Which version of which photo")],
    user_id: Annotated[UserId, Field(description="Whose photo it is")],
    upload_order: Annotated[str, Field(description="Sorts by time of upload, as events tell it; empty: now")] = "",
    notify: Annotated[bool, Field(description="Off: a photo that a silent backfill claimed stays silent")] = True,
) -> Verdict | None:
    """Check a selfie, enrol its face once, and say what is wrong where something is.

    Ends Completed, named Accepted, Rejected or NeedsReview; Failed means our fault, never the user's.
    Running it again for the same photo and user returns the stored verdict. Where another run is at it
    still, it ends InProgress, and where its user asked to be forgotten, Forgotten, both without a verdict.
    The order of its steps stands in `selfiegate.enrolment.sequence`; each is a task here.
    """
    rt = await opened()
    try:
        claim = await sequence.process_photo(rt, as_task, photo, user_id, str(flow_run.id), upload_order, notify)
    except PhotoInProgress as elsewhere:
        return Completed(name="InProgress", message=str(elsewhere))  # type: ignore[return-value]
    except UserForgotten as gone:
        return Completed(name="Forgotten", message=str(gone))  # type: ignore[return-value]
    verdict = claim.verdict
    assert verdict is not None  # noqa: S101  a claim that is decided has one
    if claim.owner == str(flow_run.id):  # else an earlier run counted it
        count(verdict.status, verdict.reasons, claim.upload_order, "single")
    await show_verdict(verdict)
    # Prefect takes the state's name from here, and hands its data to whoever awaits the flow.
    why = ", ".join(reason.code for reason in verdict.reasons)
    return Completed(name=verdict.outcome, message=why or None, data=verdict)  # type: ignore[return-value]
