"""A poor photo that is somewhat like another user's face is refused for a better one; a clear one is not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from selfiegate.audit import reopen
from selfiegate.audit.orphans import Kind, Orphan
from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.backfill.preview import preview
from selfiegate.enrolment import protocol
from selfiegate.enrolment.search import search_gallery
from selfiegate.enrolment.sequence import finish
from selfiegate.enrolment.verdicts import notify_user
from selfiegate.model import Claim, PhotoRef, Verdict
from selfiegate.policy import Rules
from selfiegate.runtime import MemoryRuntime, memory_runtime
from selfiegate.settings import Settings
from tests.present import present
from tests.runtimes import assert_consistent

POOR, CLEAR = 82.0, 90.0
ALIKE = "ann~~~~~"
"""Like ann by a cosine of 0.37, below the match threshold and above the unclear threshold."""


@pytest.fixture
def rt() -> MemoryRuntime:
    return memory_runtime()


def photo_of(rt: MemoryRuntime, user_id: str, who: str, quality: float | None) -> PhotoRef:
    known: dict[str, Any] = {} if quality is None else {"quality": quality}
    return rt.photos.add(f"{user_id}.png", scripted_photo(who, **known))


def claimed(rt: MemoryRuntime, user_id: str, who: str, quality: float | None) -> Claim:
    return protocol.claim_photo(rt, photo_of(rt, user_id, who, quality), user_id, f"run of {user_id}")


def decided(rt: MemoryRuntime, user_id: str, who: str, quality: float | None) -> Verdict:
    return present(finish(rt, claimed(rt, user_id, who, quality)).verdict)


def codes(verdict: Verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


def test_a_poor_photo_like_another_users_face_is_asked_for_a_better_one(rt: MemoryRuntime) -> None:
    first, second = decided(rt, "user_a", "ann", CLEAR), decided(rt, "user_b", ALIKE, POOR)

    assert first.status == "accepted"
    assert (second.status, codes(second)) == ("rejected", ["unclear_match"])
    assert (second.matched_user_id, second.threshold) == ("user_a", 0.32)
    assert 0.32 < present(second.score) < 0.4
    assert rt.faces.stats().faces == 1


@pytest.mark.parametrize(
    ("who", "quality", "found"),
    [
        (ALIKE, CLEAR, []),
        (ALIKE, 85.0, []),
        (ALIKE, None, []),
        ("bob", POOR, []),
        ("ann", POOR, ["face_already_enrolled"]),
        ("ann", CLEAR, ["face_already_enrolled"]),
    ],
)
def test_only_a_poor_photo_that_is_like_somebody_is_asked_again(
    rt: MemoryRuntime, who: str, quality: float | None, found: list[str]
) -> None:
    """A face of unknown quality is trusted: on Rekognition nobody's would be known."""
    decided(rt, "user_a", "ann", CLEAR)

    assert codes(decided(rt, "user_b", who, quality)) == found


def test_a_poor_face_that_is_there_already_keeps_no_clear_one_out(rt: MemoryRuntime) -> None:
    verdicts = decided(rt, "user_a", "ann", POOR), decided(rt, "user_b", ALIKE, CLEAR)

    assert [verdict.status for verdict in verdicts] == ["accepted", "accepted"]


def test_the_limit_is_the_operators() -> None:
    rt = memory_runtime(Settings(matching={"clear_quality": 0}))
    decided(rt, "user_a", "ann", CLEAR)

    assert decided(rt, "user_b", ALIKE, 1.0 + rt.settings.rules.min_quality).status == "accepted"


