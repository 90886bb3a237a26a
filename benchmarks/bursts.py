"""Many photos at once, on `make up`; `python -m benchmarks.events` runs them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks.beside import seconds_of
from selfiegate.model import PhotoRef
from tests.chaos.traffic import LFW, Traffic, lfw


def burst(world: Traffic, photos: int = 200) -> None:
    """Print how long so many photos at once take, beside a backfill of the same photos into empty stores."""
    for each in lfw(2):
        seconds_of(world, *each)  # the models' first run
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
    print(f"                {world.statuses()}, {sent_again(world)} events sent again, {world.dead_count()} dead")
    backfilled = _backfilled(world)
    print(f"backfill        {backfilled}", flush=True)
    assert backfilled["photos"] == photos + 2, backfilled
    found = {"photos": photos, "photos_per_second": round(photos / took, 2)}
    found |= {"backfill_photos_per_second": backfilled["photos_per_second"]}
    found |= {
        "ratio": round(photos / took / backfilled["photos_per_second"], 2),
        "eventssent_again": sent_again(world),
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
    print(f"                stores consistent, {world.dead_count()} dead, {sent_again(world)} events sent again")
    print(f"                {sum(n * count for n, count in shared.items() if n > 1)} photos shared runs")
    print(f"                {_redone(world)} photos were claimed by a run that died, and finished by another")
    print(f"                users told of a photo once: {told[1]}, more often: {told.total() - told[1]}")


def crowd(world: Traffic) -> None:
    """Print how long 50 users wait, alone and beside 500 photos of another one."""
    for each in lfw(2):
        seconds_of(world, *each)  # the models' first run
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


def sent_again(world: Traffic) -> int:
    """Count the photos whose event the bridge sent again."""
    return world.log("bridge").count("its event was sent again")


def _redone(world: Traffic) -> int:
    """Count the photos that a run had claimed when it died; a notice counts as an attempt, too."""
    return sum(row.attempt > 1 + (row.notice != "none") for row in world.verdicts.values())
