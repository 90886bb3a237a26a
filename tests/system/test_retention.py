"""A user's old run leaves nothing in Prefect's database: by the server's own vacuum, and by the flow `prune`."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from prefect.events import Event

from deployments.local.demo_photos import ANOTHER, WORKSHOP, draw
from deployments.local.parts import BATCHES, RETENTION
from deployments.local.processes import Part, answers, free_port

pytestmark = [pytest.mark.system, pytest.mark.weights, pytest.mark.slow, pytest.mark.usefixtures("pack")]

ROOT = Path(__file__).parents[2]
OLD, YOUNG = "user-of-last-month", "user-of-today"
COMMAND = "from selfiegate.__main__ import main; main()"
PRUNE = "import asyncio; from flows.prune import prune; asyncio.run(prune())"
HOURLY = "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS"


class Server:
    """Prefect's server on SQLite, and commands that run with it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        port = free_port()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            **BATCHES,
            **settings,
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            HOURLY: "1",
            "SELFIEGATE_HOME": str(folder / "home"),
        }
        self.url, self.database = self.env["PREFECT_API_URL"], folder / "prefect" / "prefect.db"
        command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--host", "127.0.0.1"]
        health = f"{self.url}/health"
        log = folder / "server.log"
        self.part = Part("prefect", [*command, "--port", str(port)], self.env, log, lambda: answers(health))

    def start(self) -> None:
        self.part.start()
        self.part.wait_until_ready()

    def run(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-c", *arguments], env=self.env, cwd=ROOT, check=True, timeout=300)

    def tell(self, user_id: str) -> None:
        """Send what the bridge sends of a photo."""
        resource = {"prefect.resource.id": "selfiegate.photo.1", "prefect.resource.name": "1.jpg"}
        event = Event(event="selfiegate.photo.uploaded", resource=resource, payload={"user_id": user_id})
        body = [event.model_dump(mode="json")]
        httpx.post(f"{self.url}/events", json=body, timeout=60).raise_for_status()

    def tables_that_name(self, user_id: str) -> set[str]:
        with closing(sqlite3.connect(self.database, timeout=60)) as database:
            rows = [line for line in database.iterdump() if user_id in line]
        return {line.split('"')[1] for line in rows}

    def wait_until(self, user_id: str, tables: set[str]) -> None:
        """Wait until no other tables name the user."""
        give_up = time.monotonic() + 120
        while (found := self.tables_that_name(user_id)) != tables:
            assert time.monotonic() < give_up, (found, self.part.log.read_text()[-2000:])
            time.sleep(0.5)

    def age(self, user_id: str) -> None:
        """Let the user's runs and their events be of eight days ago."""
        with closing(sqlite3.connect(self.database, timeout=60)) as database, database:
            database.execute("CREATE TEMP TABLE runs AS SELECT id FROM flow_run WHERE name LIKE ? || '%'", (user_id,))
            database.execute(
                """CREATE TEMP TABLE told AS SELECT id FROM events WHERE payload LIKE '%' || ? || '%' UNION
                SELECT event_id FROM event_resources WHERE replace(resource_id, 'prefect.flow-run.', '') IN runs""",
                (user_id,),
            )
            for sql in (
                "UPDATE flow_run SET end_time = datetime('now', '-8 days') WHERE id IN runs",
                "UPDATE event_resources SET occurred = datetime('now', '-8 days') WHERE event_id IN told",
                "UPDATE events SET occurred = datetime('now', '-8 days') WHERE id IN told",
            ):
                database.execute(sql)


EVERYWHERE = {"artifact", "events", "event_resources", "flow_run", "log"}


@pytest.fixture(params=["vacuum", "flow"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    settings = RETENTION if request.param == "vacuum" else {}
    one = Server(tmp_path, **settings)
    one.start()
    yield one
    one.part.stop()


def test_an_old_run_names_its_user_in_no_table(server: Server, tmp_path: Path) -> None:
    draw(tmp_path)
    for user_id, photo in ((OLD, WORKSHOP[0]), (YOUNG, ANOTHER)):
        server.run(COMMAND, "process", str(tmp_path / photo), "--user", user_id)
        server.tell(user_id)
        server.wait_until(user_id, EVERYWHERE)
    server.age(OLD)
    if not RETENTION.items() <= server.env.items():  # then the server's own vacuum removes events alone
        server.run(PRUNE)
    server.wait_until(OLD, set())

    assert server.tables_that_name(YOUNG) == EVERYWHERE
