"""Prefect's database does not grow for ever, and names no user for ever."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.states import Completed
from pydantic import Field

from tasks.pruning import prune_runs

OURS = (
    "process-photo",
    "process-photos",
    "process-event",
    "backfill",
    "forget-user",
    "photo-status",
    "reconcile",
    "prune",
)


@flow(name="prune", persist_result=False, result_serializer="json")
async def prune(
    days: Annotated[float, Field(ge=1, le=3650, description="Runs that ended longer ago are removed")] = 7,
    seconds: Annotated[float, Field(ge=1, le=3600, description="How long one run of this may take")] = 600,
    flows: Annotated[
        tuple[str, ...], Field(description="Whose runs; leave out a name that another project's flow has, too")
    ] = OURS,
) -> State[Any]:
    """Remove runs that ended long ago, with their task runs, logs and artifacts; unfinished ones stay.

    The ledger keeps what became of each photo. Running it again, or twice at once, changes nothing more; what one run
    does not get to, the next does. Ends Completed, named Pruned, with the number of runs and artifacts. Prefect's
    events are none of its business: they expire by the server's own setting.
    """
    done = await prune_runs(flows, days, seconds)
    counts = {"runs": done.runs, "artifacts": done.artifacts}
    message = f"{done.runs} runs, {done.artifacts} artifacts" + ("" if done.finished else "; more are left")
    return Completed(name="Pruned", message=message, data=counts)
