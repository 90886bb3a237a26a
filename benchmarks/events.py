"""From an S3 put to a verdict in the ledger, on `make up`: `python -m benchmarks.events [latency] [burst] [chaos]`.

latency   one photo at a time on an idle machine: the warm worker, then Prefect's own process worker
burst     200 photos at once
chaos     100 photos at once, while server, worker and bridge are killed twice each by SIGKILL
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deployments.local.processes import Part
from tests.chaos.traffic import Traffic, lfw, traffic

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


def burst(world: Traffic) -> None:
    """Print how long 200 photos at once take."""
    began = time.monotonic()
    for each in lfw(200, skip=100):
        world.upload(*each)
    uploaded = time.monotonic() - began
    world.wait(600, every_s=3)
    took = time.monotonic() - began
    world.assert_consistent()
    print(f"burst           200 photos uploaded in {uploaded:.1f} s, verdicts in {took:.0f} s: {200 / took:.1f}/s")
    print(f"                {world.statuses()}, {_sent_again(world)} events sent again, {world.dead_count()} dead")


def chaos(world: Traffic, photos: int = 100, kills: int = 2, seed: int = 0) -> None:
    """Print what is left of 100 photos when every part is killed twice."""
    draw = random.Random(seed)  # noqa: S311  no secret
    victims = ["prefect", "worker", "bridge"] * kills
    draw.shuffle(victims)
    again, began = _sent_again(world), time.monotonic()
    for each in lfw(photos, skip=400):
        world.upload(*each)
    for victim in victims:
        time.sleep(draw.uniform(4, 12))
        done = world.look()
        world.local.parts[victim].kill()
        print(f"                {time.monotonic() - began:4.0f} s: {victim} killed, {done} verdicts so far", flush=True)
        time.sleep(1)
        world.local.restart_dead()
    world.wait(900, every_s=3)
    took = time.monotonic() - began
    time.sleep(2)
    world.assert_consistent()
    print(
        f"chaos           {photos} photos, {len(victims)} kills, all with a verdict in {took:.0f} s: {world.statuses()}"
    )
    print(f"                stores consistent, {world.dead_count()} dead messages")
    print(f"                {_sent_again(world) - again} events were lost and sent again by the bridge")
    print(f"                {_redone(world)} photos were claimed by a run that died, and finished by another")


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


def _print(name: str, seconds: list[float]) -> None:
    p50, p95 = np.percentile(seconds, [50, 95])
    print(
        f"{name:15} {len(seconds)} photos, put to verdict: p50 {p50:.2f} s, p95 {p95:.2f} s, most {max(seconds):.2f} s",
        flush=True,
    )


def main(parts: list[str]) -> None:
    """Run the named parts, each on an empty world."""
    logging.basicConfig(level=logging.WARNING)
    known: dict[str, Callable[[Traffic], None]] = {"latency": latency, "burst": burst, "chaos": chaos}
    for name in parts or known:
        with tempfile.TemporaryDirectory() as folder, traffic(Path(folder)) as world:
            known[name](world)


if __name__ == "__main__":
    main(sys.argv[1:])
