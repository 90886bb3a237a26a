"""The flow on the in-memory runtime: verdicts, what is left behind, what a user is told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from prefect import State, flow
from prefect.client.orchestration import PrefectClient

from flows.process_photo import process_photo
from selfiegate.backends.scripted import scripted_photo
from selfiegate.decoding import process_pool
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured
from selfiegate.model import PhotoRef, ReasonCode, Verdict
from selfiegate.runtime import MemoryRuntime, Runtime, memory_runtime, using
from selfiegate.settings import Settings
from selfiegate.steps import in_thread
from tasks.steps import step
from tests.flowruns import LOOP, run
from tests.hostile.faulty_decoder import slow_photo
from tests.present import present
from tests.runtimes import Failing, assert_consistent, replacing

pytestmark = pytest.mark.usefixtures("prefect_api")


def verdict(rt: Runtime, photo: PhotoRef, user_id: str) -> Verdict:
    return present(run(rt, photo, user_id).result())


def codes(found: Verdict) -> list[str]:
    return [reason.code for reason in found.reasons]


def test_a_good_selfie_is_accepted_and_enrolled(rt: MemoryRuntime, ann: PhotoRef) -> None:
    state = run(rt, ann, "user_a")
    found = present(state.result())

    assert (state.name, state.type) == ("Accepted", "COMPLETED")
    assert present(rt.profiles.get("user_a")).face_id == found.face_id
    assert list(found.thumbnails) == ["250x250"]
    assert rt.notifier.sent == []
    assert_consistent(rt, (ann, "user_a"))


def test_a_verdict_records_each_value_and_its_limit(rt: MemoryRuntime) -> None:
    photo = rt.photos.add("ann.png", scripted_photo("ann", sharpness=80.0))
    checks = {check.name: check for check in verdict(rt, photo, "user_a").checks}

    assert (checks["sharpness"].value, checks["sharpness"].limit[0]) == (80.0, "≥")
    assert checks["faces"].passed


def test_a_photo_that_holds_its_decoder_up_is_unreadable_and_the_next_one_is_not() -> None:
    """The file is real: pixels and scans just within the limits."""
    rt = memory_runtime(Settings(photos=Limits(max_seconds=1)))
    slow, good = rt.photos.add("slow.jpg", slow_photo()), rt.photos.add("ann.png", scripted_photo("ann"))
    found = verdict(rt, slow, "user_s")

    assert (found.status, codes(found)) == ("rejected", ["unreadable_photo"])
    assert run(rt, good, "user_a").name == "Accepted"
    assert_consistent(rt, (slow, "user_s"), (good, "user_a"))


def test_a_decoder_that_was_stopped_costs_a_photo_time_alone() -> None:
    rt = memory_runtime(Settings(photos=Limits(max_seconds=1, max_stalled_seconds=4)))
    ann, cid = (rt.photos.add(f"{name}.png", scripted_photo(name)) for name in ("ann", "cid"))
    assert run(rt, cid, "user_c").name == "Accepted"
    for decoder in process_pool._shared._idle:
        os.kill(decoder._process.pid, signal.SIGSTOP)

    assert run(rt, ann, "user_a").name == "Accepted"
    assert_consistent(rt, (ann, "user_a"), (cid, "user_c"))


@pytest.mark.parametrize(
    ("people", "attributes", "reasons"),
    [
        ((), {}, ["no_face"]),
        (("ann", "bob", "cid"), {}, ["multiple_faces"]),
        (("ann",), {"sunglasses": 0.99}, ["sunglasses"]),
        (("ann",), {"sharpness": 1.0, "brightness": 2.0, "yaw": 70.0}, ["blurred", "too_dark", "turned_away"]),
    ],
)
def test_a_bad_selfie_is_refused_for_every_reason_at_once(
    rt: MemoryRuntime, people: tuple[str, ...], attributes: dict[str, Any], reasons: list[str]
) -> None:
    photo = rt.photos.add("photo.png", scripted_photo(*people, **attributes))
    state = run(rt, photo, "user_a")

    assert (state.name, state.type) == ("Rejected", "COMPLETED")
    assert codes(present(state.result())) == reasons
    assert [codes(sent) for sent in rt.notifier.sent] == [reasons]
    assert_consistent(rt, (photo, "user_a"))


def test_the_face_count_is_told_in_the_workshops_words(rt: MemoryRuntime) -> None:
    photo = rt.photos.add("group.png", scripted_photo("ann", "bob", "cid"))

    assert verdict(rt, photo, "user_a").reasons[0].message.startswith("Detected 3 faces in the photo.")


def test_a_face_that_is_enrolled_already_is_refused(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    found = verdict(rt, ann, "user_e")

    assert codes(found) == ["face_already_enrolled"]
    assert found.matched_user_id == "user_a"
    assert found.score == pytest.approx(1)
    assert "user_a" not in found.reasons[0].message
    assert_consistent(rt, (ann, "user_a"), (ann, "user_e"))


def test_the_same_photo_again_returns_the_stored_verdict(rt: MemoryRuntime, ann: PhotoRef) -> None:
    first = verdict(rt, ann, "user_a")
    again = verdict(replacing(rt, "faces", None), ann, "user_a")

    assert again == first


def test_a_refusal_is_told_once(rt: MemoryRuntime) -> None:
    photo = rt.photos.add("nobody.png", scripted_photo())
    run(rt, photo, "user_a")
    run(rt, photo, "user_a")

    assert len(rt.notifier.sent) == 1


def test_a_new_photo_of_the_same_user_replaces_the_old_one(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    newer = rt.photos.add("ann/newer.png", scripted_photo("ann~"))
    found = verdict(rt, newer, "user_a")

    assert found.status == "accepted"
    assert present(rt.profiles.get("user_a")).photo == newer
    assert_consistent(rt, (ann, "user_a"), (newer, "user_a"))


def test_an_event_that_comes_late_does_not_replace_a_photo_uploaded_after_it(rt: MemoryRuntime, ann: PhotoRef) -> None:
    newer = rt.photos.add("ann/newer.png", scripted_photo("ann~"))
    run(rt, newer, "user_a", "0000000000000002.0B")
    late = run(rt, ann, "user_a", "0000000000000001.0A")

    assert late.name == "Accepted"
    assert present(rt.profiles.get("user_a")).photo == newer
    assert_consistent(rt, (newer, "user_a"), (ann, "user_a"))


def test_an_older_photo_that_comes_late_does_not_replace_a_newer_one(rt: MemoryRuntime, ann: PhotoRef) -> None:
    newer = rt.photos.add("ann/newer.png", scripted_photo("ann~"))
    rt.ledger.renew(rt.ledger.claim(ann, "user_a", "a run that died", 60), -1)
    run(rt, newer, "user_a")
    run(rt, ann, "user_a")

    assert present(rt.profiles.get("user_a")).photo == newer
    assert_consistent(rt, (ann, "user_a"), (newer, "user_a"))


def test_somebody_else_under_a_known_user_is_a_different_person(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    bob = rt.photos.add("bob.png", scripted_photo("bob"))

    assert codes(verdict(rt, bob, "user_a")) == ["different_person"]
    assert present(rt.profiles.get("user_a")).photo == ann


def test_anothers_face_under_a_known_user_has_both_reasons(rt: MemoryRuntime, ann: PhotoRef) -> None:
    bob = rt.photos.add("bob.png", scripted_photo("bob"))
    run(rt, ann, "user_a")
    run(rt, bob, "user_b")

    assert codes(verdict(rt, bob, "user_a")) == ["face_already_enrolled", "different_person"]


def test_a_doubtful_match_goes_to_review_where_that_is_set(rt: MemoryRuntime) -> None:
    settings = Settings(matching={"match_threshold": 0.99, "review_threshold": 0.5})
    rt = memory_runtime(settings)
    first = rt.photos.add("ann.png", scripted_photo("ann"))
    alike = rt.photos.add("alike.png", scripted_photo("ann~"))
    run(rt, first, "user_a")
    state = run(rt, alike, "user_b")

    assert state.name == "NeedsReview"
    assert present(state.result()).matched_user_id == "user_a"
    assert_consistent(rt, (first, "user_a"), (alike, "user_b"))


def test_a_photo_that_vanishes_is_refused(rt: MemoryRuntime, ann: PhotoRef) -> None:
    rt.photos.add("ann/selfie.png", b"overwritten")

    assert codes(verdict(rt, ann, "user_a")) == ["unreadable_photo"]


def test_a_photo_that_vanishes_between_two_steps_is_refused_and_leaves_nothing(
    rt: MemoryRuntime, ann: PhotoRef
) -> None:
    class Vanishing(Failing):
        def __init__(self, real: object) -> None:
            super().__init__(real, "put", 0, after=False)

        def put(self, *_: object) -> str:
            from selfiegate.errors import PhotoRejected

            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)

    found = verdict(replacing(rt, "thumbnails", Vanishing(rt.thumbnails)), ann, "user_a")

    assert codes(found) == ["unreadable_photo"]
    assert_consistent(rt, (ann, "user_a"))


STEPS = [
    ("ledger", "claim"),
    ("photos", "read"),
    ("faces", "detect"),
    ("faces", "search"),
    ("profiles", "get"),
    ("faces", "enrol"),
    ("thumbnails", "put"),
    ("faces", "rivals"),
    ("ledger", "accept"),
    ("ledger", "note_face"),
    ("profiles", "put"),
    ("ledger", "decide"),
]


def failing(rt: Runtime, part: str, method: str, times: float, after: bool) -> Runtime:
    return replacing(rt, part, Failing(getattr(rt, part), method, times, after))


@pytest.mark.parametrize("after", [False, True], ids=["lost-call", "lost-reply"])
@pytest.mark.parametrize(("part", "method"), STEPS)
def test_a_step_that_fails_twice_is_tried_again(
    rt: MemoryRuntime, ann: PhotoRef, part: str, method: str, after: bool
) -> None:
    assert run(failing(rt, part, method, 2, after), ann, "user_a").name == "Accepted"
    assert_consistent(rt, (ann, "user_a"))


@pytest.mark.parametrize("after", [False, True], ids=["lost-call", "lost-reply"])
@pytest.mark.parametrize(("part", "method"), STEPS)
def test_a_step_that_fails_for_good_leaves_no_trace_without_a_profile(
    rt: MemoryRuntime, ann: PhotoRef, part: str, method: str, after: bool
) -> None:
    state = run(failing(rt, part, method, float("inf"), after), ann, "user_a")
    profile = rt.profiles.get("user_a")

    assert state.type == "FAILED" or after  # done work whose reply was lost may be found done
    assert rt.faces.stats().faces == len(rt.thumbnails.keys()) == (profile is not None)
    assert rt.notifier.sent == []


@pytest.mark.parametrize("after", [False, True], ids=["lost-call", "lost-reply"])
@pytest.mark.parametrize(("part", "method"), STEPS)
def test_running_a_failed_photo_again_finishes_it(
    rt: MemoryRuntime, ann: PhotoRef, part: str, method: str, after: bool
) -> None:
    run(failing(rt, part, method, float("inf"), after), ann, "user_a")
    for claim in rt.ledger.unfinished(before=2**62):
        rt.ledger.renew(claim, -1)  # time passes: a claim whose reply was lost is nobody's until its lease ends

    assert run(rt, ann, "user_a").name == "Accepted"
    assert_consistent(rt, (ann, "user_a"))


@pytest.mark.parametrize("after", [False, True], ids=["lost-call", "lost-reply"])
def test_an_older_photo_that_cannot_be_removed_is_removed_by_the_next_run(
    rt: MemoryRuntime, ann: PhotoRef, after: bool
) -> None:
    newer = rt.photos.add("ann/newer.png", scripted_photo("ann~"))
    run(rt, ann, "user_a")
    broken = run(failing(rt, "faces", "remove", float("inf"), after), newer, "user_a")

    assert broken.type == "FAILED"
    assert run(rt, newer, "user_a").name == "Accepted"
    assert_consistent(rt, (ann, "user_a"), (newer, "user_a"))


def test_a_notice_that_cannot_be_sent_does_not_change_the_verdict(rt: MemoryRuntime) -> None:
    photo = rt.photos.add("nobody.png", scripted_photo())
    state = run(failing(rt, "notifier", "notify", float("inf"), False), photo, "user_a")
    run(rt, photo, "user_a")

    assert state.name == "Rejected"
    assert len(rt.notifier.sent) == 1


def test_a_misconfigured_backend_is_not_tried_again(rt: MemoryRuntime, ann: PhotoRef) -> None:
    broken = Failing(rt.faces, "detect", 5, False, BackendMisconfigured("no weights"))

    assert run(replace(rt, faces=broken), ann, "user_a").type == "FAILED"
    assert broken.left == 4


def test_a_step_that_is_cancelled_has_ended_before_anything_follows() -> None:
    ended: list[str] = []

    def work_for_a_while() -> None:
        time.sleep(0.3)
        ended.append("thread")

    async def cancelled() -> None:
        work = asyncio.create_task(in_thread(work_for_a_while))
        await asyncio.sleep(0.1)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        ended.append("caller")

    LOOP.run(cancelled())

    assert ended == ["thread", "caller"]


def test_a_step_that_times_out_has_ended_before_it_is_tried_again() -> None:
    """Prefect's timeout cancels again and again until its step gives in."""
    happened: list[str] = []

    @step("work for a while", timeout_s=0.5)
    def work_for_a_while() -> None:
        happened.append("begins")
        time.sleep(1.5 if len(happened) == 1 else 0)
        happened.append("ends")

    @flow
    async def once() -> None:
        await work_for_a_while()

    LOOP.run(once())

    assert happened == ["begins", "ends", "begins", "ends"]