@pytest.mark.parametrize(
    ("review", "who", "status", "found"),
    [
        (0.35, ALIKE, "needs_review", ["face_already_enrolled"]),
        (0.39, ALIKE, "rejected", ["unclear_match"]),
        (0.2, ALIKE, "needs_review", ["face_already_enrolled"]),
    ],
)
def test_where_a_person_reviews_the_person_decides(review: float, who: str, status: str, found: list[str]) -> None:
    rt = memory_runtime(Settings(matching={"review_threshold": review}))
    decided(rt, "user_a", "ann", CLEAR)
    verdict = decided(rt, "user_b", who, POOR)

    assert (verdict.status, codes(verdict)) == (status, found)


def test_the_user_is_asked_for_a_better_photo_and_told_of_nobody(rt: MemoryRuntime) -> None:
    decided(rt, "user_a", "ann", CLEAR)
    notify_user(rt, finish(rt, claimed(rt, "user_b", ALIKE, POOR)))
    (told,) = rt.notifier.sent
    (reason,) = told.reasons

    assert "Take another photo" in reason.message
    assert not any(word in reason.message for word in ("account", "another user", "like", "user_a"))


@pytest.mark.parametrize(
    ("qualities", "younger_confirms_first", "ends"),
    [
        ((POOR, POOR), False, [None, "unclear_match"]),
        ((POOR, POOR), True, [None, "unclear_match"]),
        ((CLEAR, POOR), False, [None, "unclear_match"]),
        ((CLEAR, POOR), True, [None, "unclear_match"]),
        ((POOR, CLEAR), False, [None, None]),
        ((POOR, CLEAR), True, ["unclear_match", None]),
        ((CLEAR, CLEAR), False, [None, None]),
        ((CLEAR, CLEAR), True, [None, None]),
    ],
)
def test_two_at_once_end_as_if_one_had_come_after_the_other(
    rt: MemoryRuntime, qualities: tuple[float, float], younger_confirms_first: bool, ends: list[str | None]
) -> None:
    """An older one that is poor contests a younger one that is clear, which ignores that."""
    claims = [claimed(rt, "user_a", "ann", qualities[0]), claimed(rt, "user_b", ALIKE, qualities[1])]
    for claim, quality in zip(claims, qualities, strict=True):
        assert search_gallery(rt, claim, quality).reasons == ()
    faces = [protocol.enrol_face(rt, claim) for claim in claims]
    lost: dict[str, str | None] = {}
    for n in (1, 0) if younger_confirms_first else (0, 1):
        found = protocol.confirm_enrolment(rt, claims[n], faces[n], qualities[n])
        lost[claims[n].user_id] = found.reasons[0].code if found else None

    assert [lost["user_a"], lost["user_b"]] == ends


def test_a_contest_that_comes_late_turns_a_poor_one_away(rt: MemoryRuntime) -> None:
    """The younger searched before the older was there; it is contested, and looks again."""
    older, younger = claimed(rt, "user_a", "ann", POOR), claimed(rt, "user_b", ALIKE, POOR)
    its_face = protocol.enrol_face(rt, younger)
    row = protocol.still_ours(rt, younger)
    before = rt.faces.rivals(its_face, "user_b", True)
    assert protocol.confirm_enrolment(rt, older, protocol.enrol_face(rt, older), POOR) is None

    assert before == []
    assert not protocol.contend(rt, row, before, unclear=True).won
    assert present(protocol.confirm_enrolment(rt, younger, its_face, POOR)).reasons[0].code == "unclear_match"


def test_a_face_that_is_won_is_not_lost_to_one_that_is_like_it(rt: MemoryRuntime) -> None:
    """A run dies when it has won; a clear photo like it is accepted before it goes on."""
    claim = claimed(rt, "user_a", ALIKE, POOR)
    protocol.confirm_enrolment(rt, claim, protocol.enrol_face(rt, claim), POOR)
    decided(rt, "user_b", "ann", CLEAR)
    rt.ledger.renew(claim, -1)

    assert decided(rt, "user_a", ALIKE, POOR).status == "accepted"


