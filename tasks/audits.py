"""Steps that look for what runs which died left behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prefect import State, get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed, Scheduled
from pydantic import ValidationError

from selfiegate import audit
from selfiegate.clock import seconds_until
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.late_looks import look_again
from selfiegate.runtime import runtime
from selfiegate.steps import in_thread
from selfiegate.unfinished import count_to_review, unfinished
from selfiegate.unreadable import unreadable_rows
from tasks.artifacts import attached
from tasks.steps import task_of

_PAGE = 50
_MOST_PAGES = 1000
"""Fifty thousand runs under way: far above what a server of Prefect runs at once."""


find_unfinished = task_of(unfinished, "find unfinished photos")
look_late = task_of(look_again, "look accepted faces up once more")
find_unreadable = task_of(unreadable_rows, "find rows that cannot be read")
begin_audit = task_of(audit.begin, "begin where the last audit stopped")
look_through = task_of(audit.advance, "look through the {ours}")
keep_bookmark = task_of(audit.keep, "keep where the audit stopped")
count_waiting = task_of(count_to_review, "count photos that wait for a person")
remove_orphan = task_of(audit.remove, "remove {orphan.kind} {orphan.name}")
reopen_photo = task_of(audit.reopen, "reopen {orphan.name}")
drop_profile = task_of(audit.drop, "drop the profile of {orphan.name}")


async def close_dead_runs() -> int:
    """Bring runs whose process died to an end in the UI, and return how many; photos do not depend on it.

    Prefect does not notice that a worker was killed; the lease in the ledger tells. A run that died before it had
    claimed its photo is started again, for nothing else would.
    """
    closed, others = 0, 0
    begun_before = datetime.now(UTC) - timedelta(seconds=2 * runtime().settings.lease_s)
    async with get_client() as client:
        for _ in range(_MOST_PAGES):
            page = await client.read_flow_runs(
                flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=["process-photo", "process-photos"])),
                flow_run_filter=runs_under_way(begun_before),
                sort=FlowRunSort.EXPECTED_START_TIME_ASC,
                limit=_PAGE,
                offset=others,  # those that were closed are not among them any more
            )
            ended = [await _closed(client, run) for run in page]
            closed, others = closed + sum(ended), others + ended.count(False)
            if len(page) < _PAGE:
                break
    return closed


def runs_under_way(begun_before: datetime) -> filters.FlowRunFilter:
    return filters.FlowRunFilter(
        state=filters.FlowRunFilterState(
            type=filters.FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
        ),
        expected_start_time=filters.FlowRunFilterExpectedStartTime(before_=begun_before),
    )


async def _closed(client: PrefectClient, run: FlowRun) -> bool:
    """Bring a run to an end if it is dead; one that cannot be looked at is left to the next reconcile."""
    try:
        end = await in_thread(_end_of, run)
        if end is not None:
            await client.set_flow_run_state(run.id, end, force=True)
            get_run_logger().warning("the process that ran %s died; it is %s now", run.name, end.name)
    except Exception as error:  # Prefect's client's, and the ledger's
        get_run_logger().warning("whether %s is dead cannot be told: %s", run.name, error)
        return False
    return end is not None


def _end_of(run: FlowRun) -> State[None] | None:
    """Return the state that a dead run is to have; None where it is alive."""
    try:
        photos = _photos_of(run)
    except ValidationError:
        return Crashed(message="It cannot have begun: its parameters name no photo.")
    rows = [row for one in photos if (row := runtime().ledger.get(one.photo, one.user_id))]
    held = [row for row in rows if row.owner == str(run.id)]
    is_dead = all(seconds_until(row.lease_until) + runtime().settings.lease_s < 0 for row in held)
    if not held or "photos" in run.parameters:
        # It may be waiting for another run's claim, for as long as all attempts at a step take; one of many photos then
        # begins single runs for five minutes, the last of which may take as long.
        silent_s = runtime().settings.silent_run_s * (2 if "photos" in run.parameters else 1)
        is_dead = is_dead and (run.state is None or run.state.timestamp.timestamp() + silent_s < time.time())
    if not is_dead:
        return None
    if not rows and run.deployment_id is not None:
        return Scheduled(message="The process that was to run it died before it began.")
    return Crashed(message="The process that ran it died; `reconcile` runs what it left again.")


def _photos_of(run: FlowRun) -> list[PhotoRequest]:
    """Return a run's photos, one or many; a newer version may have begun it."""
    found = run.parameters.get("photos", [run.parameters])
    return [PhotoRequest.model_validate(one, extra="ignore") for one in found]


async def show_findings(table: Sequence[dict[str, str]]) -> None:
    """Attach what was found and done to the run."""
    await attached(acreate_table_artifact(list(table), key="reconcile", description=f"{len(table)} findings"))
