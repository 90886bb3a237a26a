"""The whole of it on one machine, without an AWS account: `make up`.

    moto's server (S3, EventBridge, SQS, SNS)   made by deployments/aws/template.yaml, as on AWS
    Prefect's server on SQLite, its automation  made by prefect.yaml
    bridge and warm worker                      as in production, faces and records in files

What dies is started again, but for moto, which keeps nothing. Everything is below one folder, and gone with it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from prefect.client.base import PrefectHttpxSyncClient

from deployments.local.folder import taken
from deployments.local.processes import Part, answers, free_port, restart_dead
from selfiegate.aws.clients import client, translated
from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.insightface.pack import TINY, falls_back
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.key_template import KeyTemplate
from selfiegate.settings import load_settings

ROOT = Path(__file__).parents[2]
REGION = "eu-west-1"
STACK = "selfiegate"

_BATCHES = {
    f"PREFECT_SERVER_SERVICES_{service}_{name}": value
    for service in ("EVENT_PERSISTER", "TASK_RUN_RECORDER")
    for name, value in {"BATCH_SIZE": "200", "READ_BATCH_SIZE": "200", "FLUSH_INTERVAL": "1"}.items()
}
"""By default Prefect writes each task run's event by itself, and its SQLite turns clients away meanwhile."""


_STOP = (signal.SIGINT, signal.SIGTERM)

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


@contextmanager
def running(folder: Path, keep: Sequence[int] = (), **more: str) -> Iterator[Local]:
    """Start everything below a folder and stop it in the end; `more` goes into every part's environment.

    `keep` are open files that every part keeps open.
    """
    if importlib.util.find_spec("moto") is None:
        raise BackendMisconfigured("`selfiegate up` needs moto's server: run `make up` in a checkout")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = {name: free_port(wanted) for name, wanted in {"prefect": 4200, "aws": 0, "bridge": 0, "worker": 0}.items()}
    env = {**os.environ, **_environment(folder.resolve(), ports), **more}
    local = Local(folder, env, {}, keep)
    try:
        _start(
            local, "aws", [_bin("moto_server"), "-H", "127.0.0.1", "-p", str(ports["aws"])], f"{_aws(ports)}/moto-api/"
        )
        local.env.update(make_stack(_aws(ports)))
        server = [_bin("prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(ports["prefect"])]
        _start(local, "prefect", server, f"http://127.0.0.1:{ports['prefect']}/api/health")
        _deploy(local)
        switch_schedules_on(local)
        _start(
            local,
            "worker",
            [_bin("selfiegate"), "worker", "--patience", "10"],
            f"http://127.0.0.1:{ports['worker']}/health",
        )
        _start(local, "bridge", [_bin("selfiegate"), "bridge"], f"http://127.0.0.1:{ports['bridge']}/health")
        yield local
    finally:
        _log.info("stopping")
        for part in reversed(local.parts.values()):
            part.stop()


def up(folder: Path) -> None:
    """Start everything, say how to use it, and keep it running until Ctrl-C or SIGTERM."""
    settings = load_settings()
    pack = {"SELFIEGATE_INSIGHTFACE__PACK": TINY} if falls_back(settings.insightface) else {}
    with taken(folder) as lock, suppress(KeyboardInterrupt), _interruptible(), running(folder, [lock], **pack) as local:
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


def _environment(folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "up",
        "AWS_SECRET_ACCESS_KEY": "up",
        "AWS_DEFAULT_REGION": REGION,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{ports['prefect']}/api",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        **_BATCHES,
        "PREFECT_WORKER_WEBSERVER_PORT": str(ports["worker"]),
        "SELFIEGATE_HOME": str(folder / "home"),
        "SELFIEGATE_AWS__ENDPOINT_URL": _aws(ports),
        "SELFIEGATE_BRIDGE__PORT": str(ports["bridge"]),
        "SELFIEGATE_NOTICES": "log,sns",
    }


def _aws(ports: Mapping[str, int]) -> str:
    return f"http://127.0.0.1:{ports['aws']}"


def _bin(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _start(local: Local, name: str, command: list[str], url: str) -> None:
    _log.info("starting %s", name)
    part = Part(
        name, command, local.env, local.folder / f"{name}.log", ready=lambda: answers(url), cwd=ROOT, keep=local.keep
    )
    local.parts[name] = part
    part.start()
    part.wait_until_ready()


def make_stack(endpoint: str) -> dict[str, str]:
    """Deploy the template, and return what a worker and a bridge have to know of it."""
    os.environ.update(AWS_ACCESS_KEY_ID="up", AWS_SECRET_ACCESS_KEY="up")  # noqa: S106  moto asks for some
    aws = AwsSettings(endpoint_url=endpoint, region=REGION)
    cloudformation, s3 = client("cloudformation", aws), client("s3", aws)
    with translated("the stack"):
        if not (ROOT / "deployments/aws/template.yaml").is_file():
            raise BackendMisconfigured("`selfiegate up` runs from a checkout; see CONTRIBUTING.md")
        template = (ROOT / "deployments/aws/template.yaml").read_text()
        with suppress(cloudformation.exceptions.AlreadyExistsException):  # a first try's reply came too late
            cloudformation.create_stack(StackName=STACK, TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        (made,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
        bucket = outputs["PhotoBucketName"]
        # What moto leaves out of a bucket's template.
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
    return {
        **dict(line.split("=", 1) for line in outputs["WorkerEnvironment"].splitlines()),
        "SELFIEGATE_KEY_TEMPLATE": load_settings().key_template,
        # Nothing here speaks Rekognition; and faces on this machine have their records beside them.
        "SELFIEGATE_BACKEND": "insightface",
        "SELFIEGATE_RECORDS": "sqlite",
    }


def _deploy(local: Local) -> None:
    """Make the work pool and the deployments."""
    for command in (
        ["work-pool", "create", "selfiegate", "--type", "process", "--overwrite"],
        ["--no-prompt", "deploy", "--all"],
    ):
        made = subprocess.run(  # noqa: S603  commands of our own
            [_bin("prefect"), *command], env=local.env, cwd=ROOT, capture_output=True, text=True, check=False
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
    command.write_text("\n".join(["#!/bin/sh", *lines, f'exec {shlex.quote(_bin("selfiegate"))} "$@"', ""]))
    return str(command)
