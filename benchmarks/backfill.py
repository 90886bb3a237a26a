"""How near a backfill comes to its models: `python -m benchmarks.backfill [PHOTOS] [FACES ...]`.

On the same LFW photos, each a new user, in one run:

    floor   the pack's onnxruntime sessions alone, on inputs recorded from a sample, as many threads as cores
    ours    the flow `backfill`, every promise kept: durable commits, thumbnails, ledger
    pg      the same, records and faces in a PostgreSQL on this machine
    peer    a plain loop over insightface.app.FaceAnalysis: numpy search, Pillow thumbnail, one SQLite row each

With FACES, ours again beside so many strangers in the gallery.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

os.environ.update(
    PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="CRITICAL",
    PREFECT_SERVER_LOGGING_LEVEL="CRITICAL",
)

import cv2
import onnxruntime
from insightface.app import FaceAnalysis
from PIL import Image
from prefect.testing.utilities import prefect_test_harness
from pydantic import SecretStr

from benchmarks.gallery import grow, strangers
from benchmarks.lfw import PHOTOS
from flows.backfill import backfill
from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
from selfiegate.backends.insightface.pack import pack_folder
from selfiegate.decoding.decode import decode
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.model import ReasonCode
from selfiegate.runtime import Runtime, open_runtime, using
from selfiegate.settings import load_settings
from tests.postgres import PostgresServer

SAMPLE = 48
"""Photos whose inputs are recorded: 5 MB each."""
CORES = len(os.sched_getaffinity(0))


def main(count: int, galleries: Sequence[int]) -> None:
    """Print photos/s of each."""
    files = sorted(PHOTOS.glob("*/*.jpg"))[:count]
    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=120):
        source = Path(folder) / "photos"
        for file in files:
            target = source / file.relative_to(PHOTOS)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        floor = _floor(files)
        ours = _ours(Path(folder) / "ours", source, 0)
        on_postgres = _on_postgres(Path(folder) / "postgres", source)
        again = _floor(files)
        peer = _peer(files, Path(folder) / "peer.db")
        floor = (floor + again) / 2
        print(f"floor {floor:6.1f}/s   ours {ours:6.1f}/s   pg {on_postgres:6.1f}/s   peer {peer:6.1f}/s")
        print(f"on PostgreSQL ours is {on_postgres / ours:.2f} times as fast")
        print(f"ours is {ours / peer:.2f} times the peer and {ours / floor:.0%} of the floor, {_peak_mb()} MB at most")
        for faces in galleries:
            beside = _ours(Path(folder) / str(faces), source, faces)
            print(f"beside {faces:,} faces {beside:6.1f}/s, {ours / beside:.2f} times the cost a photo", flush=True)


def _on_postgres(home: Path, source: Path) -> float:
    server = PostgresServer(durable=True)
    try:
        where = {"database": SecretStr(server.database("backfill")), "records": "postgres", "gallery": "postgres"}
        thumbnails = load_settings().thumbnails.model_copy(update={"folder": home / "thumbnails"})
        return _ours(home, source, 0, {**where, "thumbnails": thumbnails})
    finally:
        server.stop()


def _ours(home: Path, source: Path, faces: int, where: dict[str, Any] | None = None) -> float:
    rt = open_runtime(load_settings().model_copy(update={"home": home, **(where or {})}))
    if faces:
        gallery = SqliteGallery(home / "gallery.db", rt.faces.model)
        grow(gallery, 0, strangers(faces, np.random.default_rng(0)))
        os.sync()  # else the disk is still at it
    with using(rt):
        found = asyncio.run(backfill(str(source), "*/{user_id}.jpg"))
    print(found, flush=True)
    if not faces and not where:
        _print_quality(rt, source)
    return float(found["photos_per_second"])


def _floor(files: Sequence[Path]) -> float:
    """Return photos/s of the sessions alone."""
    settings = load_settings()
    analyser = InsightFaceAnalyser(settings.insightface)
    calls: list[tuple[Any, tuple[Any, ...]]] = []
    sample = random.Random(0).sample(list(files), min(SAMPLE, len(files)))  # noqa: S311  no secret
    with _recorded(calls):
        for file in sample:
            picture, size = decode(file.read_bytes(), settings.photos, settings.photos.working_side)
            found = analyser.analyse(picture, size)
            if len(found) == 1:  # the others are refused before they are embedded
                analyser.embed([found[0][1]])
    rounds = max(2, len(files) // len(sample) // 4)

    def replay(call: tuple[Any, tuple[Any, ...]]) -> None:
        call[0](*call[1])

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(replay, calls))
        began = time.perf_counter()
        for _ in range(rounds):
            list(pool.map(replay, calls))
        return rounds * len(sample) / (time.perf_counter() - began)


def _print_quality(rt: Runtime, source: Path) -> None:
    """Hold the refusals of usable photos against the names of the folders, in the order of the run."""
    enrolled: set[str] = set()
    known: list[bool] = []
    new: list[bool] = []
    for path in sorted(source.glob("*/*.jpg"), key=str):
        row = rt.ledger.get(rt.photos.find(str(path)), path.stem)
        codes = {reason.code for reason in row.verdict.reasons} if row and row.verdict else {"none"}
        if codes <= {ReasonCode.FACE_ALREADY_ENROLLED}:
            (known if path.parent.name in enrolled else new).append(bool(codes))
            if not codes:
                enrolled.add(path.parent.name)
    print(f"of {len(known)} usable photos of people enrolled before {np.mean(known):.1%} are refused", flush=True)
    print(f"of {len(new)} usable photos of new people {np.mean(new):.1%} are refused wrongly", flush=True)


@contextmanager
def _recorded(calls: list[tuple[Any, tuple[Any, ...]]]) -> Iterator[None]:
    """Write down what every session is asked."""
    real = onnxruntime.InferenceSession.run

    def run(session: Any, *asked: Any) -> Any:
        calls.append((lambda *again: real(session, *again), asked))
        return real(session, *asked)

    onnxruntime.InferenceSession.run = run
    try:
        yield
    finally:
        onnxruntime.InferenceSession.run = real


def _peer(files: Sequence[Path], database: Path) -> float:
    """Return photos/s of the loop that one writes first, on every core that onnxruntime likes."""
    settings = load_settings().insightface
    app = FaceAnalysis(name=str(pack_folder(settings)), allowed_modules=["detection", "recognition"])
    app.prepare(ctx_id=0, det_size=[(side, side) for side in settings.detection_sizes])
    enrolled = np.zeros((len(files), 512), np.float32)
    count, thumbnails = 0, database.parent / "thumbnails"
    thumbnails.mkdir()
    rows = sqlite3.connect(database)
    rows.execute("CREATE TABLE faces (user TEXT, status TEXT, face BLOB)")
    began = time.perf_counter()
    for file in files:
        picture = cv2.imread(str(file))
        faces = app.get(picture)
        status = "refused"
        if len(faces) == 1:
            vector = faces[0].normed_embedding
            if count == 0 or (enrolled[:count] @ vector).max() < 0.4:
                enrolled[count], count, status = vector, count + 1, "accepted"
                small = Image.open(file)
                small.thumbnail((250, 250))
                small.save(thumbnails / f"{file.stem}.jpg", quality=85)
        blob = faces[0].normed_embedding.tobytes() if faces else None
        rows.execute("INSERT INTO faces VALUES (?, ?, ?)", (file.stem, status, blob))
        rows.commit()
    return len(files) / (time.perf_counter() - began)


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1500, [int(text) for text in sys.argv[2:]])