@pytest.mark.parametrize(("part", "method"), [("faces", "enrol"), ("profiles", "put"), ("thumbnails", "put")])
def test_a_run_that_times_out_is_finished_by_the_next(rt: MemoryRuntime, ann: PhotoRef, part: str, method: str) -> None:
    class Slow(Failing):
        def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                time.sleep(1.5)
                return real(*args, **kwargs)

            return call

    async def process() -> State[Verdict | None]:
        return await process_photo.with_options(timeout_seconds=1)(ann, "user_a", return_state=True)

    with using(replacing(rt, part, Slow(getattr(rt, part), method, 1, after=False))):
        assert LOOP.run(process()).name == "TimedOut"
    assert run(rt, ann, "user_a").name == "Accepted"
    assert_consistent(rt, (ann, "user_a"))


def test_a_photo_that_another_run_holds_ends_in_progress(rt: MemoryRuntime, ann: PhotoRef) -> None:
    rt.ledger.claim(ann, "user_a", "another run", 60)
    state = run(rt, ann, "user_a")

    assert (state.name, state.type) == ("InProgress", "COMPLETED")


def test_a_page_that_cannot_be_attached_does_not_change_the_verdict(
    rt: MemoryRuntime, ann: PhotoRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrefectClient, "create_artifact", unreachable)

    assert run(rt, ann, "user_a").name == "Accepted"


async def unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("Prefect's API does not answer")


def test_two_runs_of_one_photo_end_in_one_verdict(rt: MemoryRuntime, ann: PhotoRef) -> None:
    async def twice() -> Sequence[Verdict | None]:
        return await asyncio.gather(process_photo(ann, "user_a"), process_photo(ann, "user_a"))

    with using(rt):
        found = LOOP.run(twice())

    # Here nobody waits between attempts, so the second may end InProgress, without a verdict.
    assert {verdict.status for verdict in found if verdict} == {"accepted"}
    assert_consistent(rt, (ann, "user_a"))


def test_of_many_users_with_one_face_exactly_one_is_accepted(rt: MemoryRuntime) -> None:
    photos = [rt.photos.add(f"{n}.png", scripted_photo("ann", size=(320, 240 + n))) for n in range(6)]

    async def race() -> list[Verdict]:
        runs = (process_photo(photo, f"user_{n}") for n, photo in enumerate(photos))
        return [present(verdict) for verdict in await asyncio.gather(*runs)]

    with using(rt):
        found = LOOP.run(race())

    assert sorted(v.status for v in found) == ["accepted"] + ["rejected"] * 5
    assert_consistent(rt, *((photo, f"user_{n}") for n, photo in enumerate(photos)))
