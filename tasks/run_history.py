"""What Prefect keeps: ended runs and their artifacts, of one user's photos or of all flows that are old."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from selfiegate.errors import BackendMisconfigured, BackendUnavailable

_BATCH = 50
"""As many runs Prefect removes in one request, at most (`BULK_OPERATION_LIMIT` of its server)."""
_ENDED = filters.FlowRunFilterState(
    type=filters.FlowRunFilterStateType(
        any_=[StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
    )
)


class Pruned(NamedTuple):
    """What a pruning removed, and whether it saw the end of what is old."""

    runs: int
    artifacts: int
    finished: bool


async def name_users(user_ids: Collection[str]) -> None:
    """Tag the run with the users whose photos it takes: so people find it, and `remove` does."""
    async with get_client() as client:
        tags = {*flow_run.tags, *(_tag(user_id) for user_id in user_ids)}
        await client.update_flow_run(uuid.UUID(flow_run.id), tags=tags)


def remove(user_id: str) -> list[str]:
    """Remove the ended runs of a user's photos and their artifacts; return the runs' ids.

    Their names and parameters tell user and photo. A run of many photos goes as a whole. Prefect's events tell of
    users, too, and expire by Prefect's own settings. Raises `BackendUnavailable` where the server does not answer.
    """
    removed = list[str]()
    with _connected() as client:
        for one in (_named_after(user_id), _tagged_with(user_id)):
            removed += _remove_all(client, one, user_id)
    return removed


def prune(flows: Sequence[str], days: float, seconds: float) -> Pruned:
    """Remove runs of these flows that ended more than so many days ago, oldest first, with logs and artifacts.

    Stops after so many seconds and what the request then under way takes; the next one goes on there. Two at once
    remove each a part. Artifacts go before their runs: a run that is left is found again, an artifact alone would not
    be. Raises `BackendUnavailable` where the server does not answer, `BackendMisconfigured` where it refuses.
    """
    before, until = datetime.now(UTC) - timedelta(days=days), time.monotonic() + seconds
    ours = filters.FlowFilter(name=filters.FlowFilterName(any_=list(flows)))
    old = filters.FlowRunFilter(state=_ENDED, end_time=filters.FlowRunFilterEndTime(before_=before))
    runs, artifacts = 0, 0
    with _connected() as client:
        while found := client.read_flow_runs(
            flow_filter=ours, flow_run_filter=old, sort=FlowRunSort.START_TIME_ASC, limit=_BATCH
        ):
            artifacts += _remove_artifacts(client, found)
            runs += len(_remove_runs(client, found, old))
            if time.monotonic() > until:
                return Pruned(runs, artifacts, finished=False)
    return Pruned(runs, artifacts, finished=True)


@contextmanager
def _connected() -> Iterator[SyncPrefectClient]:
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (401, 403, 404, 405):
            raise BackendMisconfigured(
                f"Prefect refuses to remove runs: {error}; let the account of PREFECT_API_KEY delete runs, on a server "
                "or workspace that knows flow_runs/bulk_delete"
            ) from error
        raise BackendUnavailable(f"Prefect's server did not answer: {error}") from error
    except httpx.HTTPError as error:
        raise BackendUnavailable(f"Prefect's server did not answer: {error}") from error


def _remove_all(client: SyncPrefectClient, which: filters.FlowRunFilter, user_id: str) -> list[str]:
    removed, others = list[str](), 0
    while found := client.read_flow_runs(flow_run_filter=which, limit=_BATCH, offset=others):
        theirs = [run for run in found if _is_of(run, user_id)]
        _remove_artifacts(client, theirs)
        gone = _remove_runs(client, theirs, which)
        others += len(found) - len(gone)
        removed += gone
    return removed


def _is_of(run: FlowRun, user_id: str) -> bool:
    return run.parameters.get("user_id") == user_id or _tag(user_id) in run.tags


def _remove_artifacts(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> int:
    about = filters.ArtifactFilterFlowRunId(any_=[run.id for run in runs])
    removed = 0
    while pages := client.read_artifacts(artifact_filter=filters.ArtifactFilter(flow_run_id=about)):
        for page in pages:
            with suppress(ObjectNotFound):  # another run of this removed it
                client.delete_artifact(page.id)
                removed += 1
    return removed


def _remove_runs(client: SyncPrefectClient, runs: Sequence[FlowRun], still: filters.FlowRunFilter) -> list[str]:
    """Remove runs, with their logs, that the filter still lets through; return their ids."""
    those = still.model_copy(update={"id": filters.FlowRunFilterId(any_=[run.id for run in runs])})
    body = {"flow_runs": those.model_dump(mode="json"), "limit": _BATCH}
    answer = client.request("POST", "/flow_runs/bulk_delete", json=body)  # type: ignore[arg-type]  # no method for it
    removed: list[str] = answer.raise_for_status().json()["deleted"]
    return removed


def _named_after(user_id: str) -> filters.FlowRunFilter:
    """Filter by name, which holds the user's id; it lets others through."""
    return filters.FlowRunFilter(name=filters.FlowRunFilterName(like_=f"{user_id}: "), state=_ENDED)


def _tagged_with(user_id: str) -> filters.FlowRunFilter:
    return filters.FlowRunFilter(tags=filters.FlowRunFilterTags(all_=[_tag(user_id)]), state=_ENDED)


def _tag(user_id: str) -> str:
    return f"user:{user_id}"
