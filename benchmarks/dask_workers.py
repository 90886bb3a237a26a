"""What a second Dask worker brings: `python -m benchmarks.dask_workers [PHOTOS] [ROUNDS]`.

A real PostgreSQL, a scheduler, and one worker or two, as on machines of their own: a process, a home and a thread each.
They share the database, the photos and the folder of thumbnails. In turns, each time from an empty database, on photos
of LFW with a user each; workers have loaded their models before. Beside photos/s stands the workers' CPU time for a
photo, which tells a busy machine from workers that are in each other's way.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

os.environ.update(PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="CRITICAL", PREFECT_SERVER_LOGGING_LEVEL="CRITICAL")

import psycopg
from distributed import Client
from prefect.testing.utilities import prefect_test_harness

from benchmarks.lfw import PHOTOS
from deployments.local.postgres import LocalPostgres
from deployments.local.processes import Part, free_port
from flows.backfill import backfill
from selfiegate.runtime import using

ROOT = Path(__file__).parents[1]
CHUNK = 16
WARM = 8
"""Photos a worker's models are tried on first."""


def main(count: int, rounds: int) -> None:
    """Print photos/s of one worker and of two, in turns."""
    files = sorted(PHOTOS.glob("*/*.jpg"))[: count + 2 * WARM]
    with tempfile.TemporaryDirectory() as scratch, prefect_test_harness(server_startup_timeout=120):
        folder = Path(scratch)
        for n, file in enumerate(files):
            target = folder / ("warm" if n < 2 * WARM else "photos") / file.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
        with _postgres(folder) as server:
            for turn in range(rounds):
                (one, one_ms), (two, two_ms) = (
                    _measured(folder, server, workers, f"turn_{turn}_{workers}") for workers in (1, 2)
                )
                print(
                    f"one {one:5.2f}/s, {one_ms:.0f} ms   two {two:5.2f}/s, {two_ms:.0f} ms   "
                    f"ratio {two / one:.2f}   load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )


@contextmanager
def _postgres(folder: Path) -> Iterator[LocalPostgres]:
    server = LocalPostgres(free_port(), folder / "postgres")
    part = Part(
        "postgres", server.command(), os.environ, folder / "log", server.answers, server.folder, user=server.user
    )
    try:
        part.start()
        part.wait_until_ready()
        yield server
    finally:
        part.kill()
        server.remove()


def _measured(folder: Path, server: LocalPostgres, workers: int, name: str) -> tuple[float, float]:
    """Return photos/s, and milliseconds of the workers' CPU time for a photo."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    env = {
        **os.environ,
        "SELFIEGATE_DATABASE": server.url(name),
        "SELFIEGATE_THUMBNAILS__FOLDER": str(folder / name / "thumbnails"),
        "SELFIEGATE_INSIGHTFACE__THREADS": "1",
    }
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = str(Path(sys.executable).with_name("dask"))
    with ExitStack() as stack:
        one = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        scheduler = [dask, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
        stack.enter_context(_process(scheduler, env))
        for n in range(workers):
            home = str(folder / name / f"home-{n}")
            stack.enter_context(_process([dask, "worker", address, *one], {**env, "SELFIEGATE_HOME": home}))
        os.environ.update(env, SELFIEGATE_HOME=str(folder / name / "home"))
        with Client(address, timeout=60) as client, using(None):  # type: ignore[no-untyped-call]
            client.wait_for_workers(workers, timeout=120)
            _backfilled(folder / "warm", address, workers, WARM // 2)
            began = sum(client.run(time.process_time).values())
            found = _backfilled(folder / "photos", address, workers, CHUNK)
            spent_s = sum(client.run(time.process_time).values()) - began
    assert found["failed"] == 0, found
    return found["photos_per_second"], 1000 * spent_s / found["photos"]


def _backfilled(photos: Path, address: str, workers: int, chunk: int) -> dict[str, float]:
    return asyncio.run(
        backfill(str(photos), "{user_id}.jpg", engine="dask", dask=address, workers=workers, chunk=chunk)
    )


@contextmanager
def _process(command: list[str], env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main(*(int(argument) for argument in (*sys.argv[1:], "300", "2")[:2]))
