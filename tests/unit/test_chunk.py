"""A chunk of a backfill without an engine: what it holds while it waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.model import Claim
from selfiegate.settings import Settings
from tests.runtimes import Meanwhile, scripted_runtime


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
