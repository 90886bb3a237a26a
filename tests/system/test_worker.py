"""The warm worker as a process of its own, beside a real Prefect server."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import platform
import shutil
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import Flow, State
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Cancelling, Scheduled, Suspended

from deployments.local.processes import Part, answers, free_port, restart_dead
from selfiegate.aws.clients import client
from selfiegate.decoding.decode import Limits
from selfiegate.stores.folder import FolderPhotos
from selfiegate.stores.s3 import S3Photos
from tests.aws.local import PHOTOS, create, settings
from tests.aws.proxy import Proxy
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
ODD_FLOWS = (
    "slow",
    "blows_up",
    "cancels_itself",
    "blocking",
    "suspends_itself",
    "pauses_itself",
    "step_by_step",
    "tells_its_process",
)
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
            "HOME": str(folder / "own"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.health),
            "SELFIEGATE_HOME": str(folder / "home"),
            "SELFIEGATE_LEASE_S": "3",
            "SELFIEGATE_PHOTOS__MAX_SECONDS": "1",
        }
        self.parts: list[Part] = []

    def start(self, name: str, command: list[str], url: str, **more: str) -> Part:
        log = self.folder / f"{name}.log"
        part = Part(name, command, self.env | more, log, lambda: answers(url), cwd=ROOT, patience_s=PATIENCE_S)
        self.parts.append(part)
        part.start()
        part.wait_until_ready()
        return part

    def worker(self, *options: str, **more: str) -> Part:
        command = [str(Path(sys.executable).with_name("selfiegate")), "worker", *options]
        return self.start("worker", command, f"http://127.0.0.1:{self.health}/health", **more)

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
        # Without this, Prefect's worker copies the whole checkout for each run, with .venv 1.6 GB.
        here = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}

        async def create(client: PrefectClient) -> None:
            flow_id = await client.create_flow(flow)
            await client.create_deployment(
                flow_id, flow.name, work_pool_name=POOL, entrypoint=entrypoint, pull_steps=[here]
            )

        self.ask(create)

    def stock_worker(self) -> Part:
        prefect = str(Path(sys.executable).with_name("prefect"))
        command = [prefect, "worker", "start", "--pool", POOL, "--type", "process", "--with-healthcheck"]
        return self.start("stock", command, f"http://127.0.0.1:{self.health}/health")

    def run(self, flow: str, *, at: datetime | None = None, **parameters: Any) -> Any:
        async def create(client: PrefectClient) -> Any:
            deployment = await client.read_deployment_by_name(f"{flow}/{flow}")
            scheduled: State[Any] | None = Scheduled(scheduled_time=at) if at else None
            return (
                await client.create_flow_run_from_deployment(deployment.id, parameters=parameters, state=scheduled)
            ).id

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

    def health_answers_until_the_end_of(self, worker: Part) -> list[int]:
        """Return what `/health` answered, changes alone, until the worker's process ended by itself."""
        found, give_up = list[int](), time.monotonic() + PATIENCE_S
        while worker.alive:
            assert time.monotonic() < give_up, self.logs()
            with suppress(httpx.HTTPError):
                found.append(httpx.get(f"http://127.0.0.1:{self.health}/health", timeout=10).status_code)
            time.sleep(0.1)
        return [status for status, _ in itertools.groupby(found)]

    def row_of(self, user_id: str) -> tuple[str, str]:
        """Return owner and status of a user's only row in the ledger."""
        with closing(sqlite3.connect(self.folder / "home" / "records.db")) as records:
            ((owner, status),) = records.execute("SELECT owner, status FROM claims WHERE user_id = ?", [user_id])
        return owner, status

    def ended(self, run_id: Any) -> FlowRun:
        return self.until(run_id, lambda run: bool(run.state and run.state.is_final()))

    def paused(self, run_id: Any) -> FlowRun:
        return self.until(run_id, lambda run: bool(run.state and run.state.is_paused()))

    def running(self, run_id: Any) -> FlowRun:
        return self.until(run_id, lambda run: bool(run.state and run.state.is_running()))


