"""Backfills in processes of their own. Nothing here imports Prefect, which takes longer than the backfill."""

from __future__ import annotations

import multiprocessing as mp
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.settings import Settings
from tests.runtimes import scripted_runtime

PATIENCE_S = 120.0


def crowd(folder: Path, count: int) -> list[str]:
    """Write photos of half as many people, each person twice and far apart."""
    folder.mkdir()
    for n in range(count):
        (folder / f"{n:04}.png").write_bytes(scripted_photo(f"person {n % (count // 2)}" + "~" * (n >= count // 2)))
    return [str(path) for path in sorted(folder.iterdir())]


def take(home: Path, files: Sequence[str], size: int, begun: Any = None) -> None:
    """Go through all photos, chunk by chunk, until each has a verdict."""
    rt = scripted_runtime(home, Settings(home=home, lease_s=0.5))
    left, give_up = [Entry(uri=file, user_id=Path(file).stem) for file in files], time.monotonic() + PATIENCE_S
    if begun:
        begun.set()
    while left:
        assert time.monotonic() < give_up, f"without a verdict: {left}"
        again = []
        for at in range(0, len(left), size):
            chunk = Chunk(rt, f"process {os.getpid()}", ThreadPoolExecutor(2), ThreadPoolExecutor(2), local=True)
            outcomes, later = chunk.run(left[at : at + size])
            assert not [outcome for outcome in outcomes if outcome.status == "failed"]
            again += later
        left = [entry for entry, _ in again]
        time.sleep(0.1 if left else 0)


@contextmanager
def taking(home: Path, files: Sequence[str], size: int) -> Iterator[BaseProcess]:
    """Do so in another process; gives it when it has begun, and leaves nothing running."""
    context = mp.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=take, args=(home, files, size, begun), daemon=True)
    process.start()
    try:
        assert begun.wait(PATIENCE_S)
        yield process
    finally:
        process.kill()
        process.join()
