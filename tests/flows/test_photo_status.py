"""The flow that tells what became of one user's photos."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters

from flows.photo_status import photo_status
from selfiegate.model import PhotoRef
from selfiegate.runtime import MemoryRuntime, using
from tasks import run_history
from tests.flowruns import LOOP, run

pytestmark = pytest.mark.usefixtures("prefect_api")


def status(rt: MemoryRuntime, user_id: str) -> State[Any]:
    async def once() -> State[Any]:
        state: State[Any] = await photo_status(user_id, return_state=True)
        return state

    with using(rt):
        return LOOP.run(once())


async def page_of(one: UUID) -> str:
    async with get_client() as client:
        of = filters.ArtifactFilterFlowRunId(any_=[one])
        (page,) = await client.read_artifacts(artifact_filter=filters.ArtifactFilter(flow_run_id=of))
        return str(page.data)


def test_the_run_carries_a_table_with_the_photos_own_run(rt: MemoryRuntime, ann: PhotoRef) -> None:
    took = run(rt, ann, "user_a").state_details.flow_run_id
    state = status(rt, "user_a")
    assert state.state_details.flow_run_id
    page = LOOP.run(page_of(state.state_details.flow_run_id))

    assert (state.name, state.message) == ("Known", "1 photos")
    assert "accepted, the profile's photo" in page
    assert f"/runs/flow-run/{took})" in page
    assert LOOP.run(state.aresult()).photos[0].run == str(took)


def test_a_user_whom_nobody_knows_is_told_and_no_fault(rt: MemoryRuntime) -> None:
    assert status(rt, "nobody").name == "Unknown"


def test_an_erasure_removes_the_run_that_told_of_the_user(rt: MemoryRuntime) -> None:
    one = status(rt, "user_of_status").state_details.flow_run_id

    assert run_history.remove("user_of_status") == [str(one)]
