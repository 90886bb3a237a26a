"""The whole of it on one machine, without an AWS account: `make up`.

    moto's server (S3, EventBridge, SQS, SNS)   made by deployments/aws/template.yaml, as on AWS
    Prefect's server on SQLite, its automation  made by prefect.yaml
    bridge and warm worker                      as in production, faces and records in files
    or PostgreSQL and three warm workers        as on many machines: a home each, faces and records in the database

What dies is started again, but for moto, which keeps nothing. Everything is below one folder, and gone with it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from prefect.client.base import PrefectHttpxSyncClient
from pydantic import TypeAdapter, ValidationError

from deployments.local import parts
from deployments.local.folder import taken
from deployments.local.parts import ROOT, Local
from deployments.local.postgres import LocalPostgres
from deployments.local.processes import free_port
from deployments.local.stack import make_stack
from selfiegate.backends.insightface.pack import TINY, falls_back
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongInput
from selfiegate.extras import named_when_missing
from selfiegate.key_template import KeyTemplate
from selfiegate.setting_types import Database
from selfiegate.settings import load_settings

OURS = "postgresql"
"""In the place of a database's address: a server of our own."""
_WORKERS = 3
"""As many share a database: each has a home of its own, as on a machine of its own."""

_STOP = (signal.SIGINT, signal.SIGTERM)

_log = logging.getLogger(__name__)


@contextmanager
def running(folder: Path, keep: Sequence[int] = (), database: str | None = None, **more: str) -> Iterator[Local]:
    """Start everything below a folder and stop it in the end; `more` goes into every part's environment.

    `keep` are open files that every part keeps open. `database` is `postgresql`, or the address of one that runs.
    """
    if importlib.util.find_spec("moto") is None:
        raise BackendMisconfigured("`selfiegate up` needs moto's server: run `make up` in a checkout")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = [f"worker-{n}" for n in range(1, _WORKERS + 1)] if database else ["worker"]
    ports = {name: free_port(4200 if name == "prefect" else 0) for name in ("prefect", "aws", "bridge", *names)}
    env = {**os.environ, **parts.environment(folder.resolve(), ports), **more}
    local = Local(folder, env, {}, keep)
    with _postgres(folder, database) as server:
        try:
            parts.start(local, parts.moto(local, ports))
            local.env.update(make_stack(parts.aws_url(ports)) | parts.stores(server.url() if server else database))
            if server:
                parts.start(local, parts.postgres(local, server))
            parts.start(local, parts.prefect(local, ports))
            _deploy(local)
            switch_schedules_on(local)
            parts.start(local, *(parts.worker(local, name, ports[name]) for name in names))
            parts.start(local, parts.bridge(local, ports))
            yield local
        finally:
            _log.info("stopping")
            for part in reversed(local.parts.values()):
                part.stop()


def up(folder: Path, database: str | None) -> None:
    """Start everything, say how to use it, and keep it running until Ctrl-C or SIGTERM."""
    settings = load_settings()
    pack = {"SELFIEGATE_INSIGHTFACE__PACK": TINY} if falls_back(settings.insightface) else {}
    with (
        taken(folder) as lock,
        suppress(KeyboardInterrupt),
        _interruptible(),
        running(folder, [lock], database, **pack) as local,
    ):
        print(instructions(local, _write_command(local), settings.key_template), flush=True)
        while True:
            time.sleep(1)
            if not local.parts["aws"].alive:
                raise BackendUnavailable(f"moto's server died, and all that it held with it; see {folder}/aws.log")
            local.restart_dead()


def instructions(local: Local, command: str, key_template: str) -> str:
    """Say where everything is, and how a photo gets in."""
    env, ui = local.env, local.env["PREFECT_API_URL"].removesuffix("/api")
    endpoint, bucket = env["SELFIEGATE_AWS__ENDPOINT_URL"], env["SELFIEGATE_AWS__PHOTO_BUCKET"]
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    keys = " ".join(f"{name}={env[name]}" for name in names)
    target = f"s3://{bucket}/{KeyTemplate(key_template).key_of('USER', 'PHOTO.jpg')}"
    return f"""
Runs:      {ui}/runs
Endpoint:  {endpoint}   (S3, SQS and the rest of AWS, by moto)
Bucket:    {bucket}
Upload:    {command} upload PHOTO.jpg --user USER
   or:     {keys} aws --endpoint-url {endpoint} s3 cp PHOTO.jpg {target}
Look:      {command} profile USER
Logs:      {local.folder}/*.log

Ctrl-C stops all of it."""


@contextmanager
def _interruptible() -> Iterator[None]:
    for number in _STOP:
        signal.signal(number, _interrupt)
    yield


def _interrupt(number: int, frame: object) -> None:
    for one in _STOP:  # a second Ctrl-C must not leave anything running
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def _postgres(folder: Path, database: str | None) -> Iterator[LocalPostgres | None]:
    """Make a PostgreSQL of our own where one is asked for, and remove it in the end; look whether another can be used.

    Raises before anything is started: a database that cannot be had is found out first.
    """
    if database == OURS:
        server = LocalPostgres(free_port(), folder.resolve() / "postgres")
        try:
            yield server
        finally:
            server.remove()
        return
    if database:
        try:
            TypeAdapter(Database).validate_python(database)
        except ValidationError:  # not shown: the address may hold a password
            raise WrongInput(
                f"--database takes {OURS!r}, or an address: postgresql://USER:PASSWORD@HOST:5432/DATABASE; "
                "in a password, write @ as %40, / as %2F"
            ) from None
        with named_when_missing():
            from selfiegate.postgres_database import PostgresDatabase
        PostgresDatabase(database).close()
    yield None


def _deploy(local: Local) -> None:
    """Make the work pool and the deployments."""
    for command in (
        ["work-pool", "create", "selfiegate", "--type", "process", "--overwrite"],
        ["--no-prompt", "deploy", "--all"],
    ):
        made = subprocess.run(  # noqa: S603  commands of our own
            [parts.program("prefect"), *command], env=local.env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise BackendUnavailable(f"prefect {' '.join(command)}:\n{made.stdout}{made.stderr}")


def switch_schedules_on(local: Local) -> None:
    """Switch the schedules on; a backfill's gets the bucket that is here in the place of prefect.yaml's example."""
    source = {"source": f"s3://{local.env['SELFIEGATE_AWS__PHOTO_BUCKET']}"}
    try:
        with PrefectHttpxSyncClient(base_url=local.env["PREFECT_API_URL"], timeout=60) as api:  # tries a 503 again
            for deployment in api.post("/deployments/filter", json={}).raise_for_status().json():
                for schedule in deployment["schedules"]:
                    parameters = schedule["parameters"] | (source if "source" in schedule["parameters"] else {})
                    where = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
                    api.patch(where, json={"active": True, "parameters": parameters}).raise_for_status()
    except httpx.HTTPError as error:
        raise BackendUnavailable(f"Prefect's schedules cannot be switched on: {error}") from error


def _write_command(local: Local) -> str:
    """Write a command that is `selfiegate` in this environment."""
    command = local.folder / "selfiegate"
    ours = {name: value for name, value in local.env.items() if name.startswith(("SELFIEGATE_", "PREFECT_", "AWS_"))}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(ours.items())]
    command.touch(mode=0o700)  # before it holds anything: a key of Prefect's API may be among them
    command.write_text("\n".join(["#!/bin/sh", *lines, f'exec {shlex.quote(parts.program("selfiegate"))} "$@"', ""]))
    return str(command)
