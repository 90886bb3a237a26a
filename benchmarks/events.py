"""From an upload to a verdict in the ledger, on `make up`: `python -m benchmarks.events [PART] [PHOTOS] [postgresql]`.

latency   one photo at a time on an idle machine: the warm worker, then Prefect's own process worker;
          with `--beside PATH`, the warm worker of this code and of another checkout's in turn, 40 photos each
burst     so many photos at once, beside a backfill of the same photos; the last line is JSON
chaos     so many photos at once, while server, worker and bridge are killed ten times by SIGKILL
crowd     50 users' photos, alone and beside 500 of one user
webhook   nothing of AWS but moto's S3: webhooks to the bridge, all else in PostgreSQL; 40 one at a time, 200 at once
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import numpy as np
import psycopg

from benchmarks import beside
from deployments.local.processes import Part
from deployments.local.up import OURS
from selfiegate.aws.clients import client
from selfiegate.databases import open_postgres_queue
from selfiegate.model import PhotoRef
from selfiegate.settings import load_settings
from tests.chaos.traffic import LFW, Traffic, lfw, traffic

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


def burst(world: Traffic, photos: int = 200) -> None:
    """Print how long so many photos at once take, beside a backfill of the same photos into empty stores."""
    for each in lfw(2):
        _seconds(world, *each)  # the models' first run
    sent = _files(photos)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: world.upload(*each), sent))
    uploaded = time.monotonic() - began
    world.wait(1800, every_s=1)
    took = time.monotonic() - began
    world.assert_consistent()
    print(
        f"burst           {photos} photos uploaded in {uploaded:.1f} s, verdicts in {took:.0f} s: {photos / took:.1f}/s"
    )
    print(f"                {world.statuses()}, {_sent_again(world)} events sent again, {world.dead_count()} dead")
    backfilled = _backfilled(world)
    print(f"backfill        {backfilled}", flush=True)
    assert backfilled["photos"] == photos + 2, backfilled
    found = {"photos": photos, "photos_per_second": round(photos / took, 2)}
    found |= {"backfill_photos_per_second": backfilled["photos_per_second"]}
    found |= {
        "ratio": round(photos / took / backfilled["photos_per_second"], 2),
        "events_sent_again": _sent_again(world),
    }
    print(json.dumps(found), flush=True)


def _files(count: int) -> list[tuple[Path, str]]:
    """Return one photo each of different people as far as there are, then further photos of them as other users."""
    files = list(lfw(count, skip=100))
    more = (file for file in sorted(LFW.glob("*/*.jpg")) if not file.stem.endswith("_0001"))
    return files + [(file, f"{file.parent.name}-{file.stem[-4:]}") for file in islice(more, count - len(files))]


def _backfilled(world: Traffic) -> dict[str, Any]:
    """Backfill the bucket into empty stores of the same kind, in a process of its own, beside the idle parts."""
    local, settings = world.local, world.rt.settings
    env = {**local.env, "SELFIEGATE_HOME": str(local.folder / "backfill"), "SELFIEGATE_NOTICES": "log"}
    if settings.records == "postgres":
        database = f"backfill_{int(time.time())}"
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
        env["SELFIEGATE_DATABASE"] = settings.database_url.rpartition("/")[0] + f"/{database}"
    command = [
        str(Path(sys.executable).with_name("selfiegate")),
        "backfill",
        f"s3://{settings.aws.photo_bucket}",
        "--json",
    ]
    made = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(made.stdout)
    return found


def chaos(world: Traffic, photos: int = 200, kills: int = 10, seed: int = 0) -> None:
    """Print what is left of so many photos at once when worker, server and bridge are killed ten times in all."""
    draw = random.Random(seed)  # noqa: S311  no secret
    victims = [("worker", "prefect", "bridge")[n % 3] for n in range(kills)]
    draw.shuffle(victims)
    began = time.monotonic()
    sent = _files(photos)
    with ThreadPoolExecutor(8) as pool:
        uploads = [pool.submit(world.upload, *each) for each in sent]
        for number, victim in enumerate(victims):
            done, give_up = world.look(), time.monotonic() + 120
            while done < photos * number / (kills + 1) and time.monotonic() < give_up:  # over the whole of the work
                time.sleep(0.2)
                done = world.look()
            time.sleep(draw.uniform(0, 2))
            world.local.parts[victim].kill()
            print(f"                {time.monotonic() - began:4.0f} s: {victim} killed, {done} verdicts", flush=True)
            time.sleep(1)
            world.local.restart_dead()
        for each in uploads:
            each.result()
    world.wait(1800, every_s=3)
    took = time.monotonic() - began
    world.wait_for_notices(300)
    world.assert_consistent()
    told = Counter(world.told().values())
    shared = Counter(Counter(row.owner for row in world.verdicts.values()).values())
    print(f"chaos           {photos} photos, {kills} kills, all with a verdict in {took:.0f} s: {world.statuses()}")
    print(f"                stores consistent, {world.dead_count()} dead, {_sent_again(world)} events sent again")
    print(f"                {sum(n * count for n, count in shared.items() if n > 1)} photos shared runs")
    print(f"                {_redone(world)} photos were claimed by a run that died, and finished by another")
    print(f"                users told of a photo once: {told[1]}, more often: {told.total() - told[1]}")


def crowd(world: Traffic) -> None:
    """Print how long 50 users wait, alone and beside 500 photos of another one."""
    for each in lfw(2):
        _seconds(world, *each)  # the models' first run
    alone = _waits(world, lfw(50, skip=100), [])
    many = sorted((LFW / "George_W_Bush").iterdir())[:500]
    beside = _waits(world, lfw(50, skip=200), [(file, "many") for file in many])
    for name, waits in (("50 users alone", alone), ("beside 500 of one", beside)):
        p50, p95 = np.percentile(waits, [50, 95])
        print(f"{name:20} put to verdict p50 {p50:.1f} s, p95 {p95:.1f} s, most {max(waits):.1f} s", flush=True)
    print(json.dumps({"alone_p50_s": float(np.median(alone)), "beside_p50_s": float(np.median(beside))}), flush=True)


def _waits(world: Traffic, few: Sequence[tuple[Path, str]], many: Sequence[tuple[Path, str]]) -> list[float]:
    """Upload both, one of the few among so many others; return the seconds to the verdicts of the few."""
    step = len(many) // len(few)
    order = [each for n, one in enumerate(few) for each in (*many[n * step : (n + 1) * step], one)]
    waits: dict[tuple[PhotoRef, str], float] = {}
    with ThreadPoolExecutor(8) as pool:
        uploads = {pool.submit(world.upload, *each): each for each in order}
        while len(waits) < len(few):
            time.sleep(0.1)
            for upload in [one for one, each in uploads.items() if one.done() and each in few]:
                key = upload.result()
                row = None if key in waits else world.rt.ledger.get(*key)
                if row and row.verdict:
                    waits[key] = time.monotonic() - world.sent[key]
    world.wait(1800, every_s=1)
    return list(waits.values())


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
    print(f"                {world.statuses()}, {_sent_again(world)} events sent again, {queue.stats()}")


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
    began = time.monotonic()
    photo = world.upload(file, user_id)
    while world.look() < len(world.sent):
        assert time.monotonic() - began < 120, photo
        time.sleep(0.05)
    return time.monotonic() - began


def _sent_again(world: Traffic) -> int:
    return world.log("bridge").count("its event was sent again")


def _redone(world: Traffic) -> int:
    """Count the photos that a run had claimed when it died; a notice counts as an attempt, too."""
    return sum(row.attempt > 1 + (row.notice != "none") for row in world.verdicts.values())


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
