"""`selfiegate up --database postgresql`: three workers that share nothing but a real PostgreSQL."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageEnhance

from deployments.local.demo_photos import ANOTHER, WORKSHOP, draw
from deployments.local.postgres import LocalPostgres
from deployments.local.processes import free_port
from selfiegate.errors import BackendMisconfigured
from selfiegate.postgres_database import PostgresDatabase
from tests.chaos.traffic import Traffic, traffic
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.system, pytest.mark.weights, pytest.mark.slow, pytest.mark.usefixtures("pack", "_postgresql")]

WORKERS = ("worker-1", "worker-2", "worker-3")
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def _postgresql() -> None:
    """Skip where no PostgreSQL can run."""
    try:
        LocalPostgres(free_port()).remove()
    except BackendMisconfigured as error:
        pytest.skip(f"no PostgreSQL: {error}")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The faces of two people, a photo each."""
    folder = tmp_path_factory.mktemp("people")
    draw(folder)
    return folder / WORKSHOP[0], folder / ANOTHER


def brighter(photo: Path) -> Path:
    with Image.open(photo) as picture:
        ImageEnhance.Brightness(picture).enhance(1.04).save(photo.with_name("brighter.png"))
    return photo.with_name("brighter.png")


def pause(world: Traffic, *names: str) -> None:
    for name in names:
        os.kill(pid_of(world, name), signal.SIGSTOP)


def resume(world: Traffic, *names: str) -> None:
    for name in names:
        os.kill(pid_of(world, name), signal.SIGCONT)


def pid_of(world: Traffic, name: str) -> int:
    process = world.local.parts[name].process
    assert process
    return process.pid


@contextmanager
def alone(world: Traffic, name: str) -> Iterator[None]:
    """Let one worker take runs, and none of the others."""
    others = [other for other in WORKERS if other != name]
    pause(world, *others)
    try:
        yield
    finally:
        resume(world, *WORKERS)


def kill_postgres(world: Traffic) -> None:
    """Kill the server, and see `up` start it again."""
    server = world.local.parts["postgres"]
    server.kill()
    give_up = time.monotonic() + PATIENCE_S
    while not server.ready():
        assert time.monotonic() < give_up, world.log("postgres")
        world.local.restart_dead()  # what `up` does each second
        time.sleep(0.5)


def status_by(world: Traffic, worker: str, photo: Path, user_id: str) -> str:
    """Let one worker process a user's photo, and return the verdict's status."""
    with alone(world, worker):
        upload = world.upload(photo, user_id)
        world.wait(PATIENCE_S)
    return world.verdicts[upload].status


def test_one_face_is_accepted_once_whichever_workers_take_its_photos(tmp_path: Path, people: tuple[Path, Path]) -> None:
    happy, other = people
    settings = {"SELFIEGATE_LEASE_S": "10", "SELFIEGATE_BRIDGE__PATIENCE_S": "10"}
    with traffic(tmp_path / "up", "postgresql", **settings) as world:
        with alone(world, "worker-1"):
            first = world.upload(happy, "ann")
            give_up = time.monotonic() + PATIENCE_S
            while world.rt.ledger.get(*first) is None:  # its run is under way from here on
                assert time.monotonic() < give_up, world.log("worker-1")
                time.sleep(0.01)
            pause(world, "worker-1")
            resume(world, "worker-2")
            second = world.upload(happy, "bea")
            while world.rt.ledger.get(*second) is None:
                assert time.monotonic() < give_up, world.log("worker-2")
                time.sleep(0.01)
            resume(world, "worker-1")
            world.wait(PATIENCE_S)
        assert sorted(world.verdicts[upload].status for upload in (first, second)) == ["accepted", "rejected"]

        assert status_by(world, "worker-3", other, "cleo") == "accepted"
        assert status_by(world, "worker-1", other, "dora") == "rejected"
        kill_postgres(world)
        assert status_by(world, "worker-2", brighter(other), "cleo") == "accepted"
        homes = [tmp_path / "up" / f"home-of-{worker}" for worker in WORKERS]
        assert not any([*home.glob("*.db")] for home in homes)
        world.assert_consistent()


def test_a_server_that_runs_is_used_and_keeps_the_faces(
    tmp_path: Path, people: tuple[Path, Path], postgres: PostgresServer
) -> None:
    url = postgres.database("used_by_up")
    with traffic(tmp_path / "up", url) as world:
        upload = world.upload(people[0], "ann")
        world.wait(PATIENCE_S)
        assert "postgres" not in world.local.parts

    assert world.verdicts[upload].status == "accepted"
    assert PostgresDatabase(url).read("SELECT user_id FROM faces") == [{"user_id": "ann"}]


def test_sigterm_leaves_no_process_and_no_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "selfiegate", "up", "--database", "postgresql", "--folder", str(tmp_path / "up")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with (tmp_path / "out").open("w") as out:
        up = subprocess.Popen(command, stdout=out, stderr=out, env=env)
    try:
        give_up = time.monotonic() + PATIENCE_S
        while "Ctrl-C stops all of it." not in (tmp_path / "out").read_text():
            assert time.monotonic() < give_up, (tmp_path / "out").read_text()
            assert up.poll() is None, (tmp_path / "out").read_text()
            time.sleep(0.2)
        processes = psutil.Process(up.pid).children(recursive=True)
        commands = [" ".join(process.cmdline()) for process in processes]
        (data,) = (Path(found[1]) for each in commands if (found := re.search(r"postgres -D (\S+)", each)))
        assert sum("selfiegate worker" in each for each in commands) == len(WORKERS)
        assert data.is_dir()
        again = subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE_S, check=False)
        assert (again.returncode, f"pid {up.pid}" in again.stderr) == (2, True), again.stderr

        up.send_signal(signal.SIGTERM)
        assert up.wait(PATIENCE_S) == 0, (tmp_path / "out").read_text()
        assert psutil.wait_procs(processes, timeout=10)[1] == []
        assert not data.exists()
        assert not data.parent.exists()
    finally:
        with suppress(ProcessLookupError):
            up.kill()
