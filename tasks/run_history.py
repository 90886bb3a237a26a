"""What Prefect keeps of a user: the runs of the user's photos, and their artifacts."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from selfiegate.errors import BackendUnavailable

_PAGE = 200
_ENDED = filters.FlowRunFilterState(
    type=filters.FlowRunFilterStateType(
        any_=[StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
    )
)


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
    try:
        with get_client(sync_client=True) as client:
            for one in (_named_after(user_id), _tagged_with(user_id)):
                removed += _remove_all(client, one, user_id)
    except httpx.HTTPError as error:
        raise BackendUnavailable(f"Prefect's server did not answer: {error}") from error
    return removed


def _remove_all(client: SyncPrefectClient, which: filters.FlowRunFilter, user_id: str) -> list[str]:
    removed, others = list[str](), 0
    while found := client.read_flow_runs(flow_run_filter=which, limit=_PAGE, offset=others):
        theirs = [run for run in found if _is_of(run, user_id)]
        others += len(found) - len(theirs)
        if theirs:
            _remove(client, theirs)
        removed += [str(run.id) for run in theirs]
    return removed


def _is_of(run: FlowRun, user_id: str) -> bool:
    return run.parameters.get("user_id") == user_id or _tag(user_id) in run.tags


def _remove(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> None:
    about = filters.ArtifactFilterFlowRunId(any_=[run.id for run in runs])
    while pages := client.read_artifacts(artifact_filter=filters.ArtifactFilter(flow_run_id=about)):
        for page in pages:
            with suppress(ObjectNotFound):  # another run of this removed it
                client.delete_artifact(page.id)
    for run in runs:
        with suppress(ObjectNotFound):
            client.delete_flow_run(run.id)


def _named_after(user_id: str) -> filters.FlowRunFilter:
    """Filter by name, which holds the user's id; it lets others through."""
    return filters.FlowRunFilter(name=filters.FlowRunFilterName(like_=f"{user_id}: "), state=_ENDED)


def _tagged_with(user_id: str) -> filters.FlowRunFilter:
    return filters.FlowRunFilter(tags=filters.FlowRunFilterTags(all_=[_tag(user_id)]), state=_ENDED)


def _tag(user_id: str) -> str:
    return f"user:{user_id}"
