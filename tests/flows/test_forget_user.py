"""The flow that forgets a user: beside runs of the user's photos, after a crash, and in Prefect's own database."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters

from flows import reconcile as reconcile_flow
from flows.backfill import backfill
from flows.forget_user import forget_user
from flows.reconcile import reconcile
from selfiegate.backends.scripted import scripted_photo
from selfiegate.clock import in_us
from selfiegate.errors import BackendMisconfigured
from selfiegate.model import PhotoRef
from selfiegate.privacy import erasures, sweeps
from selfiegate.privacy.export import export_user
from selfiegate.runtime import MemoryRuntime, Runtime, memory_runtime, using
from selfiegate.settings import Settings
from tests.flowruns import LOOP, run
from tests.present import present
from tests.runtimes import Failing, Meanwhile, replacing, scripted_runtime

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def rt() -> MemoryRuntime:
    return memory_runtime(Settings(lease_s=1))


def forget(rt: Runtime, user_id: str, photos: bool = False) -> State[Any]:
    async def once() -> State[Any]:
        state = await forget_user(user_id, photos, return_state=True)
        await asyncio.sleep(0.3)  # see tests.flowruns
        return state

    with using(rt):
        return LOOP.run(once())


def is_held(rt: Runtime, user_id: str) -> bool:
    found = export_user(rt, user_id)
    return any(found[name] for name in ("profile", "faces", "thumbnails", "photos"))


def test_a_user_is_forgotten_with_a_receipt(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    state = forget(rt, "user_a", photos=True)
    receipt = state.result()

    assert state.name == "Forgotten"
    assert "1 face" in present(state.message)
    assert not is_held(rt, "user_a")
    assert {"face": 1, "photo": 1, "profile": 1}.items() <= receipt.removed.items()
    assert receipt.run == str(state.state_details.flow_run_id)
    assert forget(rt, "user_a").result().removed == receipt.removed


def test_prefect_forgets_the_users_runs_and_keeps_others(rt: MemoryRuntime, ann: PhotoRef) -> None:
    bob = rt.photos.add("bob/selfie.png", scripted_photo("bob"))
    runs = [
        run(rt, photo, user_id).state_details.flow_run_id for photo, user_id in ((ann, "user_a"), (bob, "userXa"))
    ]  # `_` is any letter to SQL
    removed = forget(rt, "user_a").result().removed["run"]

    async def left() -> tuple[set[Any], list[Any]]:
        async with get_client() as client:
            about = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=runs))
            of = filters.ArtifactFilter(flow_run_id=filters.ArtifactFilterFlowRunId(any_=runs))
            found = await client.read_flow_runs(flow_run_filter=about)
            return {one.id for one in found}, [
                page.flow_run_id for page in await client.read_artifacts(artifact_filter=of)
            ]

    assert removed >= 1
    assert LOOP.run(left()) == ({runs[1]}, [runs[1]])


@pytest.mark.parametrize(("part", "method"), [("faces", "enrol"), ("profiles", "put"), ("ledger", "decide")])
def test_a_run_under_way_ends_forgotten_and_leaves_nothing(
    rt: MemoryRuntime, ann: PhotoRef, part: str, method: str
) -> None:
    def begin() -> None:
        sweeps.sweep(rt, erasures.request_erasure(rt, "user_a", "a run that died then"))

    disturbed = Meanwhile(getattr(rt, part), method, after=False, what=begin)
    state = run(replacing(rt, part, disturbed), ann, "user_a")
    forget(rt, "user_a")

    assert (state.name, disturbed.left) == ("Forgotten", 0)
    assert not is_held(rt, "user_a")
    assert rt.faces.stats().faces == len(rt.thumbnails.keys()) == 0


def test_a_late_event_enrols_nobody_who_was_forgotten(rt: MemoryRuntime, ann: PhotoRef) -> None:
    before = f"{time.time_ns() // 1000:016d}.0"
    forget(rt, "user_a")

    assert run(rt, ann, "user_a", before).name == "Forgotten"
    assert not is_held(rt, "user_a")
    assert run(rt, ann, "user_a").name == "Accepted"


def test_reconcile_carries_on_what_was_interrupted(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    asked = erasures.request_erasure(rt, "user_a", "a run that died")
    held = asked.model_copy(update={"lease_until": in_us(600), "revision": asked.revision + 1})
    free = asked.model_copy(update={"lease_until": in_us(-1), "revision": asked.revision + 2})
    with using(rt):
        assert rt.erasures.put(held, replacing=asked)
        assert "interrupted erasures" not in LOOP.run(reconcile())
        assert rt.erasures.put(free, replacing=held)
        assert LOOP.run(reconcile()) == {"interrupted erasures": 1}
        assert LOOP.run(reconcile()) == {}

    assert not is_held(rt, "user_a")


def test_reconcile_does_not_run_a_forgotten_users_photo_again(rt: MemoryRuntime, ann: PhotoRef) -> None:
    row = rt.ledger.claim(ann, "user_a", "a run that died", 1)
    forget(rt, "user_a")
    with using(rt):
        assert LOOP.run(reconcile_flow.run_photo_again(row)) == "Forgotten"

    assert not is_held(rt, "user_a")


def test_the_nightly_backfill_passes_over_a_forgotten_users_photos(tmp_path: Path) -> None:
    rt, source = scripted_runtime(tmp_path / "home", Settings(home=tmp_path / "home")), tmp_path / "photos"
    for user_id in ("ann", "bob"):
        (source / user_id).mkdir(parents=True)
        (source / user_id / "selfie.png").write_bytes(scripted_photo(user_id))
    with using(rt):
        first = LOOP.run(backfill(str(source)))
        LOOP.run(forget_user("ann"))
        preview = LOOP.run(backfill(str(source), dry_run=True))
        again = LOOP.run(backfill(str(source)))

    assert (first["accepted"], first["skipped"]) == (2, 0)
    assert (again["accepted"], again["skipped"]) == (0, 2)
    assert (preview["accepted"], preview["skipped"]) == (1, 1)
    assert not is_held(rt, "ann")
    assert is_held(rt, "bob")


def test_another_run_of_it_takes_over(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")

    def take_over() -> None:
        erasures.request_erasure(rt, "user_a", "another run")

    overtaken = replace(rt, ledger=Meanwhile(rt.ledger, "claims_of", after=False, what=take_over))

    assert forget(overtaken, "user_a").name == "InProgress"
    assert forget(rt, "user_a").name == "Forgotten"
    assert not is_held(rt, "user_a")


def test_originals_that_cannot_go_fail_the_run_with_the_way_out(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    denied = Failing(rt.photos, "erase", 100, after=False, error=BackendMisconfigured("AccessDenied"))
    state = forget(replacing(rt, "photos", denied), "user_a", photos=True)

    assert state.name == "Failed"
    assert "AccessDenied" in present(state.message)
    assert "selfiegate forget user_a --keep-originals" in present(state.message)
    assert not is_held(rt, "user_a")
    with using(rt):
        receipt = LOOP.run(forget_user("user_a", keep_originals=True))
    assert present(receipt).kept_originals == 1
