"""Both galleries beside a numpy exact scan: `python -m benchmarks.gallery [SIZE ...]`, by default to 1,000,000 faces.

The galleries hold one photo of each LFW person who has two or more, and grow by vectors drawn from the same mean and
covariance, so that strangers resemble each other as much as real ones do. The probes are these people's other photos.
A true duplicate is a probe whose exact best match is its own person at the match threshold or above; recall is the
share of them for which the gallery returns it. Each row is measured in a process of its own, pinned to one core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.lfw import embeddings
from selfiegate.galleries.postgres import PostgresGallery
from selfiegate.galleries.sql import SqlGallery
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.matching import COSINE
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.stores.postgres_records import postgres_records
from tests.postgres import PostgresServer

SIZES = (10_000, 100_000, 1_000_000)
MODEL = "benchmark"
_TOGETHER, _ENROLLED = 20, 200
"""Probes searched together, and faces enrolled one by one at the end."""
_BLOCK = 50_000
_LARGEST_SCAN = 2_000_000
"""Faces that the exact scan holds in memory: 4 GB."""
Faces = NDArray[np.float32]


class Place(NamedTuple):
    """Where a gallery lies, and where its process keeps a copy of the sketches."""

    at: str
    copy: str = ""

    def open(self) -> SqlGallery:
        """Open it, or make it."""
        if not self.at.startswith("postgresql:"):
            return SqliteGallery(Path(self.at), MODEL)
        database = PostgresDatabase(self.at)
        copy = Path(self.copy) if self.copy else None
        return PostgresGallery(database, MODEL, records=postgres_records(database), together=True, snapshot=copy)


class Truth:
    """The exact best match of each probe among all faces so far."""

    def __init__(self, probes: Faces) -> None:
        self._probes = probes
        self.best, self.score = np.zeros(len(probes), np.int64), np.full(len(probes), -1, np.float32)

    def add(self, first: int, faces: Faces) -> None:
        """Compare all probes with some more faces."""
        for start in range(0, len(faces), 10_000):
            scores = self._probes @ faces[start : start + 10_000].T
            top, here = scores.argmax(axis=1), scores.max(axis=1)
            self.best[here > self.score] = top[here > self.score] + first + start
            self.score = np.maximum(self.score, here)


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Print a row for each size and gallery."""
    enrolled, probes = people()
    truth, faces = Truth(probes), _everybody(enrolled)
    print(f"{len(probes)} probes of {len(enrolled)} people, match threshold {COSINE.match}, one core\n")
    print(
        "| faces | gallery | open | search p50 | p99 | 20 together p50 | p99 | enrol p50 | resident | recall "
        "| exact p50 | p99 |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(dir=".bench") as name, _server() as url:
        folder, held = Path(name), 0
        np.save(folder / "probes.npy", probes)
        sqlite, postgres, copy = Place(f"{name}/gallery.db"), Place(url), Place(url, f"{name}/sketches.copy")
        scanned = np.empty((0, enrolled.shape[1]), np.float32)
        for size in sizes:
            while held < size:
                block = next(faces)[: size - held]
                for place in (sqlite, postgres):
                    grow(place.open(), held, block)
                truth.add(held, block)
                held += len(block)
                scanned = np.concatenate([scanned, block]) if size <= _LARGEST_SCAN else scanned[:0]
            exact = _exact(scanned, probes)
            rows = (("SQLite", sqlite), ("PostgreSQL", copy), ("PostgreSQL, from the copy", copy))
            for kind, place in rows:
                print(f"| {size:,} | {kind} | {_row(folder, place, truth)} | {exact} |", flush=True)
            Path(copy.copy).unlink(missing_ok=True)


def grow(gallery: SqlGallery, first: int, faces: Faces) -> None:
    """Enrol these faces, each of a user of its own."""
    for start in range(0, len(faces), 10_000):
        block = faces[start : start + 10_000]
        gallery.add_all((f"face-{first + start + n}", f"user-{first + start + n}", one) for n, one in enumerate(block))


def strangers(n: int, rng: np.random.Generator) -> Faces:
    """Return faces (n, 512) of the mean and covariance of LFW's."""
    vectors, _ = embeddings()
    spread = np.linalg.cholesky(np.cov(vectors.T) + 1e-6 * np.eye(vectors.shape[1])).astype(np.float32)
    drawn = rng.standard_normal((n, vectors.shape[1]), np.float32) @ spread.T + vectors.mean(axis=0)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.asarray(drawn, np.float32)


def _everybody(enrolled: Faces) -> Iterator[Faces]:
    yield enrolled
    rng = np.random.default_rng(0)
    while True:
        yield strangers(_BLOCK, rng)


def people() -> tuple[Faces, Faces]:
    """Return one face of each person who has several photos, and the others as probes."""
    vectors, people = embeddings()
    _, first, counts = np.unique(people, return_index=True, return_counts=True)
    enrolled = first[counts > 1]
    others = np.setdiff1d(np.flatnonzero(np.isin(people, people[enrolled])), enrolled)
    return vectors[enrolled], vectors[others]


@contextmanager
def _server() -> Iterator[str]:
    server = PostgresServer(durable=True)
    try:
        yield server.database("gallery")
    finally:
        server.stop()


def _row(folder: Path, place: Place, truth: Truth) -> str:
    command = [sys.executable, "-m", "benchmarks.gallery", str(folder), *place]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    ours = json.loads(child.stdout)
    true = truth.score >= COSINE.match
    recall = np.mean(np.array(ours["best"])[true] == truth.best[true])
    ms = (_percentiles(ours[part]) for part in ("alone_ms", "together_ms"))
    enrol = np.median(ours["enrol_ms"])
    return (
        f"{ours['open_s']:.2f} s | {' | '.join(ms)} | {enrol:.1f} ms | {ours['resident_mb']:.0f} MB "
        f"| {recall:.4f} of {true.sum()}"
    )


def _exact(faces: Faces, probes: Faces) -> str:
    def scan(probe: Faces) -> None:
        scores = faces @ probe
        top = np.argpartition(scores, -10)[-10:]
        top[np.argsort(-scores[top])]

    return _percentiles([_ms(scan, probe) for probe in probes[:200]]) if len(faces) else "– | –"


def _percentiles(ms: list[float]) -> str:
    return " | ".join(f"{one:.1f} ms" for one in np.percentile(ms, [50, 99]))


def _ms(call: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    call(*arguments)
    return 1000 * (time.perf_counter() - began)


def _measure(folder: Path, place: Place) -> None:
    """Search in a process of its own, so that its memory is the gallery's."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    probes = np.load(folder / "probes.npy")
    before = _resident_mb()
    began = time.perf_counter()
    gallery = place.open()
    gallery.search(probes[0])
    open_s, best = time.perf_counter() - began, list[int]()
    alone_ms = [_ms(lambda one: best.append(int(gallery.search(one)[0].face_id[5:])), probe) for probe in probes]
    resident_mb = _resident_mb() - before
    batches = [probes[start : start + _TOGETHER] for start in range(0, len(probes) - _TOGETHER, _TOGETHER)]
    together_ms = [_ms(gallery.search_many, batch) / _TOGETHER for batch in batches]
    new = [(f"new-{n}", f"new-{n}", probe) for n, probe in enumerate(probes[:_ENROLLED])]
    enrol_ms = [_ms(gallery.add, *one) for one in new]
    for face_id, _, _ in new:
        gallery.remove(face_id)
    if isinstance(gallery, PostgresGallery):
        gallery.close()
    figures = {"alone_ms": alone_ms, "together_ms": together_ms, "enrol_ms": enrol_ms}
    print(json.dumps({"open_s": open_s, "best": best, "resident_mb": resident_mb} | figures))


def _resident_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir():
        _measure(Path(sys.argv[1]), Place(*sys.argv[2:]))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIZES)
