"""The warm worker as a process of its own, beside a real Prefect server."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Cancelling

from deployments.local.processes import Part, answers, free_port
from selfiegate.decoding.decode import Limits
from selfiegate.stores.folder import FolderPhotos
from tests.hostile.faulty_decoder import slow_photo
from tests.present import present

pytestmark = [
    pytest.mark.system,
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.usefixtures("pack"),
]

ROOT = Path(__file__).parents[2]
POOL = "selfiegate"
PATIENCE_S = 300
"""A bound on hangs: with two cores for four tests, Prefect's own worker took over 60 s to start a run's process."""


class World:
    """A Prefect server, the deployments of the odd flows and of process-photo, and workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.health = free_port(), free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.health),
            "SELFIEGATE_HOME": str(folder / "home"),
            "SELFIEGATE_LEASE_S": "3",
            "SELFIEGATE_PHOTOS__MAX_SECONDS": "1",
        }
        self.parts: list[Part] = []

    def start(self, name: str, command: list[str], url: str) -> Part:
        part = Part(name, command, self.env, self.folder / f"{name}.log", ready=lambda: answers(url), cwd=ROOT)
        self.parts.append(part)
        part.start()
        part.wait_until_ready()
        return part

    def worker(self, *options: str) -> Part:
        command = [str(Path(sys.executable).with_name("selfiegate")), "worker", *options]
        return self.start("worker", command, f"http://127.0.0.1:{self.health}/health")

    def ask(self, question: Callable[[PrefectClient], Any]) -> Any:
        async def answer() -> Any:
            async with PrefectClient(self.api) as client:
                return await question(client)

        return asyncio.run(answer())

    def wait_for_pool(self) -> None:
        async def there(client: PrefectClient) -> bool:
            return bool(await client.read_work_pools())

        give_up = time.monotonic() + PATIENCE_S
        while not self.ask(there):
            assert time.monotonic() < give_up
            time.sleep(0.2)

    def deploy(self, entrypoint: str) -> None:
        flow: Flow[..., Any] = load_flow_from_entrypoint(str(ROOT / entrypoint))

        async def create(client: PrefectClient) -> None:
            flow_id = await client.create_flow(flow)
            await client.create_deployment(
                flow_id, flow.name, work_pool_name=POOL, entrypoint=entrypoint, path=str(ROOT)
            )

        self.ask(create)

    def run(self, flow: str, **parameters: Any) -> Any:
        async def create(client: PrefectClient) -> Any:
            deployment = await client.read_deployment_by_name(f"{flow}/{flow}")
            return (await client.create_flow_run_from_deployment(deployment.id, parameters=parameters)).id

        return self.ask(create)

    def until(self, run_id: Any, wanted: Callable[[FlowRun], bool], patience_s: float = PATIENCE_S) -> FlowRun:
        give_up = time.monotonic() + patience_s
        while True:
            run: FlowRun = self.ask(lambda client: client.read_flow_run(run_id))
            if wanted(run):
                return run
            assert time.monotonic() < give_up, (run.state, self.logs())
            time.sleep(0.2)

    def logs(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text()[-3000:]}" for log in self.folder.glob("*.log"))

    def ended(self, run_id: Any) -> FlowRun:
        return self.until(run_id, lambda run: bool(run.state and run.state.is_final()))

    def running(self, run_id: Any) -> FlowRun:
        return self.until(run_id, lambda run: bool(run.state and run.state.is_running()))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    prefect = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--host", "127.0.0.1"]
    made.start("server", [*prefect, "--port", str(made.port)], f"{made.api}/health")
    try:
        first = made.worker()  # makes the pool
        made.wait_for_pool()
        for entrypoint in ("slow", "blows_up", "cancels_itself", "blocking"):
            made.deploy(f"tests/system/odd_flows.py:{entrypoint}")
        made.deploy("flows/process_photo.py:process_photo")
        first.stop()
        yield made
    finally:
        for part in reversed(made.parts):
            part.stop()


@pytest.fixture
def worker(world: World) -> Iterator[Part]:
    part = world.worker()
    yield part
    part.kill()


def terminate_elsewhere(pid: int) -> None:
    """Send SIGTERM as the kernel may: to a thread that is not the main one, which alone runs Python's handlers."""
    tgkill = {"x86_64": 234, "aarch64": 131}[platform.machine()]
    other = next(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid)
    assert ctypes.CDLL(None).syscall(tgkill, pid, other, signal.SIGTERM) == 0


def photo(workshop: Path, name: str) -> dict[str, Any]:
    return FolderPhotos(Limits()).find(str(workshop / name)).model_dump()


def test_photos_are_run_in_the_workers_own_process(world: World, worker: Part, workshop: Path) -> None:
    happy = world.run("process-photo", photo=photo(workshop, "1_happy_face.jpg"), user_id="user_a")
    city = world.run("process-photo", photo=photo(workshop, "4_no_face.jpg"), user_id="user_c")

    assert worker.process
    assert [present(world.ended(run_id).state).name for run_id in (happy, city)] == ["Accepted", "Rejected"]
    pids = {world.ended(run_id).infrastructure_pid for run_id in (happy, city)}
    assert pids == {str(worker.process.pid)}