def test_the_photo_of_a_profile_is_not_asked_again_when_its_face_was_lost(rt: MemoryRuntime) -> None:
    accepted = decided(rt, "user_a", ALIKE, POOR)
    decided(rt, "user_b", "ann", CLEAR)
    rt.faces.remove(present(accepted.face_id))
    orphan = Orphan(kind=Kind.PROFILE, name="user_a", user_id="user_a", photo=accepted.photo)
    row = present(reopen(rt, orphan))

    assert decided(rt, "user_a", ALIKE, POOR).status == "accepted"
    assert row.status == "accepted"


def test_an_operator_lets_one_covered_face_through_by_a_copy_of_its_photo(rt: MemoryRuntime) -> None:
    """As docs/operations.md says; a refused photo keeps its verdict whatever the rules are now."""
    covered: dict[str, Any] = {"covered": 0.99, "covered_parts": ["mouth"], "quality": 10.0}
    photo = rt.photos.add("user_a.png", scripted_photo("ann", **covered))
    refused = finish(rt, protocol.claim_photo(rt, photo, "user_a", "run"))
    rules = {"max_covered": 1, "min_quality": 0}
    lenient = replace(rt, settings=rt.settings.model_copy(update={"rules": Rules.model_validate(rules)}))
    again = protocol.claim_photo(lenient, photo, "user_a", "run")
    copy = lenient.photos.add("copy.png", scripted_photo("ann", **covered))
    copied = finish(lenient, protocol.claim_photo(lenient, copy, "user_a", "run"))

    assert (codes(present(refused.verdict)), again.status, copied.status) == (["face_covered"], "rejected", "accepted")


def chunk_of(rt: MemoryRuntime, *users: str) -> list[list[str]]:
    with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(1) as io:
        chunk = Chunk(rt, "backfill", vision, io, local=True)
        outcomes, _ = chunk.run([Entry(uri=f"{user_id}.png", user_id=user_id) for user_id in users])
    return [[reason.code for reason in one.reasons] for one in outcomes]


@pytest.mark.parametrize(
    ("qualities", "ends"),
    [((POOR, POOR), [[], ["unclear_match"]]), ((POOR, CLEAR), [[], []]), ((CLEAR, POOR), [[], ["unclear_match"]])],
)
def test_a_chunk_decides_as_the_flow_does(
    rt: MemoryRuntime, qualities: tuple[float, float], ends: list[list[str]]
) -> None:
    photos = photo_of(rt, "user_a", "ann", qualities[0]), photo_of(rt, "user_b", ALIKE, qualities[1])

    assert chunk_of(rt, "user_a", "user_b") == ends
    assert_consistent(rt, (photos[0], "user_a"), (photos[1], "user_b"))


def test_a_dry_run_tells_it_too(rt: MemoryRuntime) -> None:
    decided(rt, "user_a", "ann", CLEAR)
    photo_of(rt, "user_b", ALIKE, POOR)
    with ThreadPoolExecutor(1) as pool:
        (outcome,) = preview(rt, [Entry(uri="user_b.png", user_id="user_b")], pool)

    assert [reason.code for reason in outcome.reasons] == ["unclear_match"]


def test_a_poor_photo_of_the_users_own_says_all_that_is_wrong(rt: MemoryRuntime) -> None:
    decided(rt, "user_a", "ann", CLEAR)
    decided(rt, "user_b", "bob", CLEAR)

    assert codes(decided(rt, "user_b", ALIKE, POOR)) == ["unclear_match", "different_person"]


def test_a_poor_photo_of_ones_own_does_not_put_the_clear_face_out(rt: MemoryRuntime) -> None:
    """Else the owner's clear face would be free again, for a second account."""
    decided(rt, "user_a", "ann", CLEAR)
    replacement = decided(rt, "user_a", ALIKE, POOR)

    assert (replacement.status, codes(replacement)) == ("rejected", ["unclear_match"])
    assert codes(decided(rt, "user_b", "ann", CLEAR)) == ["face_already_enrolled"]
