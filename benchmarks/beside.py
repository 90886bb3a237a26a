"""One photo at a time on this code and on another checkout's: `python -m benchmarks.events latency --beside PATH`.

Each code has a `make up` of its own. The other code runs in this Python environment, below a process that is started
with this file.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.chaos.traffic import Traffic, lfw, traffic

PHOTOS = 40
WARM_UP = 2
"""The models' first runs."""


def latency(other: Path) -> None:
    """Print put to verdict on both; the last line as JSON."""
    pause, seconds = random.Random(0), dict[str, list[float]](here=[], before=[])  # noqa: S311  no secret
    with tempfile.TemporaryDirectory() as folder, _elsewhere(other) as child, traffic(Path(folder)) as world:
        for number, each in enumerate(lfw(PHOTOS + WARM_UP)):
            time.sleep(pause.uniform(1.5, 2.5))  # no part of one photo's work meets the next; in step with nothing
            assert child.stdin
            assert child.stdout
            print(number, file=child.stdin, flush=True)
            before_s = float(child.stdout.readline())
            time.sleep(pause.uniform(1.5, 2.5))
            here_s = seconds_of(world, *each)
            if number >= WARM_UP:
                seconds["before"].append(before_s)
                seconds["here"].append(here_s)
    found = dict[str, float](photos=PHOTOS)
    for name, begins in (("here", ""), ("before", "before_")):
        print(f"{name:8} {' '.join(f'{each:.2f}' for each in sorted(seconds[name]))}")
        p50, p95 = np.percentile(seconds[name], [50, 95])
        found |= {f"{begins}p50_s": round(float(p50), 2), f"{begins}p95_s": round(float(p95), 2)}
    print(f"load {os.getloadavg()[0]:.1f}")
    print(json.dumps(found))


def seconds_of(world: Traffic, file: Path, user_id: str) -> float:
    """Upload a photo and return the seconds until its verdict is in the ledger."""
    began = time.monotonic()
    world.upload(file, user_id)
    while world.look() < len(world.sent):
        assert time.monotonic() - began < 120, user_id
        time.sleep(0.02)
    return time.monotonic() - began


@contextmanager
def _elsewhere(other: Path) -> Iterator[subprocess.Popen[str]]:
    """Start this file over the packages of another checkout."""
    env = {**os.environ, "PYTHONPATH": str(other.resolve())}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, __file__], **pipes, env=env, cwd=other, text=True)  # type: ignore[call-overload]
    try:
        if child.stdout:
            child.stdout.readline()  # both would take Prefect's port 4200 otherwise
        yield child
    finally:
        if child.stdin:
            child.stdin.close()
        child.wait(120)


def _answer() -> None:
    """Take a photo for each number at stdin, and print its seconds."""
    files = lfw(PHOTOS + WARM_UP)
    with tempfile.TemporaryDirectory() as folder, traffic(Path(folder)) as world:
        print("ready", flush=True)
        for line in sys.stdin:
            print(seconds_of(world, *files[int(line)]), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    _answer()
