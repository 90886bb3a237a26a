"""From an upload to a verdict in the ledger, on `make up`: `python -m benchmarks.events [PART] [PHOTOS] [postgresql]`.

latency   one photo at a time on an idle machine: the warm worker, then Prefect's own process worker;
          with `--beside PATH`, the warm worker of this code and of another checkout's in turn, 40 photos each
burst     so many photos at once, beside a backfill of the same photos; the last line is JSON
chaos     so many photos at once, while server, worker and bridge are killed ten times by SIGKILL
crowd     50 users' photos, alone and beside 500 of one user
webhook   nothing of AWS but moto's S3: webhooks to the bridge, all else in PostgreSQL; 40 one at a time, 200 at once
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote_plus

import httpx
import numpy as np

from benchmarks import beside
from benchmarks.bursts import burst, chaos, crowd, sent_again
from deployments.local.processes import Part
from deployments.local.up import OURS
from selfiegate.aws.clients import client
from selfiegate.databases import open_postgres_queue
from selfiegate.model import PhotoRef
from selfiegate.settings import load_settings
from tests.chaos.traffic import Traffic, lfw, traffic

TOKEN = "a-token-of-the-benchmarks-alone"  # noqa: S105  of nothing
PAUSE_S = 2.0
"""Between photos of the latency run: Prefect writes a run's events after its end."""


def latency(world: Traffic) -> None:
    """Print the time from put to verdict with either worker."""
    files = lfw(30)
    for each in files[:2]:
        _seconds(world, *each)  # the models' first run
    warm = [_seconds(world, *each) for each in files[2:22]]
    _print("warm worker", warm)
    worker = world.local.parts["worker"]
    worker.stop()
    command = [str(Path(sys.executable).with_name("prefect")), "worker", "start", "--pool", "selfiegate"]
    env = {**world.local.env, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    stock = Part("stock", command, env, world.local.folder / "stock.log", cwd=worker.cwd)
    stock.start()
    time.sleep(10)
    try:
        _print("process worker", [_seconds(world, *each) for each in files[22:28]])
    finally:
        stock.stop()
        worker.start()
        worker.wait_until_ready()


def webhook(world: Traffic) -> None:
    """Print the time from a store's webhook to the verdict, alone and of 200 at once."""
    _leave_aws(world)
    files = lfw(42)
    for each in files[:2]:
        _from_webhook(world, *each)  # the models' first run
    _print("webhook", [_from_webhook(world, *each) for each in files[2:]], "webhook")
    sent = [world.upload(*each) for each in lfw(200, skip=100)]
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda each: _tell(world, *each), sent))
    told = time.monotonic() - began
    world.wait(900, every_s=1)
    took = time.monotonic() - began
    world.assert_consistent()
    queue = open_postgres_queue(world.rt.settings)
    print(f"webhook burst   200 events answered in {told:.1f} s, verdicts in {took:.0f} s: {200 / took:.1f}/s")
    print(f"                {world.statuses()}, {sent_again(world)} events sent again, {queue.stats()}")


def _leave_aws(world: Traffic) -> None:
    """Let one worker and the bridge go on without SQS and SNS, and the bucket tell nobody of its photos."""
    local, bucket = world.local, world.rt.settings.aws.photo_bucket
    client("s3", world.rt.settings.aws).put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={}
    )
    for name in ("worker-2", "worker-3"):
        local.parts.pop(name).stop()
    names = ("QUEUE_URL", "DEAD_QUEUE_URL", "TOPIC_ARN")
    changes = {f"SELFIEGATE_AWS__{name}": "" for name in names} | {"SELFIEGATE_NOTICES": "log"}
    for name in ("worker-1", "bridge"):
        part = local.parts[name]
        part.stop()
        part.env = {**part.env, **changes, "SELFIEGATE_BRIDGE__TOKEN": TOKEN}
        part.start()
        part.wait_until_ready()
    os.environ.update(changes)
    world.rt = replace(world.rt, settings=load_settings())


def _from_webhook(world: Traffic, file: Path, user_id: str) -> float:
    time.sleep(PAUSE_S)
    sent = world.upload(file, user_id)
    began = time.monotonic()
    _tell(world, *sent)
    while world.look() < len(world.sent):
        assert time.monotonic() - began < 120, sent
        time.sleep(0.02)
    return time.monotonic() - began


def _tell(world: Traffic, photo: PhotoRef, user_id: str) -> None:
    """Send what MinIO's webhook sends."""
    s3 = {"bucket": {"name": photo.bucket}, "object": {"key": quote_plus(photo.key), "versionId": photo.version}}
    time_of_it = datetime.now(UTC).isoformat()
    record = {"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "eventTime": time_of_it, "s3": s3}
    body = {"EventName": record["eventName"], "Key": f"{photo.bucket}/{photo.key}", "Records": [record]}
    address = f"http://127.0.0.1:{world.local.env['SELFIEGATE_BRIDGE__PORT']}/events"
    answer = httpx.post(address, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    assert answer.status_code == 200, answer.text


def _seconds(world: Traffic, file: Path, user_id: str) -> float:
    time.sleep(PAUSE_S)
    return beside.seconds_of(world, file, user_id)


def _print(name: str, seconds: list[float], begins: str = "put") -> None:
    p50, p95 = np.percentile(seconds, [50, 95])
    found = f"p50 {p50:.2f} s, p95 {p95:.2f} s, most {max(seconds):.2f} s"
    print(f"{name:15} {len(seconds)} photos, {begins} to verdict: {found}", flush=True)


def main(words: list[str]) -> None:
    """Run the named parts, each on an empty world; a number is how many photos a burst has."""
    logging.basicConfig(level=logging.WARNING)
    if "--beside" in words:
        beside.latency(Path(words[words.index("--beside") + 1]))
        return
    known: dict[str, Callable[[Traffic], None]]
    photos = [int(word) for word in words if word.isdigit()] or [200]
    many = partial(burst, photos=photos[0])
    known = {"latency": latency, "burst": many, "chaos": partial(chaos, photos=photos[0])}
    known |= {"crowd": crowd, "webhook": webhook}
    for name in [word for word in words if word in known] or known:
        database = OURS if name == "webhook" or OURS in words else None
        with tempfile.TemporaryDirectory() as folder, traffic(Path(folder), database) as world:
            known[name](world)


if __name__ == "__main__":
    main(sys.argv[1:])
