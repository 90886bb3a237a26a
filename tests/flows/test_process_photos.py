"""The express lane's flow: each photo comes to what a run of its own would bring it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import State
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun
from prefect.states import Running
from prometheus_client import REGISTRY

from flows.process_photo import process_photo
from flows.process_photos import process_photos
from selfiegate import express
from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.outcomes import Outcome
from selfiegate.clock import now_us
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.runtime import MemoryRuntime, Runtime, using
from selfiegate.steps import inline
from tasks import run_history
from tasks.audits import _end_of
from tests.flowruns import LOOP
from tests.present import present
from tests.runtimes import Failing, assert_consistent, replacing

pytestmark = pytest.mark.usefixtures("prefect_api")


def request(rt: MemoryRuntime, user: str, *people: str, order: int = 0, name: str = "a", **looks: Any) -> PhotoRequest:
    photo = rt.photos.add(f"{user}/{name}.png", scripted_photo(*people, **looks))
    return PhotoRequest(photo=photo, user_id=user, upload_order=f"{order:016d}" if order else "")


def run(rt: Runtime, *photos: PhotoRequest) -> State[dict[str, Any]]:
    async def process() -> State[dict[str, Any]]:
        state: State[dict[str, Any]] = await process_photos(list(photos), return_state=True)
        await asyncio.sleep(0.3)
        return state

    with using(rt):
        return LOOP.run(process())


def table_of(state: State[Any]) -> list[dict[str, str]]:
    async def read() -> list[dict[str, str]]:
        about = filters.ArtifactFilterFlowRunId(any_=[present(state.state_details.flow_run_id)])
        async with get_client() as client:
            key = filters.ArtifactFilterKey(any_=["photos"])
            (found,) = await client.read_artifacts(artifact_filter=filters.ArtifactFilter(flow_run_id=about, key=key))
        rows: list[dict[str, str]] = json.loads(str(found.data))
        return rows

    return LOOP.run(read())


def run_of(state: State[Any]) -> FlowRun:
    async def read(client: PrefectClient) -> FlowRun:
        async with client:
            return await client.read_flow_run(UUID(str(state.state_details.flow_run_id)))

    return LOOP.run(read(get_client()))


def test_photos_get_their_verdicts_and_the_refused_are_told_once(rt: MemoryRuntime) -> None:
    photos = [
        request(rt, "ann", "ann", order=2),
        request(rt, "thief", "ann", order=3),
        request(rt, "crowd", "bob", "cid", "dan", order=1),
        request(rt, "eve", "eve", order=4),
    ]
    state, again = run(rt, *photos), run(rt, *photos)

    assert (state.name, state.message) == ("Processed", "2 accepted, 2 rejected")
    assert (again.name, again.message) == ("Processed", "4 skipped")
    assert sorted((sent.user_id, sent.reasons[0].code) for sent in rt.notifier.sent) == [
        ("crowd", "multiple_faces"),
        ("thief", "face_already_enrolled"),
    ]
    rows = {row["user"]: (row["verdict"], row["why"]) for row in table_of(state)}
    assert rows["thief"] == ("rejected", "face_already_enrolled")
    assert rows["ann"] == ("accepted", "")
    assert run_of(state).name == "4 photos"
    assert_consistent(rt, *((one.photo, one.user_id) for one in photos))


def test_verdicts_are_counted_once_by_lane_with_their_reasons_and_their_time(rt: MemoryRuntime) -> None:
    def counted() -> list[float]:
        names: list[tuple[str, dict[str, str]]] = [
            ("selfiegate_verdicts_total", {"status": "accepted", "lane": "express"}),
            ("selfiegate_verdicts_total", {"status": "rejected", "lane": "express"}),
            ("selfiegate_reasons_total", {"reason": "no_face", "lane": "express"}),
            ("selfiegate_upload_to_verdict_seconds_count", {"lane": "express"}),
            ("selfiegate_verdicts_total", {"status": "rejected", "lane": "single"}),
        ]
        return [REGISTRY.get_sample_value(*name) or 0 for name in names]

    good, bad = request(rt, "ann", "ann", order=now_us()), request(rt, "wall", order=now_us())
    before = counted()
    run(rt, good, bad)
    run(rt, good, bad)
    with using(rt):
        LOOP.run(process_photo(bad.photo, "wall", bad.upload_order))

    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 1, 1, 2, 0]


def test_of_two_photos_with_one_face_the_one_that_was_uploaded_first_wins(rt: MemoryRuntime) -> None:
    late, early = request(rt, "late", "ann", order=2), request(rt, "early", "ann", order=1)
    run(rt, late, early)

    assert (rt.profiles.get("late"), present(rt.profiles.get("early")).user_id) == (None, "early")


def test_a_photo_that_an_event_names_twice_is_taken_once(rt: MemoryRuntime) -> None:
    one = request(rt, "ann", "ann", order=1)
    state = run(rt, one, one, one.model_copy(update={"upload_order": f"{2:016d}"}))

    assert state.message == "1 accepted"
    assert present(rt.ledger.get(one.photo, "ann")).attempt == 1


def test_a_photo_that_another_run_holds_is_left_to_it(rt: MemoryRuntime) -> None:
    held, free = request(rt, "ann", "ann"), request(rt, "bob", "bob")
    rt.ledger.claim(held.photo, "ann", "another run", 600)
    state: State[Any] = run(rt, held, free)

    assert sorted(row["verdict"] for row in table_of(state)) == ["accepted", "skipped"]
    assert present(rt.ledger.get(held.photo, "ann")).owner == "another run"


@pytest.mark.parametrize("times", [1, 1000], ids=["once", "for good"])
def test_a_photo_that_fails_gets_a_run_of_its_own_and_that_one_is_red(rt: MemoryRuntime, times: int) -> None:
    good, bad = request(rt, "ann", "ann", order=1), request(rt, "bob", "bob", order=2)

    class FailsForBob(Failing):
        def __getattr__(self, name: str) -> Any:
            real = getattr(self._real, name)
            failing = super().__getattr__(name)
            return (
                (lambda *given: failing(*given) if bad.photo in given else real(*given)) if name == "detect" else real
            )

    fault = ValueError("a fault of ours")
    broken = replacing(rt, "faces", FailsForBob(rt.faces, "detect", times, False, fault))
    state: State[Any] = run(broken, good, bad)

    rows = {row["user"]: row for row in table_of(state)}
    assert state.name == "Processed"
    assert rows["ann"]["verdict"] == "accepted"
    assert rows["bob"]["verdict"] == ("Accepted" if times == 1 else "Failed")
    child = LOOP.run(_read(rows["bob"]["run of its own"]))
    assert child.name == "bob: a.png"
    assert present(child.state).is_failed() == (times > 1)


async def _read(run_id: str) -> FlowRun:
    async with get_client() as client:
        return await client.read_flow_run(UUID(run_id))


def test_where_nothing_could_be_done_for_any_photo_the_run_fails(rt: MemoryRuntime) -> None:
    photos = [request(rt, "ann", "ann"), request(rt, "bob", "bob")]
    broken = replacing(rt, "ledger", Failing(rt.ledger, "claim", 1000, False, BackendMisconfigured("no such table")))

    assert run(broken, *photos).is_failed()
    assert run(rt, *photos).message == "2 accepted"


def test_the_runs_of_single_photos_are_begun_for_a_time_and_the_rest_is_left(
    rt: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(express, "_ALONE_S", -1.0)
    photos = [request(rt, "ann", "ann"), request(rt, "bob", "bob")]
    broken = replacing(rt, "faces", Failing(rt.faces, "detect", 2, False, ValueError("a fault of ours")))

    async def run_alone(one: PhotoRequest) -> tuple[str, str]:
        raise AssertionError(one)

    told = list[Sequence[Outcome]]()
    ends = asyncio.run(express.process_photos(inline(broken), run_alone, photos, "run", told.append))
    assert [len(outcomes) for outcomes in told] == [2]
    assert [end.verdict for end in ends] == ["failed", "failed"]
    assert [present(rt.ledger.get(one.photo, one.user_id)).status for one in photos] == ["pending"] * 2


def test_a_single_run_that_cannot_be_begun_costs_the_others_nothing(rt: MemoryRuntime) -> None:
    photos = [request(rt, "ann", "ann"), request(rt, "bob", "bob")]
    broken = replacing(rt, "faces", Failing(rt.faces, "detect", 2, False, ValueError("a fault of ours")))

    async def run_alone(one: PhotoRequest) -> tuple[str, str]:
        if one.user_id == "ann":
            raise ConnectionError("Prefect is away")
        return "Accepted", "its run"

    ends = asyncio.run(express.process_photos(inline(broken), run_alone, photos, "run"))
    assert sorted(end.verdict for end in ends) == ["Accepted", "failed"]


def test_to_forget_a_user_removes_the_runs_that_took_the_users_photos(rt: MemoryRuntime) -> None:
    mixed = run_of(run(rt, request(rt, "gone", "ann"), request(rt, "bob", "bob")))
    others = run_of(run(rt, request(rt, "cid", "cid"), request(rt, "dan", "dan")))

    assert run_history.remove("gone") == [str(mixed.id)]
    assert run_history.remove("gone") == []
    assert "user:dan" in LOOP.run(_read(str(others.id))).tags


@pytest.mark.parametrize(
    ("lease_s", "state_age_s", "ended"),
    [(60, 10_000, False), (-1000, 1000, False), (-1000, 10_000, True)],
    ids=["it works", "it may be at single photos", "dead"],
)
def test_a_run_of_many_photos_that_died_is_brought_to_an_end(
    rt: MemoryRuntime, lease_s: float, state_age_s: float, ended: bool
) -> None:
    one, other = request(rt, "ann", "ann"), request(rt, "bob", "bob")
    state: State[Any] = Running(timestamp=datetime.now(UTC) - timedelta(seconds=state_age_s))
    photos = [each.model_dump(mode="json") for each in (one, other)]
    dead = FlowRun(flow_id=UUID(int=1), state=state, parameters={"photos": photos})
    rt.ledger.claim(one.photo, "ann", str(dead.id), lease_s)
    with using(rt):
        assert (_end_of(dead) is not None) == ended


def test_what_a_store_did_not_answer_for_is_tried_again(rt: MemoryRuntime) -> None:
    photos = [request(rt, "ann", "ann"), request(rt, "bob", "bob")]
    silent = replacing(rt, "ledger", Failing(rt.ledger, "claim", 2, False, BackendUnavailable("no answer")))

    assert run(silent, *photos).message == "2 accepted"
