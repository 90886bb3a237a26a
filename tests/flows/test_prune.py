"""The flow that removes old runs from Prefect's database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect import Flow, State, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.actions import LogCreate
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running

from flows.process_photo import process_photo
from flows.prune import OURS, prune
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.model import PhotoRef
from selfiegate.runtime import MemoryRuntime
from tasks import run_history
from tests.answering import answering
from tests.flowruns import LOOP, run

pytestmark = pytest.mark.usefixtures("prefect_api")

ROOT = Path(__file__).parents[2]
ENDED = (Completed, Failed, Crashed, Cancelled)


@flow(name="of another project", persist_result=False)
async def elsewhere() -> None:
    pass


def runs_of(whose: Flow[..., Any], states: Sequence[State[Any]]) -> list[UUID]:
    """Make a run in each state."""

    async def made() -> list[UUID]:
        async with get_client() as client:
            photo = {"bucket": "b", "key": "k", "version": "v"}
            return [
                (await client.create_flow_run(whose, parameters={"photo": photo, "user_id": "ann"}, state=state)).id
                for state in states
            ]

    return LOOP.run(made())


def age(runs: Sequence[UUID], days: float) -> None:
    """Let runs have begun, and ended, so long ago."""
    then = f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d %H:%M:%S.%f}"
    url = get_current_settings().server.database.connection_url
    assert url
    path = url.get_secret_value().partition("///")[2]
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        for one in runs:
            database.execute(
                "UPDATE flow_run SET start_time = ?1, end_time = CASE WHEN end_time IS NULL THEN NULL ELSE ?1 END "
                "WHERE id = ?2",
                (then, str(one)),
            )
            assert database.execute("SELECT changes()").fetchone() == (1,)


def left(runs: Sequence[UUID]) -> list[UUID]:
    async def found() -> list[UUID]:
        async with get_client() as client:
            about = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=list(runs)))
            there = {one.id for one in await client.read_flow_runs(flow_run_filter=about)}
            return [one for one in runs if one in there]

    return LOOP.run(found())


def pruned(**parameters: Any) -> State[Any]:
    async def once() -> State[Any]:
        state = await prune(**parameters, return_state=True)
        await asyncio.sleep(0.3)  # see tests.flowruns
        return state

    return LOOP.run(once())


def test_runs_that_ended_long_ago_go_and_all_others_stay() -> None:
    old = runs_of(process_photo, [state() for state in ENDED])
    young = runs_of(process_photo, [state() for state in ENDED])
    unfinished = runs_of(process_photo, [Pending(), Running()])
    others = runs_of(elsewhere, [Completed()])
    age([*old, *unfinished, *others], days=8)
    age(young, days=6)
    state = pruned()

    assert state.name == "Pruned"
    assert left([*old, *young, *unfinished, *others]) == [*young, *unfinished, *others]
    assert LOOP.run(state.aresult()) == {"runs": 4, "artifacts": 0}
    assert pruned().message == "0 runs, 0 artifacts"


def test_a_photos_page_and_log_go_with_its_run(rt: MemoryRuntime, ann: PhotoRef) -> None:
    one = run(rt, ann, "user_a").state_details.flow_run_id
    assert one
    told = LogCreate(name="a step", level=20, message="of user_a", timestamp=datetime.now(UTC), flow_run_id=one)

    async def kept() -> tuple[int, int]:
        async with get_client() as client:
            of = filters.ArtifactFilterFlowRunId(any_=[one])
            pages = await client.read_artifacts(artifact_filter=filters.ArtifactFilter(flow_run_id=of))
            lines = await client.read_logs(filters.LogFilter(flow_run_id=filters.LogFilterFlowRunId(any_=[one])))
            return len(pages), len(lines)

    async def logged() -> tuple[int, int]:
        async with get_client() as client:
            await client.create_logs([told])
        return await kept()

    async def gone() -> tuple[int, int]:
        for _ in range(600):  # the server removes logs after it has answered
            if not any(found := await kept()):
                break
            await asyncio.sleep(0.1)
        return found

    assert LOOP.run(logged()) == (1, 1)
    age([one], days=8)
    assert pruned().message == "1 runs, 1 artifacts"
    assert LOOP.run(gone()) == (0, 0)


def test_a_run_of_it_ends_in_time_and_the_next_goes_on() -> None:
    old = runs_of(process_photo, [Completed() for _ in range(60)])
    age(old, days=30)
    first = run_history.prune(["process-photo"], 7, seconds=0)
    then = run_history.prune(["process-photo"], 7, seconds=60)

    assert (first.runs, first.finished) == (50, False)
    assert (then.runs, then.finished) == (10, True)
    assert left(old) == []


def test_two_at_once_remove_each_run_once() -> None:
    old = runs_of(process_photo, [Completed() for _ in range(120)])
    age(old, days=30)

    async def both() -> list[run_history.Pruned]:
        each = [asyncio.to_thread(run_history.prune, ["process-photo"], 7, 60) for _ in range(2)]
        return await asyncio.gather(*each)

    done = LOOP.run(both())

    assert left(old) == []
    assert sum(one.runs for one in done) == 120
    assert all(one.finished for one in done)


def test_a_server_that_does_not_answer_is_a_fault_that_is_tried_again() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(BackendUnavailable):
        run_history.prune(["process-photo"], 7, 1)


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[int]]]:
    """A server that answers each POST with one status; its address and that status."""
    status = [403]

    def reply(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        return (404 if method == "GET" else status[0]), b""  # no CSRF protection

    with answering(reply) as address:
        yield f"{address}/api", status


@pytest.mark.parametrize(
    ("status", "error"), [(403, BackendMisconfigured), (405, BackendMisconfigured), (500, BackendUnavailable)]
)
def test_a_server_that_refuses_is_told_with_the_mend_and_another_fault_is_tried_again(
    refusing: tuple[str, list[int]], status: int, error: type[Exception]
) -> None:
    refusing[1][0] = status
    with temporary_settings({PREFECT_API_URL: refusing[0]}), pytest.raises(error, match=str(status)):
        run_history.prune(["process-photo"], 7, 1)


def test_the_runs_of_every_deployed_flow_are_pruned() -> None:
    from prefect.flows import load_flow_from_entrypoint

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = {load_flow_from_entrypoint(str(ROOT / one["entrypoint"])).name for one in deployments}

    assert set(OURS) == names
