"""What a GPU, or a CPU, makes of batches: `python -m benchmarks.gpu [PHOTOS] [--batches ...] [--processes ...]`.

On LFW photos, with the pack and the providers that the settings name:

    sessions  the pack's detector at both sizes and its recogniser alone, from decoded pixels, at each batch: the floor
    looks     detection, alignment and embedding of decoded photos by many threads that share calls
    backfill  the whole: files to durable verdicts, without Prefect, in one process or in several
    verdicts  CPU one by one against what the settings name, with the photos that differ

Beside each: the share of time that the GPU was busy (nvidia-smi's), and how many CPUs the process used.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.lfw import PHOTOS
from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
from selfiegate.backends.insightface.batching import PIXELS
from selfiegate.cli.run_inline import backfilled
from selfiegate.decoding.decode import decode
from selfiegate.model import Detection
from selfiegate.policy import judge
from selfiegate.runtime import open_runtime, using
from selfiegate.settings import Settings, load_settings

Picture = tuple[Image.Image, tuple[int, int]]


def main(count: int, batches: Sequence[int], processes: Sequence[int]) -> None:
    """Print all figures."""
    settings = load_settings()
    files = sorted(PHOTOS.glob("*/*.jpg"))[:count]
    began = time.perf_counter()
    analyser = InsightFaceAnalyser(_with(settings, batch=max(batches)).insightface)
    print(f"onnxruntime {onnxruntime.__version__} on {analyser.device}, {os.cpu_count()} CPUs")
    print(f"models loaded in {time.perf_counter() - began:.1f} s, {analyser.photos_a_call} photos a call", flush=True)
    pictures = [decode(file.read_bytes(), settings.photos, settings.photos.working_side) for file in files]
    for batch in batches:
        _sessions(analyser, batch)
    _looks(analyser, pictures)
    for number in processes:
        _backfill(settings, files, number)
    _verdicts(settings, analyser, files, pictures)


def _sessions(analyser: InsightFaceAnalyser, batch: int) -> None:
    """Print photos/s of the sessions alone, of one caller and of two."""
    calls: dict[str, Callable[[], object]] = {}
    random_bytes = np.random.default_rng(0)
    for session in analyser.detector.sessions:
        given = session.get_inputs()[0]
        if given.name == PIXELS:
            pixels = random_bytes.integers(0, 256, (batch, *given.shape[1:]), dtype=np.uint8)
            calls[f"detect {given.shape[1]}"] = _call(session, given.name, pixels)
        elif analyser.photos_a_call == batch == 1:  # the pack's own graph takes one picture
            blob = random_bytes.random((1, *given.shape[1:]), dtype=np.float32)
            calls[f"detect {given.shape[2]}"] = _call(session, given.name, blob)
    recogniser = analyser.recogniser.session
    given = recogniser.get_inputs()[0]
    calls["embed"] = _call(recogniser, given.name, random_bytes.random((batch, 3, 112, 112), dtype=np.float32))

    def all_of_them() -> None:
        for call in calls.values():
            call()

    each = "  ".join(f"{name} {_seconds(call, 1) * 1000:.1f} ms" for name, call in calls.items())
    with _measured() as used:
        two = _seconds(all_of_them, 2)
    print(f"sessions, batch {batch:3}: {batch / _seconds(all_of_them, 1):7.1f}/s   two callers {batch / two:7.1f}/s   "
          f"({each})   {used()}", flush=True)  # fmt: skip


def _call(session: Any, name: str, given: Any) -> Callable[[], object]:
    return lambda: session.run(None, {name: given})


def _seconds(call: Callable[[], object], callers: int, least_s: float = 0.6) -> float:
    """Return the seconds of a call, when so many callers make them side by side."""
    for _ in range(2):  # plans and memory are made at the first
        call()
    with ThreadPoolExecutor(callers) as pool:
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < least_s:
            list(pool.map(lambda _: call(), range(callers * 2)))
            done += callers * 2
        return (time.perf_counter() - began) / done


def _looks(analyser: InsightFaceAnalyser, pictures: Sequence[Picture]) -> None:
    def look(picture: Picture) -> None:
        if found := analyser.analyse(*picture):
            analyser.embed([found[0][1]])

    threads = 2 * analyser.photos_a_call
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(look, pictures[: 2 * threads]))
        with _measured() as used:
            began = time.perf_counter()
            list(pool.map(look, pictures))
            speed = len(pictures) / (time.perf_counter() - began)
    look(pictures[0])
    began = time.perf_counter()
    for picture in pictures[:50]:
        look(picture)
    alone = (time.perf_counter() - began) / len(pictures[:50])
    print(f"looks, {threads} threads: {speed:7.1f}/s   one alone {alone * 1000:.1f} ms   {used()}", flush=True)


def _verdicts(
    settings: Settings, analyser: InsightFaceAnalyser, files: Sequence[Path], pictures: Sequence[Picture]
) -> None:
    """Print where the reasons of the policy differ, and how far embeddings do."""
    cpu = InsightFaceAnalyser(_with(settings, batch=1, providers=("CPUExecutionProvider",)).insightface)

    def look(by: InsightFaceAnalyser, picture: Picture) -> tuple[list[str], Any]:
        found = by.analyse(*picture)
        reasons = [
            reason.code for reason in judge(Detection(faces=tuple(face for face, _ in found)), settings.rules).reasons
        ]
        return reasons, by.embed([found[0][1]])[0] if found else None

    with ThreadPoolExecutor(2 * analyser.photos_a_call) as pool:
        together = list(pool.map(lambda picture: look(analyser, picture), pictures))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        alone = list(pool.map(lambda picture: look(cpu, picture), pictures))
    likeness = [
        float(a[1] @ b[1]) for a, b in zip(alone, together, strict=True) if a[1] is not None and b[1] is not None
    ]
    differ = [(file, a[0], b[0]) for file, a, b in zip(files, alone, together, strict=True) if a[0] != b[0]]
    cosines = f"{min(likeness):.6f} at least, {np.median(likeness):.6f} at the median"
    print(f"verdicts: {len(differ)} of {len(files)} photos differ; cosines of the embeddings: {cosines}")
    for file, one, other in differ[:20]:
        print(f"  {file.name}: {one} alone on the CPU, {other} together")


def _backfill(settings: Settings, files: Sequence[Path], processes: int) -> None:
    """Print photos/s of so many processes, each with models of its own, that share stores and the GPU."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        for number, file in enumerate(files):
            target = Path(folder) / str(number % processes) / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        home = {**os.environ, "SELFIEGATE_HOME": f"{folder}/home"}
        command = [sys.executable, "-m", "benchmarks.gpu", "--part"]
        workers = [
            running.enter_context(subprocess.Popen([*command, f"{folder}/{n}"], env=home, stdin=PIPE, stdout=PIPE))
            for n in range(processes)
        ]
        for worker in workers:
            _line(worker, b"ready")  # its models are loaded
        began = time.perf_counter()
        with _measured() as used:
            for worker in workers:
                assert worker.stdin
                worker.stdin.close()
            found = [json.loads(_line(worker, b"{")) for worker in workers]
        speed = len(files) / (time.perf_counter() - began)
        cpus = sum(one["cpus"] for one in found)
        print(f"backfill, {processes} processes: {speed:.1f}/s   {used()} and {cpus:.1f} CPUs   {found[0]}", flush=True)


