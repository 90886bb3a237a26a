"""A worker that hears of runs on Prefect's event stream, beside a real server; and one that does not hear."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from benchmarks.run_cost import EVENT, Relay
from deployments.local.processes import Part
from tests.present import present
from tests.system.test_worker import PATIENCE_S, World, name_of, photo, prefect_with, wait_for

pytestmark = [
    pytest.mark.system,
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.usefixtures("pack"),
]

NEVER = {"PREFECT_WORKER_QUERY_SECONDS": "3600"}
"""A worker that hears nothing would find a run after an hour."""
OPEN = "events of scheduled runs come"
POLL = "POST /work_pools/selfiegate/get_scheduled_flow_runs"
NOT_OF_A_RUN = re.compile(r"/work_pools/|/work_queues/|/events/|/admin/version|/csrf-token|/logs/|/deployments/")
"""What the worker asks by itself, or once for many runs."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    flows = ("tests/system/odd_flows.py:slow", "flows/process_photo.py:process_photo")
    with prefect_with(tmp_path_factory.mktemp("world"), *flows) as made:
        yield made


def listening(world: World, *options: str, **more: str) -> Part:
    """Start a worker that polls once, and wait until it hears of runs."""
    log = world.folder / "worker.log"
    said = log.read_text().count(OPEN)
    worker = world.worker(*options, **NEVER, **more)
    wait_for(lambda: log.read_text().count(OPEN) > said)
    return worker


def many(world: World, count: int, seconds: float) -> list[Any]:
    """Schedule runs as fast as SQLite takes them one after the other."""

    async def create(client: PrefectClient) -> list[Any]:
        slow = await client.read_deployment_by_name("slow/slow")
        one = client.create_flow_run_from_deployment
        return [(await one(slow.id, parameters={"seconds": seconds})).id for _ in range(count)]

    found: list[Any] = world.ask(create)
    return found


def most_at_once(runs: list[FlowRun]) -> int:
    """Count the runs that overlap, by the server's own times."""
    steps = [(present(run.start_time), 1) for run in runs] + [(present(run.end_time), -1) for run in runs]
    now, most = 0, 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def test_a_run_begins_long_before_the_next_poll(world: World) -> None:
    worker = listening(world)
    found = name_of(world.ended(world.run("slow", seconds=0)))
    worker.kill()

    assert found == "Completed"


def test_a_killed_server_is_listened_to_again(world: World) -> None:
    worker, server = listening(world), world.parts[0]
    said = worker.log.read_text().count(OPEN)
    server.kill()
    server.start()
    server.wait_until_ready()
    wait_for(lambda: worker.log.read_text().count(OPEN) > said)
    found = name_of(world.ended(world.run("slow", seconds=0)))
    alive = worker.alive
    worker.kill()

    assert (alive, found) == (True, "Completed")


def test_a_worker_that_hears_nothing_polls_on(world: World) -> None:
    relay = Relay(world.api, refuse="/events/out")
    worker = world.worker(**NEVER, PREFECT_API_URL=relay.url)
    wait_for(lambda: relay.counts["GET /events/out (websocket)"] > 1)  # it was cut, and tried again
    found = [name_of(world.ended(world.run("slow", seconds=0))) for _ in range(2)]
    worker.kill()

    assert found == ["Completed", "Completed"]


def test_many_events_cost_few_polls(world: World) -> None:
    relay = Relay(world.api)
    worker = listening(world, "--limit", "64", PREFECT_API_URL=relay.url)
    before, pid = relay.counts[POLL], present(worker.process).pid
    os.kill(pid, signal.SIGSTOP)  # so that it hears of all of them in one moment
    runs = many(world, 24, 0)
    os.kill(pid, signal.SIGCONT)
    found = {name_of(world.ended(run_id)) for run_id in runs}
    polls = relay.counts[POLL] - before
    worker.kill()

    assert found == {"Completed"}
    assert polls < 12


def test_the_limit_holds_under_many_events_and_nothing_is_left_behind(world: World) -> None:
    worker = listening(world, "--limit", "3")
    runs = [world.ended(run_id) for run_id in many(world, 10, 0.3)]
    worker.kill()

    assert {name_of(run) for run in runs} == {"Completed"}
    assert most_at_once(runs) <= 3


def test_sigterm_beside_events_takes_no_new_runs(world: World) -> None:
    worker = listening(world)
    under_way = world.run("slow", seconds=5)
    world.running(under_way)
    assert worker.process
    worker.process.terminate()
    time.sleep(1)
    late = many(world, 10, 0)

    assert worker.process.wait(PATIENCE_S) == 0
    assert name_of(world.ended(under_way)) == "Completed"
    assert {name_of(world.until(run_id, lambda _: True)) for run_id in late} <= {"Scheduled", "Late"}


def test_a_run_of_a_photo_asks_the_server_no_more_than_it_must(world: World, workshop: Path) -> None:
    """Where this fails after an update of Prefect, look at `WarmWorker._submit_run` and `deployments/worker.py`."""
    relay = Relay(world.api)
    worker = listening(world, PREFECT_API_URL=relay.url)
    user = photo(workshop, "1_happy_face.jpg")
    world.ended(world.run("process-photo", photo=photo(workshop, "4_no_face.jpg"), user_id="warms-it-up"))
    relay.counts.clear()
    found = name_of(world.ended(world.run("process-photo", photo=user, user_id="user_w")))
    wait_for(lambda: relay.counts["POST /logs/"])  # sent after two seconds, after the events
    worker.kill()
    asked = Counter({what: n for what, n in relay.counts.items() if not NOT_OF_A_RUN.search(what)})

    assert found == "Accepted"
    assert asked.pop(EVENT) <= 3 * 8 + 1  # each step turns Pending, Running and Completed
    assert asked == {
        "POST /flow_runs/{id}/set_state": 3,  # Pending, Running, Accepted
        "PATCH /flow_runs/{id}": 2,  # retries and version; name
        "GET /flow_runs/{id}": 1,
        "POST /artifacts/": 1,
    }
