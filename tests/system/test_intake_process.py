"""Bridges as processes that share one queue in PostgreSQL: nothing is lost or doubled, whatever is killed."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psycopg
import pytest

from selfiegate.databases import open_postgres_queue, open_records
from selfiegate.model import PhotoRef
from selfiegate.records import Ledger
from selfiegate.settings import load_settings
from tests.postgres import PATIENCE_S, PostgresServer
from tests.system.test_bridge import fetched, upload_of
from tests.system.test_bridge_process import Process, Server, eventually, fetched_or_none, free_port, server

__all__ = ["server"]
pytestmark = pytest.mark.system

TOKEN = "a-token-of-32-letters-or-so-1234"  # noqa: S105  of nothing


class Site:
    """A database, and bridges on it beside one Prefect server."""

    def __init__(self, url: str, server: Server, folder: Path) -> None:
        self.url, self._server, self._folder = url, server, folder
        self.queue, self.ledger = open_postgres_queue(load_settings()), open_records(load_settings()).ledger
        self.bridges = list[Process]()

    def start(self, **more: str) -> tuple[Process, int]:
        """Start a bridge, and wait until it listens."""
        port, name = free_port(), f"bridge-{len(self.bridges)}"
        wanted = {
            "PREFECT_API_URL": self._server.api,
            "PREFECT_HOME": str(self._folder / "prefect"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SELFIEGATE_DATABASE": self.url,
            "SELFIEGATE_BRIDGE__PORT": str(port),
            "SELFIEGATE_BRIDGE__TOKEN": TOKEN,
            **more,
        }
        folder = self._folder / name
        folder.mkdir()
        bridge = Process(folder / "bridge.log", "-m", "selfiegate", "bridge", **wanted)
        self.bridges.append(bridge)
        eventually(lambda: fetched_or_none(port, "health") is not None)
        return bridge, port

    def claim_all(self) -> Counter[str]:
        """Be the runs that the events start; count the events of each key. Prefect tells of 50 at most."""
        events = self._server.events()
        for event in events:
            claim(self.ledger, event)
        return Counter(event["payload"]["photo"]["key"] for event in events)

    def rows(self) -> int:
        with psycopg.connect(self.url) as connection:
            found = connection.execute("SELECT count(*) FROM photo_events WHERE died_at IS NULL").fetchone()
        assert found
        return int(found[0])


@pytest.fixture
def site(server: Server, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    url = postgres.database("bridges")
    monkeypatch.setenv("SELFIEGATE_DATABASE", url)
    site = Site(url, server, tmp_path)
    try:
        yield site
    finally:
        for bridge in site.bridges:
            bridge.end(signal.SIGKILL)


def claim(ledger: Ledger, event: Any) -> None:
    payload = event["payload"]
    ledger.claim(PhotoRef(**payload["photo"]), payload["user_id"], "run", 60, payload["upload_order"])


def post(port: int, event: object) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/events",
        json.dumps(event).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
        return int(answer.status)


@pytest.mark.slow
def test_a_bridge_that_is_killed_after_its_answer_loses_nothing(site: Site) -> None:
    """It has a full window, more in its hands, and a queue behind it, the instant that the last event was answered."""
    bridge, port = site.start(SELFIEGATE_BRIDGE__WINDOW="4")
    keys = [f"{number}/a.jpg" for number in range(20)]
    answers = {post(port, upload_of(key)) for key in keys[:10]}
    eventually(lambda: site.queue.stats().kept >= 4)
    answers |= {post(port, upload_of(key)) for key in keys[10:]}
    bridge.end(signal.SIGKILL)
    stats = site.queue.stats()

    _, port = site.start(SELFIEGATE_BRIDGE__WINDOW="4")
    eventually(lambda: set(site.claim_all()) == set(keys))
    eventually(lambda: site.rows() == 0)

    assert answers == {200}
    assert (stats.waiting + stats.kept, stats.dead) == (20, 0)
    assert stats.kept >= 4
    assert received_by(port) == 20
    assert site.queue.stats() == (0, 0, 0, 0)
    assert all("Traceback" not in bridge.output for bridge in site.bridges)


@pytest.mark.slow
def test_two_bridges_share_a_queue_and_hand_a_photo_over_once(site: Site) -> None:
    (_, first), (_, second) = site.start(), site.start()
    keys = {f"{number}/a.jpg" for number in range(40)}
    for number, key in enumerate(sorted(keys)):
        post((first, second)[number % 2], upload_of(key))

    eventually(lambda: set(site.claim_all()) == keys)
    eventually(lambda: site.rows() == 0)

    taken = [received_by(port) for port in (first, second)]
    emitted_again = sum("sent again" in line for bridge in site.bridges for line in bridge.output.splitlines())
    assert sum(taken) == 40
    assert site.claim_all().total() == 40 + emitted_again


def received_by(port: int) -> int:
    (line,) = (
        line for line in fetched(port, "metrics")[1].splitlines() if line.startswith("selfiegate_bridge_received_total")
    )
    return int(float(line.split()[1]))


@pytest.mark.slow
def test_a_bridge_outlives_its_database_and_buries_what_names_no_user(site: Site, postgres: PostgresServer) -> None:
    bridge, port = site.start()
    postgres.kill()
    try:
        time.sleep(2)
        with pytest.raises(HTTPError) as refused:
            post(port, upload_of("7/a.jpg"))
    finally:
        postgres.start()
    eventually(lambda: post_or_none(port, upload_of("7/a.jpg")) == 200)
    post(port, upload_of("no-user.jpg"))

    eventually(lambda: set(site.claim_all()) == {"7/a.jpg"} and site.rows() == 0)
    code = bridge.end(signal.SIGTERM)

    (dead,) = site.queue.dead(10)
    assert (refused.value.code, code) == (503, 0)
    assert "no-user.jpg" in dead.reason
    assert json.loads(dead.body) == upload_of("no-user.jpg")
    assert "Traceback" not in bridge.output


def post_or_none(port: int, event: object) -> int | None:
    try:
        return post(port, event)
    except OSError:
        return None