def _line(worker: subprocess.Popen[bytes], beginning: bytes) -> bytes:
    """Return the next line that begins so: libraries print, too."""
    assert worker.stdout
    return next(line for line in worker.stdout if line.startswith(beginning))


def _part(source: str) -> None:
    """Run a backfill in this process once stdin is closed."""
    rt = open_runtime(load_settings())
    rt.faces.try_out()
    print("ready", flush=True)
    sys.stdin.read()
    began = time.process_time()
    with using(rt):
        found, _ = backfilled(
            lambda done, total: None, source=source, key_template="*/{user_id}.jpg", order="key",
            dry_run=False, notify=False, engine="threads", dask=None, workers=None, tolerate=1.0, report=None,
            html=None,
        )  # fmt: skip
    found["cpus"] = round((time.process_time() - began) / found["seconds"], 1)
    print(json.dumps(found), flush=True)


def _with(settings: Settings, **changed: object) -> Settings:
    return settings.model_copy(update={"insightface": settings.insightface.model_copy(update=changed)})


@contextmanager
def _measured() -> Iterator[Callable[[], str]]:
    """Give a function that says, after the block, how busy the GPU was and how many CPUs the process used."""
    busy: list[int] = []
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(busy, over))
    watcher.start()
    began, cpu = time.perf_counter(), time.process_time()
    try:
        yield lambda: words
    finally:
        cpus = (time.process_time() - cpu) / (time.perf_counter() - began)
        over.set()
        watcher.join()
        gpu = f"GPU busy {np.mean(busy):.0f} %, " if busy else ""
        words = f"{gpu}{cpus:.1f} CPUs"


def _watch(busy: list[int], over: threading.Event) -> None:
    with suppress(Exception):  # no NVML, no GPU: nothing to say of it
        import pynvml

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not over.wait(0.05):
            busy.append(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("photos", type=int, nargs="?", default=1000)
    asked.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64])
    asked.add_argument("--processes", type=int, nargs="*", default=[1, 4], help="none: no backfill")
    asked.add_argument("--part", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.part:
        _part(given.part)
    else:
        main(given.photos, given.batches, given.processes)
