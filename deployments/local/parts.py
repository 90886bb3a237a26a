"""The parts of `selfiegate up`: what runs each, where it answers, and the environment that they share."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployments.local.postgres import LocalPostgres
from deployments.local.processes import Part, answers, restart_dead
from deployments.local.stack import REGION

ROOT = Path(__file__).parents[2]

BATCHES = {
    f"PREFECT_SERVER_SERVICES_{service}_{name}": value
    for service, interval in {"EVENT_PERSISTER": "5", "TASK_RUN_RECORDER": "1"}.items()
    for name, value in {"BATCH_SIZE": "200", "READ_BATCH_SIZE": "200", "FLUSH_INTERVAL": interval}.items()
}
"""By default Prefect writes each task run's event by itself, and its SQLite turns clients away meanwhile.

A run whose creation meets another write is created two seconds later. So events are written every 5 s, by default 1 s.
"""

RETENTION = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P7D",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P1D",
}
"""By default Prefect keeps runs for ever, and events for a week: four fifths of what a photo leaves in its database."""

_log = logging.getLogger(__name__)


class Local:
    """The running parts and the environment that leads to them."""

    def __init__(
        self, folder: Path, env: Mapping[str, str], parts: Mapping[str, Part], keep: Sequence[int] = ()
    ) -> None:
        self.folder, self.env, self.parts, self.keep = folder, dict(env), dict(parts), keep

    def restart_dead(self) -> None:
        """Start again what has died."""
        restart_dead(list(self.parts.values()))


def environment(folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Return what leads every part to the others."""
    return {
        "AWS_ACCESS_KEY_ID": "up",
        "AWS_SECRET_ACCESS_KEY": "up",
        "AWS_DEFAULT_REGION": REGION,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{ports['prefect']}/api",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        **BATCHES,
        **RETENTION,
        "SELFIEGATE_HOME": str(folder / "home"),
        "SELFIEGATE_AWS__ENDPOINT_URL": aws_url(ports),
        "SELFIEGATE_BRIDGE__PORT": str(ports["bridge"]),
        "SELFIEGATE_NOTICES": "log,sns",
    }


def stores(database: str | None) -> dict[str, str]:
    """Say where faces and records lie: both in files, or both in a database."""
    place = "postgres" if database else "sqlite"
    return {"SELFIEGATE_DATABASE": database or "", "SELFIEGATE_RECORDS": place, "SELFIEGATE_GALLERY": place}


def start(local: Local, *parts: Part) -> None:
    """Start parts side by side, and wait until all of them are ready."""
    for part in parts:
        _log.info("starting %s", part.name)
        local.parts[part.name] = part
        part.start()
    for part in parts:
        part.wait_until_ready()


def _part(local: Local, name: str, command: list[str], url: str, **more: str) -> Part:
    log, env = local.folder / f"{name}.log", local.env | more
    return Part(name, command, env, log, ready=lambda: answers(url), cwd=ROOT, keep=local.keep)


def moto(local: Local, ports: Mapping[str, int]) -> Part:
    """Return the stand-in for AWS."""
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(ports["aws"])]
    return _part(local, "aws", command, f"{aws_url(ports)}/moto-api/")


def postgres(local: Local, server: LocalPostgres) -> Part:
    """Return PostgreSQL's server; it ends at once, whoever is connected."""
    return Part(
        "postgres",
        server.command(),
        local.env,
        local.folder / "postgres.log",
        ready=server.answers,
        cwd=server.folder,
        keep=local.keep,
        user=server.user,
        stop_signal=signal.SIGINT,
    )


def prefect(local: Local, ports: Mapping[str, int]) -> Part:
    """Return Prefect's server, on SQLite."""
    command = [program("prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(ports["prefect"])]
    return _part(local, "prefect", command, f"http://127.0.0.1:{ports['prefect']}/api/health")


def worker(local: Local, name: str, port: int) -> Part:
    """Return a worker with a health port of its own; of several, each has a home of its own, too."""
    home = {} if name == "worker" else {"SELFIEGATE_HOME": str(local.folder.resolve() / f"home-of-{name}")}
    command = [program("selfiegate"), "worker", "--name", name, "--patience", "10"]
    return _part(local, name, command, _health(port), PREFECT_WORKER_WEBSERVER_PORT=str(port), **home)


def bridge(local: Local, ports: Mapping[str, int]) -> Part:
    """Return the bridge."""
    return _part(local, "bridge", [program("selfiegate"), "bridge"], _health(ports["bridge"]))


def _health(port: int) -> str:
    return f"http://127.0.0.1:{port}/health"


def aws_url(ports: Mapping[str, int]) -> str:
    """Return the address of moto's server."""
    return f"http://127.0.0.1:{ports['aws']}"


def program(name: str) -> str:
    """Return a program of this environment."""
    return str(Path(sys.executable).with_name(name))
