"""Finishes what runs that died left behind, and holds the stores against each other."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.states import Completed, Failed
from pydantic import Field

from flows.forget_user import forget_user
from flows.process_photo import process_photo
from selfiegate import reconciliation
from selfiegate.model import Claim
from selfiegate.reconciliation import Restarts
from selfiegate.records import Erasure
from tasks.audits import close_dead_runs, show_findings
from tasks.steps import as_task, opened


@flow(name="reconcile", persist_result=False, result_serializer="json")
async def reconcile(
    limit: Annotated[int, Field(ge=1, le=10_000, description="Photos to run again, at most")] = 200,
    at_once: Annotated[int, Field(ge=1, le=64, description="How many of them at the same time")] = 4,
    audit: Annotated[bool, Field(description="Also list faces, thumbnails and profiles without a counterpart")] = False,
    repair: Annotated[bool, Field(description="Repair what the audit lists")] = False,
) -> dict[str, int]:
    """Run photos again whose runs died and notices that failed; audit the stores where asked.

    Running it again, or twice at once, changes nothing more. Ends Completed, named Reconciled, with the number of
    findings of each kind; what it found and did is a table among the artifacts. Where a part of it failed, the others
    run all the same, and it ends Failed. The order of its steps stands in `selfiegate.reconciliation`.
    """
    restarts = Restarts(run_photo_again, carry_on_erasure, close_dead_runs)
    done = await reconciliation.reconcile(
        await opened(), as_task, restarts, limit=limit, at_once=at_once, audit=audit, repair=repair
    )
    await show_findings([line._asdict() for line in done.lines])
    if done.failures:
        return Failed(message=done.failures, data=done.counts)  # type: ignore[return-value]
    message = ", ".join(f"{count} {kind}" for kind, count in done.counts.items()) or "nothing to do"
    return Completed(name="Reconciled", message=message, data=done.counts)  # type: ignore[return-value]


async def run_photo_again(row: Claim) -> str:
    """Run a photo as a run of its own, and return the name of its last state; a fault shows as a red run."""
    state: State[Any] = await process_photo(row.photo, row.user_id, row.upload_rank, False, return_state=True)
    return str(state.name)


async def carry_on_erasure(erasure: Erasure) -> str:
    """Carry on an erasure as a run of its own, and return how it ended; a fault shows as a red run."""
    state: State[Any] = await forget_user(erasure.user_id, erasure.photos, erasure.asked_at, return_state=True)
    return f"{state.name}: {state.message}" if state.is_failed() else str(state.name)
