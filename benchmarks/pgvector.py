"""pgvector's HNSW index beside our gallery in PostgreSQL: `python -m benchmarks.pgvector [FACES]`, 100,000 by default.

The same faces, probes and server as in `benchmarks.gallery`. A true duplicate is a probe whose exact best match is at
the match threshold or above; recall is the share of them for which a search returns it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import psycopg

from benchmarks.gallery import MODEL, Faces, Truth, grow, people, strangers
from selfiegate.galleries.postgres import PostgresGallery
from selfiegate.matching import COSINE
from selfiegate.postgres_database import PostgresDatabase
from tests.postgres import PostgresServer

_SETTINGS = ("maintenance_work_mem = '4GB'", "max_parallel_maintenance_workers = 0")
_EF = (40, 200, 800)
"""How many candidates a search keeps; 40 is pgvector's default, and 1,000 its bound."""


def main(size: int) -> None:
    """Print a row for each."""
    enrolled, probes = people()
    faces = np.concatenate([enrolled, strangers(size - len(enrolled), np.random.default_rng(0))])
    truth = Truth(probes)
    truth.add(0, faces)
    print(f"{size:,} faces, {len(probes)} probes\n")
    print("| index | built in | search p50 | p99 | recall |\n|---|---:|---:|---:|---:|")
    server = PostgresServer(durable=True)
    try:
        _ours(server.database("ours"), faces, probes, truth)
        _theirs(server.database("theirs"), faces, probes, truth)
    finally:
        server.stop()


def _ours(url: str, faces: Faces, probes: Faces, truth: Truth) -> None:
    began = time.perf_counter()
    gallery = PostgresGallery(PostgresDatabase(url), MODEL)
    grow(gallery, 0, faces)
    gallery.search(probes[0])
    _print_row("ours", time.perf_counter() - began, probes, truth, lambda one: int(gallery.search(one)[0].face_id[5:]))


def _theirs(url: str, faces: Faces, probes: Faces, truth: Truth) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        for setting in _SETTINGS:
            connection.execute(f"SET {setting}".encode())
        began = time.perf_counter()
        connection.execute("CREATE TABLE faces (id bigint PRIMARY KEY, embedding halfvec(512) NOT NULL)")
        with connection.cursor().copy("COPY faces FROM STDIN") as copy:
            for number, face in enumerate(faces):
                copy.write_row((number, _text(face)))
        connection.execute("CREATE INDEX ON faces USING hnsw (embedding halfvec_ip_ops)")
        built_s = time.perf_counter() - began

        def nearest(probe: Faces) -> int:
            sql = "SELECT id FROM faces ORDER BY embedding <#> %s::halfvec LIMIT 10"
            row = connection.execute(sql, (_text(probe),)).fetchone()
            return int(row[0]) if row else -1

        for ef in _EF:
            connection.execute(f"SET hnsw.ef_search = {ef}".encode())
            _print_row(f"HNSW, ef_search {ef}", built_s, probes, truth, nearest)


def _print_row(name: str, built_s: float, probes: Faces, truth: Truth, find: Callable[[Faces], int]) -> None:
    found, ms = list[int](), list[float]()
    for probe in probes:
        began = time.perf_counter()
        found.append(find(probe))
        ms.append(1000 * (time.perf_counter() - began))
    true = truth.score >= COSINE.match
    recall = np.mean(np.array(found)[true] == truth.best[true])
    p50, p99 = np.percentile(ms, [50, 99])
    print(f"| {name} | {built_s:.0f} s | {p50:.1f} ms | {p99:.1f} ms | {recall:.4f} of {true.sum()} |", flush=True)


def _text(face: Faces) -> str:
    return "[" + ",".join(f"{value:.6f}" for value in face) + "]"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
