"""A backfill on Dask's workers elsewhere: a home each, and nothing in common but PostgreSQL, photos and thumbnails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Worker
from PIL import Image, ImageEnhance
from prefect.settings import PREFECT_API_URL

from deployments.local.demo_photos import ANOTHER, WORKSHOP, draw
from deployments.local.processes import free_port
from flows.backfill import backfill
from selfiegate.errors import BackendMisconfigured
from selfiegate.runtime import Runtime, open_runtime, using
from selfiegate.settings import load_settings
from tests.postgres import PATIENCE_S, PostgresServer

ROOT = Path(__file__).parents[2]
PEOPLE = {"happy": WORKSHOP[0], "other": ANOTHER}
PHOTOS = 12
"""Of each of two people, each photo with a user of its own."""

pytestmark = [
    pytest.mark.system,
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_api", "pack"),
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with the photos of two people, whose users all claim to be somebody new."""
    drawn, folder = tmp_path / "drawn", tmp_path / "photos"
    drawn.mkdir()
    folder.mkdir()
    draw(drawn)
    for who, name in PEOPLE.items():
        with Image.open(drawn / name) as portrait:
            for n in range(PHOTOS):
                ImageEnhance.Brightness(portrait).enhance(0.95 + n / 200).save(folder / f"{who}-{n}.png")
    return folder


@pytest.fixture
def shared(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all processes have in common."""
    monkeypatch.setenv("SELFIEGATE_DATABASE", postgres.database("dask"))
    monkeypatch.setenv("SELFIEGATE_THUMBNAILS__FOLDER", str(tmp_path / "thumbnails"))
    monkeypatch.setenv("SELFIEGATE_LEASE_S", "5")
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    monkeypatch.delenv("SELFIEGATE_RETRIES__FIRST_DELAY_S")


@contextmanager
def dask(folder: Path, workers: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start a scheduler and workers of a thread each, with settings of their own; give address and workers."""
    program, address = Path(sys.executable).with_name("dask"), f"tcp://127.0.0.1:{free_port()}"
    one = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    commands: list[tuple[list[str], Mapping[str, str]]] = [
        (["scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"], {}),
        *((["worker", address, *one], env) for env in workers),
    ]
    started = []
    try:
        for n, (command, env) in enumerate(commands):
            with (folder / f"dask-{n}.log").open("w") as log:
                started.append(
                    subprocess.Popen([program, *command], cwd=ROOT, env={**os.environ, **env}, stdout=log, stderr=log)
                )
        yield address, started[1:]
    finally:
        for process in reversed(started):
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


def backfilled(photos: Path, address: str) -> dict[str, Any]:
    """Run the flow in this process, in chunks of two photos."""
    with using(None):
        return asyncio.run(backfill(str(photos), "{user_id}.png", engine="dask", dask=address, chunk=2))


def client_of(address: str) -> Any:
    return Client(address, timeout=PATIENCE_S)  # type: ignore[no-untyped-call]


def executed(dask_worker: Worker) -> int:
    return int(dask_worker.state.executed_count)


def accepted(rt: Runtime, photos: Path) -> Counter[str]:
    """Count the accepted users of each person; every photo has its verdict."""
    found = Counter[str]()
    for photo in sorted(photos.iterdir()):
        row = rt.ledger.get(rt.photos.find(str(photo)), photo.stem)
        assert row, photo
        assert row.verdict, row
        found[photo.stem.partition("-")[0]] += row.status == "accepted"
    return found


@pytest.mark.usefixtures("shared")
def test_workers_with_homes_of_their_own_accept_each_face_once(photos: Path, tmp_path: Path) -> None:
    homes = [{"SELFIEGATE_HOME": str(tmp_path / f"home-{n}")} for n in (1, 2)]
    with dask(tmp_path, homes) as (address, _), client_of(address) as client:
        client.wait_for_workers(2, timeout=PATIENCE_S)
        found = backfilled(photos, address)
        shares = client.run(executed)

    assert (found["photos"], found["accepted"], found["failed"]) == (2 * PHOTOS, 2, 0)
    assert all(shares.values()), shares
    assert accepted(open_runtime(load_settings()), photos) == {"happy": 1, "other": 1}


@pytest.mark.usefixtures("shared")
def test_photos_of_a_worker_that_is_killed_go_to_another(photos: Path, tmp_path: Path) -> None:
    homes = [{"SELFIEGATE_HOME": str(tmp_path / f"home-{n}")} for n in (1, 2)]
    with (
        dask(tmp_path, homes) as (address, workers),
        client_of(address) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        client.wait_for_workers(2, timeout=PATIENCE_S)
        rt, run = open_runtime(load_settings()), thread.submit(backfilled, photos, address)
        give_up, first = time.monotonic() + PATIENCE_S, rt.photos.find(str(photos / "happy-0.png"))
        while rt.ledger.get(first, "happy-0") is None:  # it is being worked on
            assert time.monotonic() < give_up
            assert not run.done(), run.result()
            time.sleep(0.02)
        workers[0].kill()
        found = run.result(PATIENCE_S * 2)

    assert (found["photos"], found["failed"]) == (2 * PHOTOS, 0)
    assert accepted(rt, photos) == {"happy": 1, "other": 1}


@pytest.mark.usefixtures("shared")
def test_a_worker_with_records_of_its_own_takes_no_photo(
    photos: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    strange = {"SELFIEGATE_HOME": str(tmp_path / "home"), "SELFIEGATE_DATABASE": postgres.database("strange")}
    with dask(tmp_path, [strange]) as (address, _), client_of(address) as client:
        client.wait_for_workers(1, timeout=PATIENCE_S)
        with pytest.raises(BackendMisconfigured, match="other records than"):
            backfilled(photos, address)

    rt = open_runtime(load_settings())
    assert not [photo for photo in photos.iterdir() if rt.ledger.get(rt.photos.find(str(photo)), photo.stem)]
