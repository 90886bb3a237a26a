"""Mixed traffic at this machine's capacity, on `make up`: `python -m benchmarks.load [MINUTES]`.

Six photos are always on their way: new users, people who have an account already, second photos of a user, photos
that were sent before, files that are no photos. Meanwhile `reconcile` runs each minute, users are forgotten, and a
backfill takes the whole bucket twice. A line each minute: photos, put to verdict, resident memory of each part.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from selfiegate.audit import orphans
from selfiegate.model import PhotoRef
from selfiegate.privacy.export import export_user
from tests.chaos.traffic import LFW, Traffic, traffic

AT_ONCE = 6
"""Photos on their way; more only wait for Prefect's server, see `benchmarks.events`."""
SHARES = {"new": 0.6, "known face": 0.15, "second photo": 0.1, "sent before": 0.05, "no photo": 0.1}
FORGET_EVERY_S = 40.0
MINUTE_S = 60.0

Sent = tuple[PhotoRef, str]


class Load:
    """What is sent, and what came of it."""

    def __init__(self, world: Traffic, seed: int = 0) -> None:
        self.world, self._draw = world, random.Random(seed)  # noqa: S311  no secret
        self._people = iter([folder for folder in sorted(LFW.iterdir()) if len(list(folder.iterdir())) > 1])
        self._files: dict[str, list[Path]] = {}
        self._pending: dict[Sent, float] = {}
        self._users = 0
        self.forgotten: set[str] = set()
        self.seconds: list[float] = []

    def step(self) -> None:
        """Send until as many are on their way as may be; see what has arrived."""
        while len(self._pending) < AT_ONCE:
            self._send(self._draw.choices([*SHARES], weights=[*SHARES.values()])[0])
        self.collect()

    def collect(self) -> None:
        """Note the photos that have a verdict."""
        self.world.look()
        for one in [one for one in self._pending if one in self.world.verdicts]:
            self.seconds.append(time.monotonic() - self._pending.pop(one))

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._pending

    def forget(self) -> None:
        """Forget a user none of whose photos is on its way."""
        busy = {user_id for _, user_id in self._pending}
        free = sorted(self._files.keys() - busy)
        if free:
            user_id = self._draw.choice(free)
            del self._files[user_id]
            for one in [one for one in self.world.sent if one[1] == user_id]:  # their rows go
                del self.world.sent[one]
                del self.world.verdicts[one]
            self.forgotten.add(user_id)
            self.start("forget-user", user_id=user_id)

    def start(self, flow: str, **parameters: object) -> None:
        """Start a run of a deployment."""
        api = self.world.local.env["PREFECT_API_URL"]
        found = httpx.get(f"{api}/deployments/name/{flow}/{flow}", timeout=30).raise_for_status().json()["id"]
        asked = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        for _ in range(30):  # while it writes events, the server on SQLite turns clients away
            reply = httpx.post(f"{api}/deployments/{found}/create_flow_run", json=asked, timeout=30)
            if reply.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
        reply.raise_for_status()

    def _send(self, kind: str) -> None:
        file, user_id = self._chosen(kind)
        one = self.world.upload(file, user_id)
        self._pending[one] = time.monotonic()

    def _chosen(self, kind: str) -> tuple[Path, str]:
        known = sorted(self._files)
        if kind == "no photo":
            return Path(__file__), self._new_user()
        if kind == "new" or not known:
            user_id, files = self._new_user(), sorted(next(self._people).iterdir())
            self._files[user_id] = files
            return files[0], user_id
        user_id = self._draw.choice(known)
        match kind:
            case "known face":
                return self._files[user_id][1], self._new_user()
            case "second photo":
                return self._files[user_id][1], user_id
        return self._files[user_id][0], user_id

    def _new_user(self) -> str:
        self._users += 1
        return f"user-{self._users:05d}"


def run(world: Traffic, minutes: float) -> None:
    """Send for so long, then hold the stores against each other."""
    load, began = Load(world), time.monotonic()
    backfills = iter([0.3 * minutes * MINUTE_S, 0.7 * minutes * MINUTE_S, float("inf")])
    next_backfill, next_forget, next_line, told = next(backfills), FORGET_EVERY_S, MINUTE_S, 0
    while (now := time.monotonic() - began) < minutes * MINUTE_S:
        load.step()
        if now > next_forget:
            load.forget()
            next_forget += FORGET_EVERY_S
        if now > next_backfill:
            load.start("backfill", source=f"s3://{world.rt.settings.aws.photo_bucket}", tolerate=1)
            next_backfill = next(backfills)
        if now > next_line:
            print(f"{now / MINUTE_S:4.0f} min  {_line(load.seconds[told:])}  {_memory(world)}", flush=True)
            told, next_line = len(load.seconds), next_line + MINUTE_S
        time.sleep(0.05)
    while not load.idle:
        load.collect()
        time.sleep(0.1)
    time.sleep(20)  # the last notices, erasures and removals
    _print_end(load)


def _print_end(load: Load) -> None:
    world, rt = load.world, load.world.rt
    left = [user_id for user_id in load.forgotten if export_user(rt, user_id)["photos"] or rt.profiles.get(user_id)]
    print(f"{len(load.seconds)} photos: {world.statuses()}; {_line(load.seconds)}")
    print(f"{len(load.forgotten)} users forgotten, of whom {len(left)} left something")
    print(f"{len(orphans(rt))} orphans, {world.dead_count()} dead messages", flush=True)
    world.assert_consistent()
    print("stores consistent")


def _line(seconds: list[float]) -> str:
    p50, p95 = np.percentile(seconds, [50, 95]) if seconds else (0.0, 0.0)
    return f"{len(seconds):4} photos, p50 {p50:.2f} s, p95 {p95:.2f} s"


def _memory(world: Traffic) -> str:
    return "  ".join(f"{name} {mb} MB" for name, mb in _resident(world))


def _resident(world: Traffic) -> Iterator[tuple[str, int]]:
    """Give each part's resident memory."""
    for name, part in world.local.parts.items():
        process: Any = part.process
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        yield name, pages * 4096 // 2**20


def main(minutes: float) -> None:
    """Start everything, and load it."""
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, traffic(Path(folder)) as world:
        run(world, minutes)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
