"""What dead runs left behind is finished, and stores that do not agree are brought to agree."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.states import Pending, Running

from flows.process_photo import process_photo
from flows.reconcile import reconcile
from selfiegate import thumbnails as thumbs
from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment import protocol
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import BackendUnavailable
from selfiegate.model import Claim, PhotoRef
from selfiegate.runtime import MemoryRuntime, Runtime, memory_runtime, using
from selfiegate.settings import Settings
from tasks.audits import runs_under_way
from tests.flowruns import LOOP, run
from tests.present import present
from tests.protocol.lagging import LaggingFaces
from tests.runtimes import THRESHOLDS, Failing, assert_consistent, replacing

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def rt() -> MemoryRuntime:
    return memory_runtime(Settings(audit_pause_s=0))


def reconciled(rt: Runtime, **parameters: Any) -> dict[str, int]:
    async def once() -> dict[str, int]:
        found: dict[str, int] = await reconcile(**parameters)
        await asyncio.sleep(0.3)  # see tests.flowruns
        return found

    with using(rt):
        return LOOP.run(once())


def died(rt: MemoryRuntime, photo: PhotoRef, user_id: str) -> None:
    """Leave a row as a run that was killed leaves it."""
    rt.ledger.renew(rt.ledger.claim(photo, user_id, "a run that died", 60), -1)


async def started_run(photo: PhotoRef, user_id: str) -> Any:
    """Leave a flow run that Prefect takes for running, and return its id."""
    async with get_client() as client:
        parameters = {"photo": photo.model_dump(), "user_id": user_id}
        return (await client.create_flow_run(process_photo, parameters=parameters, state=Running())).id


def test_a_photo_that_a_newer_version_described_is_run_again(rt: MemoryRuntime, ann: PhotoRef) -> None:
    died(rt, PhotoRef.from_store({**ann.model_dump(), "later": {"by": "a newer version"}}), "user_a")

    assert reconciled(rt, audit=True) == {"unfinished photo": 1}
    profile = present(rt.profiles.get("user_a"))
    assert (profile.photo, profile.photo.model_extra) == (ann, {"later": {"by": "a newer version"}})


def test_where_all_is_well_nothing_is_done(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")

    assert reconciled(rt, audit=True, repair=True) == {}
    assert_consistent(rt, (ann, "user_a"))


def test_a_face_of_two_users_is_taken_from_the_younger(rt: MemoryRuntime) -> None:
    lagging = LaggingFaces(one_sided=False, thresholds=THRESHOLDS)
    rt = replacing(replace(rt, settings=Settings(recheck_after_s=0.01)), "faces", lagging)
    lagging.blind = True
    for user_id in ("user_a", "user_b"):
        run(rt, rt.photos.add(f"{user_id}/one-1.png", scripted_photo("one")), user_id)
    lagging.blind = False
    time.sleep(0.1)

    assert reconciled(rt) == {"late look": 1}
    assert [rt.ledger.claims_of(user_id)[0].status for user_id in ("user_a", "user_b")] == ["accepted", "rejected"]
    assert [profile.user_id for profile in rt.profiles.all()] == ["user_a"]
    assert [verdict.user_id for verdict in rt.notifier.sent] == ["user_b"]


def test_a_photo_whose_run_died_is_run_again(rt: MemoryRuntime, ann: PhotoRef) -> None:
    died(rt, ann, "user_a")

    assert reconciled(rt) == {"unfinished photo": 1}
    assert present(rt.ledger.get(ann, "user_a")).status == "accepted"
    assert reconciled(rt) == {}


def test_a_photo_whose_run_lives_is_left_alone(rt: MemoryRuntime, ann: PhotoRef) -> None:
    rt.ledger.claim(ann, "user_a", "a run that lives", 60)

    assert reconciled(rt) == {}
    assert present(rt.ledger.get(ann, "user_a")).owner == "a run that lives"


def test_a_run_that_died_after_enrolling_leaves_no_second_face(rt: MemoryRuntime, ann: PhotoRef) -> None:
    claim = rt.ledger.claim(ann, "user_a", "a run that died", 60)
    protocol.enrol_face(rt, claim)
    rt.ledger.renew(claim, -1)
    reconciled(rt)

    assert_consistent(rt, (ann, "user_a"))


def test_a_user_who_was_not_told_is_told_once(rt: MemoryRuntime) -> None:
    photo = rt.photos.add("nobody.png", scripted_photo())
    broken = replacing(rt, "notifier", Failing(rt.notifier, "notify", float("inf"), after=False))
    run(broken, photo, "user_a")
    assert reconciled(rt) == {}  # six attempts failed: it is left alone for a while

    rt = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.0001}))
    rt.ledger.renew(present(rt.ledger.get(photo, "user_a")), -1)
    assert reconciled(rt)["untold user"] == 1
    assert [told.user_id for told in rt.notifier.sent] == ["user_a"]
    assert "untold user" not in reconciled(rt)


def test_a_user_whom_a_silent_backfill_would_not_have_told_is_not_told(rt: MemoryRuntime) -> None:
    photo = rt.photos.add("nobody.png", scripted_photo())
    rt.ledger.claim(photo, "user_a", "a silent backfill that died", -1, notify=False)

    assert reconciled(rt) == {"unfinished photo": 1}
    assert present(rt.ledger.get(photo, "user_a")).status == "rejected"
    assert rt.notifier.sent == []


def test_photos_that_never_succeed_do_not_starve_the_others(rt: MemoryRuntime, ann: PhotoRef) -> None:
    stuck = rt.photos.add("stuck.png", scripted_photo("bob"))
    rt.ledger.claim(stuck, "user_b", "a run that died", 60)
    died(rt, stuck, "user_b")
    rt = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.001}))
    time.sleep(0.01)
    died(rt, ann, "user_a")

    assert reconciled(rt, limit=1)["unfinished photo"] == 1
    assert present(rt.ledger.get(ann, "user_a")).status == "accepted"


def test_orphans_are_listed_and_left_alone_unless_repair_is_asked(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    older = rt.photos.add("ann/old.png", scripted_photo("ann~"))
    run(rt, older, "user_a", "0000000000000001")  # late, and older than the other one
    rt.faces.enrol(older, "user_a")
    rt.faces.enrol(rt.photos.add("old.png", scripted_photo("old")), "of the workshop")
    rt.thumbnails.put(f"{thumbs.folder(older, 'user_a')}/250x250.jpg", b"", "image/jpeg")
    found = {
        "face without a profile": 1,
        "face that the ledger does not know": 1,
        "thumbnails without a profile": 1,
    }

    assert reconciled(rt, audit=True) == found
    assert reconciled(rt, repair=True) == found
    assert reconciled(rt, audit=True) == {"face that the ledger does not know": 1}
    assert {face.user_id for face in rt.faces.faces()} == {"user_a", "of the workshop"}
    assert len(rt.thumbnails.keys()) == 1


def test_what_a_run_is_working_on_is_no_orphan(rt: MemoryRuntime, ann: PhotoRef) -> None:
    claim = rt.ledger.claim(ann, "user_a", "a run that lives", 60)
    protocol.enrol_face(rt, claim)
    rt.thumbnails.put(f"{thumbs.folder(ann, 'user_a')}/250x250.jpg", b"", "image/jpeg")

    assert reconciled(rt, repair=True) == {}
    assert rt.faces.stats().faces == len(rt.thumbnails.keys()) == 1


def test_a_profile_whose_face_is_gone_is_enrolled_again(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    rt.faces.remove(present(rt.profiles.get("user_a")).face_id)

    assert reconciled(rt, audit=True) == {"profile without its face": 1}
    assert reconciled(rt, repair=True) == {"profile without its face": 1}
    assert_consistent(rt, (ann, "user_a"))


def test_a_profile_whose_thumbnails_are_gone_gets_them_again(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    before = rt.profiles.get("user_a")
    rt.thumbnails.remove(thumbs.folder(ann, "user_a"))

    assert reconciled(rt, audit=True) == {"profile without its thumbnails": 1}
    assert reconciled(rt, repair=True) == {"profile without its thumbnails": 1}
    assert rt.profiles.get("user_a") == before
    assert_consistent(rt, (ann, "user_a"))


def test_a_profile_whose_face_somebody_else_has_by_now_goes(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    rt.faces.remove(present(rt.profiles.get("user_a")).face_id)
    again = rt.photos.add("ann/again.png", scripted_photo("ann~"))
    run(rt, again, "user_b")
    reconciled(rt, repair=True)

    assert rt.profiles.get("user_a") is None
    assert present(rt.ledger.get(ann, "user_a")).status == "rejected"
    assert_consistent(rt, (ann, "user_a"), (again, "user_b"))


def test_a_repair_that_stopped_half_way_is_finished_by_the_next(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    rt.faces.remove(present(rt.profiles.get("user_a")).face_id)
    rt.ledger.reopen(present(rt.ledger.get(ann, "user_a")))
    reconciled(rt, repair=True)

    assert reconciled(rt, audit=True) == {}
    assert_consistent(rt, (ann, "user_a"))


def test_runs_of_a_process_that_died_show_as_crashed(rt: MemoryRuntime, ann: PhotoRef) -> None:
    async def started(minutes_ago: int, photo: PhotoRef) -> Any:
        run_id = await started_run(photo, "user_a")
        rt.ledger.claim(photo, "user_a", str(run_id), lease_s=-120 * minutes_ago)
        return run_id

    async def state_of(run_id: Any) -> str | None:
        async with get_client() as client:
            return present((await client.read_flow_run(run_id)).state).name

    rt = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.01}))
    bob = rt.photos.add("bob.png", scripted_photo("bob"))
    dead, alive = LOOP.run(started(1, ann)), LOOP.run(started(-1, bob))
    LOOP.run(asyncio.sleep(0.3))

    assert reconciled(rt)["runs of dead processes"] >= 1
    assert LOOP.run(state_of(dead)) == "Crashed"
    assert LOOP.run(state_of(alive)) == "Running"


def test_a_face_that_no_row_accounts_for_stays_though_its_user_is_known(rt: MemoryRuntime, ann: PhotoRef) -> None:
    rt.faces.enrol(ann, "user_a")  # by an older system
    run(rt, rt.photos.add("junk.png", scripted_photo()), "user_a")
    reconciled(rt, repair=True)

    assert rt.faces.stats().faces == 1


def test_what_others_keep_beside_our_thumbnails_stays(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    for key in (".DS_Store", "user_w/me.jpg", "user_w-0123456789abcdef/"):
        rt.thumbnails.put(key, b"", "image/jpeg")
    reconciled(rt, repair=True)

    assert len(rt.thumbnails.keys()) == 4


def test_an_accepted_photo_whose_profile_was_lost_gets_it_back(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    rt.profiles.remove(present(rt.profiles.get("user_a")))

    assert reconciled(rt, repair=True) == {"accepted photo without its profile": 1}
    assert_consistent(rt, (ann, "user_a"))


def test_a_profile_whose_photo_is_gone_stays_and_nobody_is_told(rt: MemoryRuntime, ann: PhotoRef) -> None:
    run(rt, ann, "user_a")
    rt.faces.remove(present(rt.profiles.get("user_a")).face_id)
    rt.photos.add("ann/selfie.png", b"overwritten")
    for n in range(100):  # so many later photos that this one is not remembered
        rt.faces.detect(rt.photos.add(f"{n}.png", scripted_photo(f"passer-by {n}")))
    reconciled(rt, repair=True)

    assert present(rt.profiles.get("user_a")).photo == ann
    assert present(rt.ledger.get(ann, "user_a")).status == "accepted"
    assert rt.notifier.sent == []


def test_a_store_that_is_missing_is_not_repaired_away(rt: MemoryRuntime) -> None:
    for n in range(25):
        photo = rt.photos.add(f"{n}.png", scripted_photo(f"person {n}"))
        finish(rt, protocol.claim_photo(rt, photo, f"user_{n}", "run"))
    for face in list(rt.faces.faces()):
        rt.faces.remove(face.face_id)

    assert reconciled(rt, repair=True) == {"profile without its face": 25}
    assert len(list(rt.profiles.all())) == 25
    assert rt.faces.stats().faces == 0


def test_a_photo_that_kills_its_runs_is_left_alone_for_longer_each_time(rt: MemoryRuntime, ann: PhotoRef) -> None:
    for _ in range(5):
        died(rt, ann, "user_a")

    assert reconciled(rt) == {}
    rt = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.001}))
    time.sleep(0.05)
    assert reconciled(rt)["unfinished photo"] == 1


def test_a_run_that_died_before_it_claimed_its_photo_is_started_again(rt: MemoryRuntime, ann: PhotoRef) -> None:
    async def pending() -> Any:
        async with get_client() as client:
            flow_id = await client.create_flow(process_photo)
            deployment_id = await client.create_deployment(flow_id, "test")
            made = await client.create_flow_run_from_deployment(
                deployment_id, parameters={"photo": ann.model_dump(), "user_id": "user_a"}, state=Pending()
            )
            return made.id

    async def state_of(run_id: Any) -> str | None:
        async with get_client() as client:
            return present((await client.read_flow_run(run_id)).state).name

    rt = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.01}))
    run_id = LOOP.run(pending())
    LOOP.run(asyncio.sleep(0.3))
    assert LOOP.run(state_of(run_id)) == "Pending"
    reconciled(rt)
    assert LOOP.run(state_of(run_id)) == "Pending"  # it may be waiting for somebody else's claim

    rt = replace(rt, settings=rt.settings.model_copy(update={"silent_run_s": 0}))
    assert reconciled(rt)["runs of dead processes"] >= 1
    assert LOOP.run(state_of(run_id)) == "Scheduled"


def test_a_ledger_that_does_not_answer_for_a_run_does_not_keep_photos_from_being_run(
    rt: MemoryRuntime, ann: PhotoRef
) -> None:
    class Silent(Failing):
        def get(self, photo: PhotoRef, user_id: str) -> Claim | None:
            if user_id != "user_b":
                return rt.ledger.get(photo, user_id)
            self.left -= 1
            raise BackendUnavailable("no")

    bob = rt.photos.add("bob.png", scripted_photo("bob"))
    LOOP.run(started_run(bob, "user_b"))
    died(rt, ann, "user_a")
    LOOP.run(asyncio.sleep(0.3))
    ledger = Silent(rt.ledger, "", 1, after=False)
    hasty = replacing(rt, "ledger", ledger)

    assert reconciled(replace(hasty, settings=rt.settings.model_copy(update={"lease_s": 0.01}))) == {
        "unfinished photo": 1
    }
    assert ledger.left == 0


def test_a_part_that_fails_ends_the_run_red_and_the_others_are_done(rt: MemoryRuntime, ann: PhotoRef) -> None:
    died(rt, ann, "user_a")
    odd = replacing(rt, "erasures", Failing(rt.erasures, "unfinished", 1, after=False, error=ValueError("a bad row")))
    state = LOOP.run(ended(odd))

    assert (state.name, state.message) == ("Failed", "erasures: ValueError: a bad row")
    assert present(rt.ledger.get(ann, "user_a")).status == "accepted"


async def ended(rt: Runtime) -> State[Any]:
    with using(rt):
        state: State[Any] = await reconcile(return_state=True)
        await asyncio.sleep(0.3)
        return state


def test_all_runs_of_dead_processes_are_closed_however_many(rt: MemoryRuntime, ann: PhotoRef) -> None:
    """More than one page of them."""

    async def start(number: int) -> None:
        await asyncio.gather(*(started_run(ann, f"user_{n}") for n in range(number)))

    async def under_way() -> int:
        await asyncio.sleep(0.3)
        async with get_client() as client:
            return len(await client.read_flow_runs(flow_run_filter=runs_under_way(datetime.now(UTC))))

    reconciled(rt)
    LOOP.run(start(60))
    rt = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.01, "silent_run_s": 0}))

    assert reconciled(rt)["runs of dead processes"] >= 60
    assert LOOP.run(under_way()) == 0