def test_a_photo_that_holds_its_decoder_up_leaves_the_worker_alone(
    world: World, worker: Part, workshop: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow.jpg").write_bytes(slow_photo())
    slow = world.ended(world.run("process-photo", photo=photo(tmp_path, "slow.jpg"), user_id="user_s"))
    city = world.ended(world.run("process-photo", photo=photo(workshop, "4_no_face.jpg"), user_id="user_c2"))

    assert worker.process
    assert (present(slow.state).name, present(slow.state).message) == ("Rejected", "unreadable_photo")
    assert (present(city.state).name, present(city.state).message) == ("Rejected", "no_face")
    assert slow.infrastructure_pid == city.infrastructure_pid == str(worker.process.pid)


def test_a_run_that_is_cancelled_in_the_ui_ends_and_the_others_go_on(world: World, worker: Part) -> None:
    cancelled, other = world.run("slow", seconds=600), world.run("slow", seconds=5)
    world.running(cancelled)
    world.ask(lambda client: client.set_flow_run_state(cancelled, Cancelling()))

    world.until(cancelled, lambda run: bool(run.state and run.state.is_cancelled()))  # Crashed, for a moment
    assert present(world.ended(other).state).name == "Completed"


def addresses_listened_on(port: int) -> set[str]:
    """Return the IPv4 addresses at which somebody on this machine answers on a port; as Linux lists them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    places = [local.split(":") for _, local, _, state, *_ in rows if state == "0A"]
    return {socket.inet_ntoa(bytes.fromhex(host)[::-1]) for host, at in places if int(at, 16) == port}


def test_a_worker_answers_to_this_machine_alone_unless_told_otherwise(
    world: World, worker: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_default = addresses_listened_on(world.health)
    worker.kill()
    monkeypatch.setitem(world.env, "PREFECT_WORKER_WEBSERVER_HOST", "0.0.0.0")  # noqa: S104  what a container sets
    told = world.worker()
    when_told = addresses_listened_on(world.health)
    told.kill()

    assert by_default == {"127.0.0.1"}
    assert when_told == {"0.0.0.0"}  # noqa: S104


@pytest.mark.parametrize("how", ["blows-up", "cancels-itself"])
def test_a_run_that_blows_up_leaves_the_others_alone(world: World, worker: Part, how: str) -> None:
    other = world.run("slow", seconds=4)
    blown = world.run(how)

    assert present(world.ended(blown).state).type in ("CRASHED", "FAILED")
    assert present(world.ended(other).state).name == "Completed"
    assert worker.alive


def test_a_flow_that_would_hold_up_all_others_is_refused(world: World, worker: Part) -> None:
    found = world.ended(world.run("blocking"))

    assert present(found.state).name == "Crashed"
    assert "is not async" in present(present(found.state).message)


def test_sigterm_lets_runs_end_and_takes_no_new_ones(world: World, worker: Part) -> None:
    under_way = world.run("slow", seconds=4)
    world.running(under_way)
    assert worker.process
    worker.process.terminate()
    time.sleep(1)
    late = world.run("slow", seconds=0)

    assert worker.process.wait(PATIENCE_S) == 0
    assert present(world.ended(under_way).state).name == "Completed"
    assert world.ask(lambda client: client.read_flow_run(late)).state.name in ("Scheduled", "Late")


def test_what_outlasts_the_patience_of_sigterm_is_stopped(world: World) -> None:
    worker = world.worker("--patience", "1")
    run_id = world.run("slow", seconds=600)
    world.running(run_id)
    assert worker.process
    terminate_elsewhere(worker.process.pid)

    assert worker.process.wait(PATIENCE_S) == 0
    assert present(world.ended(run_id).state).type == "CRASHED"


def test_no_more_runs_than_the_limit_at_once(world: World) -> None:
    worker = world.worker("--limit", "1")
    runs = [world.run("slow", seconds=2) for _ in range(2)]
    first, second = sorted((world.ended(run_id) for run_id in runs), key=lambda run: present(run.start_time))
    worker.kill()

    assert present(second.start_time) >= present(first.end_time)


def test_prefects_own_process_worker_runs_the_same_deployment(world: World, workshop: Path) -> None:
    prefect = str(Path(sys.executable).with_name("prefect"))
    command = [prefect, "worker", "start", "--pool", POOL, "--type", "process", "--with-healthcheck"]
    stock = world.start("stock", command, f"http://127.0.0.1:{world.health}/health")
    run_id = world.run("process-photo", photo=photo(workshop, "3_multiple_faces.jpg"), user_id="user_d")
    found = world.ended(run_id)
    stock.stop()

    assert present(found.state).name == "Rejected"
    assert present(found.state).message == "multiple_faces"
