"""A chunk of a backfill without an engine: what it holds while it waits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
from numpy.typing import NDArray

from selfiegate.backends.embedding import EmbeddingBackend
from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.galleries.memory import MemoryGallery
from selfiegate.matching import COSINE
from selfiegate.model import Claim, Match
from selfiegate.settings import Settings
from tests.postgres import PostgresServer
from tests.runtimes import Meanwhile, assert_consistent, runtime_on_postgres, scripted_runtime


def test_a_photo_that_was_won_from_a_dead_run_is_kept_while_others_are_waited_for(tmp_path: Path) -> None:
    rt = scripted_runtime(tmp_path, Settings(home=tmp_path, lease_s=1.5))
    files = {name: tmp_path / f"{name}.png" for name in ("ann", "ben")}
    for name, file in files.items():
        file.write_bytes(scripted_photo(name))
    ann, ben = (rt.photos.find(str(file)) for file in files.values())
    rt.ledger.claim(ann, "ann", "a dead run", 0.1)
    rt.ledger.claim(ben, "ben", "a run that lives on", 60.0)
    others: list[Claim] = []
    look = Meanwhile(rt.faces, "detect", after=False, what=lambda: others.append(claim_again()))

    def claim_again() -> Claim:
        return rt.ledger.claim(ann, "ann", "another run", 60.0)

    with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(2) as io:
        chunk = Chunk(replace(rt, faces=look), "the backfill", vision, io, local=True)
        outcomes, to_retry = chunk.run([Entry(uri=str(file), user_id=name) for name, file in files.items()])

    assert [row.owner for row in others] == ["the backfill"]
    assert [(one.user_id, one.status) for one in outcomes] == [("ann", "accepted")]
    assert [entry.user_id for entry, _ in to_retry] == ["ben"]


def test_a_chunk_searches_all_its_photos_at_once_and_then_only_what_came_since(tmp_path: Path) -> None:
    rt, gallery = scripted_runtime(tmp_path), WatchedGallery("scripted")
    gallery.add("old", "old", ScriptedAnalyser().embed([np.frombuffer(b"old", np.uint8)])[0])
    thresholds = rt.settings.matching.on(COSINE)
    faces = EmbeddingBackend(ScriptedAnalyser(), gallery, rt.photos, rt.settings.photos, thresholds)
    shown = {"ann": "ann", "ben": "ben", "ann's other account": "ann", "nobody": ""}
    for user_id, person in shown.items():
        (tmp_path / f"{user_id}.png").write_bytes(scripted_photo(*filter(None, [person])))

    with ThreadPoolExecutor(2) as vision, ThreadPoolExecutor(2) as io:
        chunk = Chunk(replace(rt, faces=faces), "the backfill", vision, io, local=True)
        outcomes, _ = chunk.run([Entry(uri=str(tmp_path / f"{name}.png"), user_id=name) for name in shown])

    assert [one.status for one in outcomes] == ["accepted", "accepted", "rejected", "rejected"]
    assert gallery.together == [3]
    assert gallery.alone
    assert min(gallery.alone) >= 1


def test_a_chunk_whose_transaction_fails_tells_of_no_verdict_that_is_not_stored(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """PostgreSQL keeps nothing of a transaction after its first error; the other photos' verdicts are gone, too."""
    home = tmp_path / "home"
    url = postgres.database("chunk")
    rt = runtime_on_postgres(home, url, tmp_path / "thumbnails", Settings(home=home, store_patience_s=1.0))
    shown = {"ann": "ann", "ben": "ben", "dan": "", "cid": "cid"}
    for name, person in shown.items():
        (tmp_path / f"{name}.png").write_bytes(scripted_photo(*filter(None, [person])))
    entries = [Entry(uri=str(tmp_path / f"{name}.png"), user_id=name) for name in shown]

    with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(2) as io:

        def taken(some: Sequence[Entry]) -> tuple[list[tuple[str, str]], list[str]]:
            outcomes, again = Chunk(rt, "the backfill", vision, io, notify=True).run(some)
            return [(one.user_id, one.status) for one in outcomes], [entry.user_id for entry, _ in again]

        taken(entries[-1:])
        with psycopg.connect(url) as other:  # a process that sleeps within its transaction
            other.execute("INSERT INTO profiles (user_id, revision, profile) VALUES ('ben', 1, '{}')")
            assert taken(entries) == ([("cid", "skipped")], ["ann", "ben", "dan"])
            assert rt.notifier.sent == []
            assert taken(entries[:-1]) == ([("ann", "accepted"), ("dan", "rejected")], ["ben"])  # each by itself
            other.rollback()
        assert taken([entries[1]]) == ([("ben", "accepted")], [])

    assert [verdict.user_id for verdict in rt.notifier.sent] == ["dan"]
    assert_consistent(rt, *((rt.photos.find(one.uri), one.user_id) for one in entries))


class WatchedGallery(MemoryGallery):
    """Notes how many probes were searched together, and above which mark the others were searched."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.together: list[int] = []
        self.alone: list[int] = []

    def search(
        self, embedding: NDArray[np.float32], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Match]:
        self.alone.append(above)
        return super().search(embedding, limit, floor, above)

    def search_many(
        self, embeddings: Sequence[NDArray[np.float32]], limit: int = 10, floor: float = -math.inf, above: int = 0
    ) -> Sequence[Sequence[Match]]:
        self.together.append(len(embeddings))
        return [super(WatchedGallery, self).search(one, limit, floor, above) for one in embeddings]