@contextmanager
def prefect_with(folder: Path, *entrypoints: str) -> Iterator[World]:
    """Start Prefect's server with these flows, and end what is started with it."""
    made = World(folder)
    prefect = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--host", "127.0.0.1"]
    try:
        made.start("server", [*prefect, "--port", str(made.port)], f"{made.api}/health")
        first = made.worker()  # makes the pool
        made.wait_for_pool()
        for entrypoint in entrypoints:
            made.deploy(entrypoint)
        first.stop()
        yield made
    finally:
        for part in reversed(made.parts):
            part.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    odd = [f"tests/system/odd_flows.py:{name}" for name in ODD_FLOWS]
    ours = ["flows/process_photo.py:process_photo", "flows/reconcile.py:reconcile"]
    with prefect_with(tmp_path_factory.mktemp("world"), *odd, *ours) as made:
        yield made
    assert not list((made.folder / "own").rglob("*Microsoft*"))  # onnxruntime's telemetry


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
    assert present(world.ended(world.run("tells-its-process")).state).message == str(worker.process.pid)


def test_a_photo_that_holds_its_decoder_up_leaves_the_worker_alone(
    world: World, worker: Part, workshop: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow.jpg").write_bytes(slow_photo())
    slow = world.ended(world.run("process-photo", photo=photo(tmp_path, "slow.jpg"), user_id="user_s"))
    city = world.ended(world.run("process-photo", photo=photo(workshop, "4_no_face.jpg"), user_id="user_c2"))

    assert worker.alive
    assert (present(slow.state).name, present(slow.state).message) == ("Rejected", "unreadable_photo")
    assert (present(city.state).name, present(city.state).message) == ("Rejected", "no_face")


def test_a_worker_tells_what_its_models_run_on(world: World) -> None:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/metrics"
    told = world.worker(PREFECT_CLIENT_METRICS_ENABLED="true", PREFECT_CLIENT_METRICS_PORT=port)
    give_up = time.monotonic() + PATIENCE_S
    while not answers(url):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    metrics = httpx.get(url, timeout=30).text
    told.kill()

    assert 'selfiegate_worker_device{device="CPUExecutionProvider"} 1.0' in metrics


def test_a_run_that_is_cancelled_in_the_ui_ends_and_the_others_go_on(world: World, worker: Part) -> None:
    cancelled, other = world.run("slow", seconds=600), world.run("slow", seconds=5)
    world.running(cancelled)
    world.ask(lambda client: client.set_flow_run_state(cancelled, Cancelling()))

    world.until(cancelled, lambda run: bool(run.state and run.state.is_cancelled()))  # Crashed, for a moment
    assert present(world.ended(other).state).name == "Completed"


def test_a_worker_whose_step_hangs_is_replaced_and_another_process_gives_the_verdict(
    world: World, workshop: Path, empty_moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photo's store sends a byte each second, which no timeout of a read ends."""
    proxy, aws = Proxy(empty_moto), settings(empty_moto)
    monkeypatch.setitem(world.env, "SELFIEGATE_AWS__ENDPOINT_URL", proxy.url)
    monkeypatch.setitem(world.env, "SELFIEGATE_RETRIES__STEP_TIMEOUT_S", "5")
    monkeypatch.setitem(world.env, "SELFIEGATE_STORE_PATIENCE_S", "5")
    create(aws)
    client("s3", aws).upload_file(str(workshop / "3_multiple_faces.jpg"), PHOTOS, "user_h/1.jpg")
    uploaded = S3Photos(aws, Limits()).find(f"s3://{PHOTOS}/user_h/1.jpg")
    worker = world.worker("--patience", "1")
    proxy.fail("s3:GetObject", "trickle", 1)
    hung = world.run("process-photo", photo=uploaded.model_dump(), user_id="user_h")
    answers = world.health_answers_until_the_end_of(worker)

    assert worker.process
    assert (worker.process.returncode, answers) == (1, [200, 503])
    assert "judge_photo did not come back" in worker.log.read_text()

    restart_dead([worker])  # as `selfiegate up` does, and compose and Kubernetes
    worker.wait_until_ready()
    while not world.ask(lambda client: client.read_flow_run(hung)).state.is_final():
        world.ended(world.run("reconcile"))
    owner, status = world.row_of("user_h")
    worker.kill()
    proxy.close()

    assert present(world.ended(hung).state).name == "Crashed"
    assert (owner != str(hung), status) == (True, "rejected")


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


def wait_for(true: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.2)


def name_of(run: FlowRun) -> str:
    return str(present(run.state).name)


def a_photo(world: World, folder: Path) -> list[str]:
    run = world.ended(world.run("process-photo", photo=photo(folder, "3_multiple_faces.jpg"), user_id=folder.name))
    return [name_of(run), str(present(run.state).message)]


def suspended_by_itself(world: World, folder: Path) -> list[str]:
    run = world.run("suspends-itself")
    suspended = world.paused(run)
    world.ask(lambda client: client.resume_flow_run(run))
    return [name_of(suspended), *end_of(world, run)]


def suspended_by_somebody(world: World, folder: Path) -> list[str]:
    run, journal = world.run("step-by-step", folder=str(folder)), folder / "journal"
    wait_for(lambda: journal.exists() and journal.read_text())
    world.ask(lambda client: client.set_flow_run_state(run, Suspended(timeout_seconds=600)))
    suspended = world.paused(run)
    time.sleep(15)  # Prefect's engine looks every ten seconds
    world.ask(lambda client: client.resume_flow_run(run))
    wait_for(lambda: journal.read_text() == "begins\nbegins\n")
    (folder / "enough").touch()
    return [name_of(suspended), *end_of(world, run), *journal.read_text().split()]


def paused_by_itself(world: World, folder: Path) -> list[str]:
    run = world.run("pauses-itself")
    paused = world.paused(run)
    world.ask(lambda client: client.resume_flow_run(run))
    return [name_of(paused), *end_of(world, run)]


def crashed(world: World, folder: Path) -> list[str]:
    return end_of(world, world.run("blows-up"))


def taken_late(world: World, folder: Path) -> list[str]:
    return end_of(world, world.run("slow", at=datetime.now(UTC) - timedelta(minutes=5), seconds=0))


def taken_before_its_time(world: World, folder: Path) -> list[str]:
    """Workers take runs up to ten seconds early; these then wait, by the server's count of whole seconds."""
    at = datetime.now(UTC) + timedelta(seconds=15)
    run = world.run("slow", at=at, seconds=0)
    ended = end_of(world, run)
    return [*ended, "waited" if present(world.ended(run).start_time) > at - timedelta(seconds=1) else "began early"]


def end_of(world: World, run_id: Any) -> list[str]:
    run = world.ended(run_id)
    return [name_of(run)]


AS_ON_PREFECTS_OWN: dict[Callable[[World, Path], list[str]], list[str]] = {
    a_photo: ["Rejected", "multiple_faces"],
    suspended_by_itself: ["Suspended", "Completed"],
    suspended_by_somebody: ["Suspended", "Completed", "begins", "begins", "ends"],
    paused_by_itself: ["Paused", "Completed"],
    crashed: ["Crashed"],
    taken_late: ["Completed"],
    taken_before_its_time: ["Completed", "waited"],
}


@pytest.mark.parametrize("kind", ["warm", "stock"])
def test_runs_behave_as_on_prefects_own_process_worker(world: World, workshop: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / f"user_{kind}"
    shutil.copytree(workshop, folder)
    worker = world.worker("--limit", "16") if kind == "warm" else world.stock_worker()
    with ThreadPoolExecutor(len(AS_ON_PREFECTS_OWN)) as pool:
        rows = {row: pool.submit(row, world, folder) for row in AS_ON_PREFECTS_OWN}
    found = {row.__name__: ended.exception() or ended.result() for row, ended in rows.items()}
    alive = worker.alive
    worker.kill()

    assert alive
    assert found == {row.__name__: ends for row, ends in AS_ON_PREFECTS_OWN.items()}
