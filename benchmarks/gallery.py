"""The embedded gallery beside a numpy exact scan, at 10k, 100k and 1M faces: `python -m benchmarks.gallery`.

Sizes may be given: `python -m benchmarks.gallery 10000000` takes about 25 GB of memory.

The gallery holds one photo of each LFW person who has two or more, and is filled up with vectors drawn
from the same mean and covariance, so that strangers resemble each other as much as real ones do. The
probes are these people's other photos. A true duplicate is a probe whose exact best match is its own
person at the match threshold or above; recall is the share of them for which the gallery returns it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.lfw import embeddings
from selfiegate.cpus import available_cpus
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.matching import COSINE

SIZES = (10_000, 100_000, 1_000_000)
MODEL = "benchmark"
_TOGETHER, _ENROLLED = 20, 200
"""Probes searched together, and faces enrolled one by one at the end."""


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Print one row per size."""
    enrolled, probes = _people()
    rng = np.random.default_rng(0)
    everybody = np.concatenate([enrolled, strangers(max(sizes) - len(enrolled), rng)])
    threshold = COSINE.match
    print(f"{len(probes)} probes of {len(enrolled)} people, match threshold {threshold}, {available_cpus()} CPUs\n")
    print(
        "| faces | open | search p50 | p99 "
        "| 20 together p50 | p99 | enrol p50 | exact p50 | p99 | resident | on disk | recall |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=".bench") as folder:
            print(_row(Path(folder), everybody[:size], probes, threshold), flush=True)


def _row(folder: Path, faces: NDArray[np.float32], probes: NDArray[np.float32], threshold: float) -> str:
    build(folder / "gallery.db", faces)
    np.save(folder / "probes.npy", probes)
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.gallery", str(folder)], capture_output=True, text=True, check=True
    )
    ours = json.loads(child.stdout)
    exact_best, exact_score, exact_ms = _scan(faces, probes)
    true = exact_score >= threshold
    recall = np.mean(np.array(ours["best"])[true] == exact_best[true])
    ms = (f"{ms:.1f} ms" for part in ("alone_ms", "together_ms") for ms in np.percentile(ours[part], [50, 99]))
    enrol = np.median(ours["enrol_ms"])
    e50, e99 = np.percentile(exact_ms, [50, 99])
    disk = (folder / "gallery.db").stat().st_size / 1e6
    return (
        f"| {len(faces):,} | {ours['open_s']:.2f} s | {' | '.join(ms)} | {enrol:.1f} ms | {e50:.1f} ms | {e99:.1f} ms "
        f"| {ours['resident_mb']:.0f} MB | {disk:.0f} MB | {recall:.4f} of {true.sum()} |"
    )


def _people() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    vectors, people = embeddings()
    _, first, counts = np.unique(people, return_index=True, return_counts=True)
    enrolled = first[counts > 1]
    others = np.setdiff1d(np.flatnonzero(np.isin(people, people[enrolled])), enrolled)
    return vectors[enrolled], vectors[others]


def strangers(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return faces (n, 512) of the mean and covariance of LFW's."""
    vectors, _ = embeddings()
    spread = np.linalg.cholesky(np.cov(vectors.T) + 1e-6 * np.eye(vectors.shape[1])).astype(np.float32)
    out = np.empty((n, vectors.shape[1]), np.float32)
    for start in range(0, n, 50_000):
        block = out[start : start + 50_000]
        block[:] = rng.standard_normal(block.shape, np.float32) @ spread.T + vectors.mean(axis=0)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return out


def build(path: Path, faces: NDArray[np.float32], model: str = MODEL) -> None:
    """Enrol these faces, each of a user of its own."""
    gallery = SqliteGallery(path, model)
    for start in range(0, len(faces), 10_000):
        block = faces[start : start + 10_000]
        gallery.add_all((f"face-{start + n}", f"user-{start + n}", face) for n, face in enumerate(block))


def _scan(
    faces: NDArray[np.float32], probes: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32], list[float]]:
    ms = []
    for probe in probes[:200]:
        began = time.perf_counter()
        scores = faces @ probe
        top = np.argpartition(scores, -10)[-10:]
        top[np.argsort(-scores[top])]
        ms.append(1000 * (time.perf_counter() - began))
    best, score = np.zeros(len(probes), np.int64), np.full(len(probes), -1, np.float32)
    for start in range(0, len(faces), 20_000):  # the truth, all probes at once
        scores = probes @ faces[start : start + 20_000].T
        top, here = scores.argmax(axis=1), scores.max(axis=1)
        best[here > score] = top[here > score] + start
        score = np.maximum(score, here)
    return best, score, ms


def _measure(folder: Path) -> None:
    """Search in a process of its own, so that its memory is the gallery's."""
    probes = np.load(folder / "probes.npy")
    before = _resident_mb()
    began = time.perf_counter()
    gallery = SqliteGallery(folder / "gallery.db", MODEL)
    gallery.search(probes[0])
    open_s = time.perf_counter() - began
    alone_ms, best = [], []
    for probe in probes:
        began = time.perf_counter()
        found = gallery.search(probe)
        alone_ms.append(1000 * (time.perf_counter() - began))
        best.append(int(found[0].face_id[5:]))
    resident_mb = _resident_mb() - before
    together_ms = []
    for start in range(0, len(probes) - _TOGETHER, _TOGETHER):
        began = time.perf_counter()
        gallery.search_many(probes[start : start + _TOGETHER])
        together_ms.append(1000 * (time.perf_counter() - began) / _TOGETHER)
    enrol_ms = []
    for n, probe in enumerate(probes[:_ENROLLED]):
        began = time.perf_counter()
        gallery.add(f"new-{n}", f"new-{n}", probe)
        enrol_ms.append(1000 * (time.perf_counter() - began))
    figures = {"alone_ms": alone_ms, "together_ms": together_ms, "enrol_ms": enrol_ms}
    print(json.dumps({"open_s": open_s, "best": best, "resident_mb": resident_mb} | figures))


def _resident_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir():
        _measure(Path(sys.argv[1]))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIZES)
