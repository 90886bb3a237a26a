"""What Prefect keeps of a user: the runs of the user's photos, and their artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound

from selfiegate.errors import BackendUnavailable

_PAGE = 200
_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]


def remove(user_id: str) -> list[str]:
    """Remove the ended runs of a user's photos and their artifacts; return the runs' ids.

    Their names and parameters tell user and photo. Prefect's events do, too, and expire by Prefect's own settings.
    Raises `BackendUnavailable` where the server does not answer.
    """
    removed, others = list[str](), 0
    try:
        with get_client(sync_client=True) as client:
            while found := client.read_flow_runs(flow_run_filter=_ended_runs_of(user_id), limit=_PAGE, offset=others):
                theirs = [run for run in found if run.parameters.get("user_id") == user_id]
                others += len(found) - len(theirs)
                if theirs:
                    _remove(client, theirs)
                removed += [str(run.id) for run in theirs]
    except httpx.HTTPError as error:
        raise BackendUnavailable(f"Prefect's server did not answer: {error}") from error
    return removed


def _remove(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> None:
    about = filters.ArtifactFilterFlowRunId(any_=[run.id for run in runs])
    while pages := client.read_artifacts(artifact_filter=filters.ArtifactFilter(flow_run_id=about)):
        for page in pages:
            with suppress(ObjectNotFound):  # another run of this removed it
                client.delete_artifact(page.id)
    for run in runs:
        with suppress(ObjectNotFound):
            client.delete_flow_run(run.id)


def _ended_runs_of(user_id: str) -> filters.FlowRunFilter:
    """Filter by name, which holds the user's id; it lets others through."""
    return filters.FlowRunFilter(
        name=filters.FlowRunFilterName(like_=f"{user_id}: "),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=_ENDED)),
    )
