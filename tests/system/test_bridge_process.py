"""The bridge as a process beside Prefect's real server: events arrive, whatever is killed, and it stops cleanly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from selfiegate.aws.clients import AwsSettings
from selfiegate.model import PhotoRef
from tests.aws.local import PHOTOS
from tests.system.test_bridge import Rig, fetched, upload_of
from tests.system.test_bridge_parking import begin_erasure, end_erasure

pytestmark = pytest.mark.system


class Process:
    """One process of ours in a group of its own, and what it wrote."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **environment},
                cwd=log.parent,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def end(self, how: signal.Signals) -> int:
        if self._process.poll() is None:
            os.killpg(self._process.pid, how)
        return self._process.wait(120)


class Server:
    """Prefect's server on a port of its own; it may be killed and started again."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, free_port()
        self.api = f"http://127.0.0.1:{self._port}/api"
        home.mkdir()

    def start(self) -> None:
        where = ("--host", "127.0.0.1", "--port", str(self._port), "--no-ui")
        service = "PREFECT_SERVER_SERVICES_EVENT_PERSISTER"
        wanted = {
            f"{service}_ENABLED": "true",
            f"{service}_FLUSH_INTERVAL": "0.2",
            "PREFECT_HOME": str(self._home),
            "PREFECT_API_URL": self.api,
        }
        self.process = Process(self._home / "log", "-m", "prefect", "server", "start", *where, **wanted)
        eventually(self.is_up)

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.api}/health", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def events(self) -> list[Any]:
        wanted = {"filter": {"event": {"name": ["selfiegate.photo.uploaded"]}}}
        return list(
            httpx.post(f"{self.api}/events/filter", json=wanted, timeout=20).raise_for_status().json()["events"]
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "prefect")
    try:
        server.start()
        yield server
    finally:
        server.process.end(signal.SIGKILL)


@pytest.mark.slow
def test_events_arrive_though_the_server_is_killed_and_the_rest_is_given_back(
    server: Server, aws: AwsSettings, tmp_path: Path
) -> None:
    rig, port = Rig(aws), free_port()
    bridge = start_bridge(rig, server, port, tmp_path)
    try:
        rig.send(upload_of("7/a.jpg"))
        eventually(lambda: bool(server.events()))
        (event,) = server.events()
        claim(rig, event)
        eventually(rig.is_settled)

        server.process.end(signal.SIGKILL)
        rig.send(upload_of("8/b.jpg"))
        eventually(lambda: "Prefect does not answer" in bridge.output)
        server.start()
        eventually(lambda: len(server.events()) >= 2)
        health, metrics = fetched(port, "health"), fetched(port, "metrics")
        code = bridge.end(signal.SIGTERM)
    finally:
        bridge.end(signal.SIGKILL)

    photo = PhotoRef(bucket=PHOTOS, key="7/a.jpg", version="v1")
    assert event["payload"] == {"photo": photo.model_dump(), "user_id": "7", "upload_order": ""}
    assert event["resource"]["prefect.resource.id"] == f"selfiegate.photo.{photo.id}"
    assert {one["payload"]["user_id"] for one in server.events()} == {"7", "8"}
    assert (code, health[0]) == (0, 200)
    assert "selfiegate_bridge_claimed_total 1.0" in metrics[1]
    assert rig.queued() == (1, 0)
    assert "Traceback" not in bridge.output
    assert "stopped" in bridge.output


@pytest.mark.slow
def test_stuck_photos_hold_up_nobody_though_the_bridge_is_killed(
    server: Server, aws: AwsSettings, tmp_path: Path
) -> None:
    """Four photos fill a window of four; their user is being forgotten, so that no run may claim them."""
    rig, port = Rig(aws), free_port()
    erasure = begin_erasure(rig, "stuck")
    rig.send(*(upload_of(f"stuck/{number}.jpg") for number in range(4)))
    few = {"SELFIEGATE_BRIDGE__WINDOW": "4", "SELFIEGATE_BRIDGE__PARK_S": "2"}
    bridge = start_bridge(rig, server, port, tmp_path, **few)
    try:
        eventually(lambda: 'parked{waits_for="erasure"} 4.0' in (fetched_or_none(port, "metrics") or ""))
        rig.send(upload_of("7/a.jpg"), upload_of("8/b.jpg"))
        eventually(lambda: claimed(rig, server) == {"7/a.jpg", "8/b.jpg"})
        health = fetched(port, "health")

        bridge.end(signal.SIGKILL)
        bridge = start_bridge(rig, server, port, tmp_path, **few)
        rig.send(upload_of("9/c.jpg"))
        eventually(lambda: claimed(rig, server) == {"7/a.jpg", "8/b.jpg", "9/c.jpg"})
        end_erasure(rig, erasure)
        eventually(lambda: len(claimed(rig, server)) == 7)
        eventually(rig.is_settled)
    finally:
        bridge.end(signal.SIGKILL)

    assert (health[0], "photos that wait until their users are forgotten: 4" in health[1]) == (200, True)
    assert rig.queued(1) == (0, 0)
    assert "Traceback" not in bridge.output


def claimed(rig: Rig, server: Server) -> set[str]:
    """Be the runs that the events start; return the keys of their photos."""
    events = server.events()
    for event in events:
        claim(rig, event)
    return {event["payload"]["photo"]["key"] for event in events}


def fetched_or_none(port: int, path: str) -> str | None:
    """Fetch from a server that may not listen yet."""
    try:
        return fetched(port, path)[1]
    except OSError:
        return None


def start_bridge(rig: Rig, server: Server, port: int, folder: Path, **more: str) -> Process:
    aws = rig.settings.aws
    wanted = {
        "PREFECT_API_URL": server.api,
        "PREFECT_HOME": str(folder / "prefect"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SELFIEGATE_AWS__ENDPOINT_URL": str(aws.endpoint_url),
        "SELFIEGATE_AWS__QUEUE_URL": str(aws.queue_url),
        "SELFIEGATE_AWS__DEAD_QUEUE_URL": str(aws.dead_queue_url),
        "SELFIEGATE_BRIDGE__PORT": str(port),
        **more,
    }
    return Process(folder / "bridge.log", "-m", "selfiegate", "bridge", **wanted)


def claim(rig: Rig, event: Any) -> None:
    """Be the run that the event starts."""
    payload = event["payload"]
    rig.ledger.claim(PhotoRef(**payload["photo"]), payload["user_id"], "run", 60, payload["upload_order"])


def eventually(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
