"""Doubtful matches wait for a person: one of two, never neither, and never without being said."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.enrolment import protocol
from selfiegate.enrolment.search import search_gallery
from selfiegate.enrolment.sequence import finish
from selfiegate.model import Claim, Match
from selfiegate.reconciliation import Restarts, reconcile
from selfiegate.runtime import MemoryRuntime, memory_runtime, open_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.present import present
from tests.runtimes import assert_consistent

USERS = {"user_a": "ann", "user_b": "ann~"}
"""Whom each user shows: for the threshold below neither one person nor two."""


@pytest.fixture
def rt() -> MemoryRuntime:
    return memory_runtime(Settings(matching={"match_threshold": 0.99, "review_threshold": 0.5}))


def reconciled(rt: MemoryRuntime) -> dict[str, int]:
    async def never(_: object = None) -> str:
        raise AssertionError("nothing died here")

    async def no_runs() -> int:
        return 0

    return asyncio.run(reconcile(rt, inline(rt), Restarts(never, never, no_runs))).counts


def claimed(rt: MemoryRuntime) -> list[Claim]:
    photos = {user_id: rt.photos.add(f"{user_id}.png", scripted_photo(who)) for user_id, who in USERS.items()}
    return [protocol.claim_photo(rt, photo, user_id, f"run of {user_id}") for user_id, photo in photos.items()]


def test_of_two_doubtful_photos_in_one_chunk_one_waits_for_a_person(rt: MemoryRuntime) -> None:
    for user_id, who in USERS.items():
        rt.photos.add(f"{user_id}.png", scripted_photo(who))
    with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(1) as io:
        chunk = Chunk(rt, "backfill", vision, io, local=True)
        outcomes, _ = chunk.run([Entry(uri=f"{user_id}.png", user_id=user_id) for user_id in USERS])

    assert [one.status for one in outcomes] == ["accepted", "needs_review"]
    assert_consistent(rt, *((rt.photos.find(f"{user_id}.png"), user_id) for user_id in USERS))


def test_reconcile_counts_what_waits_and_lets_it_expire(rt: MemoryRuntime) -> None:
    for user_id, who in USERS.items():
        photo = rt.photos.add(f"{user_id}.png", scripted_photo(who))
        finish(rt, protocol.claim_photo(rt, photo, user_id, "run", notify=False))
    first = reconciled(rt)
    late = replace(rt, settings=rt.settings.model_copy(update={"rejected_days": 1e-9}))

    assert first == {"photos that wait for a person": 1}
    assert reconciled(late) == {"expired photos": 1}


def test_where_photos_are_left_to_a_person_the_start_says_that_nobody_decides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for threshold in (None, 0.35):
        caplog.clear()
        open_runtime(Settings(home=tmp_path, matching={"review_threshold": threshold}))

        assert ("no command decides them yet" in caplog.text) is (threshold is not None)


def test_without_a_review_threshold_no_rounding_leaves_a_photo_to_a_person() -> None:
    rt = memory_runtime(Settings(matching={"match_threshold": 0.7}))
    match = Match(face_id="f", user_id="user_a", score=float(np.float32(0.7)))  # as a gallery in float32 tells it

    assert match.score < rt.faces.thresholds.match
    assert not protocol.lost(rt, match).review


def test_of_two_doubtful_photos_at_once_one_waits_for_a_person(rt: MemoryRuntime) -> None:
    claims = claimed(rt)
    assert not any(search_gallery(rt, claim, None).reasons for claim in claims)
    faces = [protocol.enrol_face(rt, claim) for claim in claims]
    pairs = zip(claims, faces, strict=True)
    won, lost = (protocol.confirm_enrolment(rt, claim, face_id, None) for claim, face_id in pairs)

    assert won is None
    assert present(lost).review
    assert present(present(lost).match).user_id == "user_a"
