"""A silent backfill that is killed stays silent, whoever finishes its photos."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.cli import run_inline
from selfiegate.runtime import using
from selfiegate.settings import Settings
from tests.present import present
from tests.runtimes import Meanwhile, ScriptedRuntime, scripted_runtime

pytestmark = [pytest.mark.system, pytest.mark.promise]
PATIENCE_S = 120.0


def opened(home: Path) -> ScriptedRuntime:
    return scripted_runtime(home, Settings(home=home, lease_s=0.3))


def backfill(home: Path, photos: list[Path], notify: bool, began: Any) -> None:
    """Claim all photos, and go on with the first until the process is killed."""
    rt = opened(home)

    def stay() -> None:
        began.set()
        time.sleep(PATIENCE_S)

    looking = replace(rt, faces=Meanwhile(rt.faces, "detect", after=False, what=stay))
    with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(1) as io:
        chunk = Chunk(looking, f"backfill {os.getpid()}", vision, io, notify=notify, local=True)
        chunk.run([Entry(uri=str(photo), user_id=photo.stem) for photo in photos])


@pytest.mark.parametrize(("notify", "told"), [(False, []), (True, ["user_a", "user_b"])])
def test_a_killed_backfill_tells_whom_it_would_have_told(tmp_path: Path, notify: bool, told: list[str]) -> None:
    photos = [tmp_path / f"user_{letter}.png" for letter in "ab"]
    for photo in photos:
        photo.write_bytes(scripted_photo())  # nobody is on it
    context = mp.get_context("spawn")
    began = context.Event()
    process = context.Process(target=backfill, args=(tmp_path, photos, notify, began), daemon=True)
    process.start()
    assert began.wait(PATIENCE_S)
    os.kill(present(process.pid), signal.SIGKILL)
    process.join()
    rt, give_up = opened(tmp_path), time.monotonic() + PATIENCE_S

    with using(rt):
        while rt.ledger.unfinished(before=2**62) and time.monotonic() < give_up:
            run_inline.reconciled(limit=200, audit=False, repair=False)
            time.sleep(0.1)

    rows = [present(rt.ledger.get(rt.photos.find(str(photo)), photo.stem)) for photo in photos]
    assert [row.status for row in rows] == ["rejected", "rejected"]
    assert sorted(one.user_id for one in rt.notifier.sent) == told
