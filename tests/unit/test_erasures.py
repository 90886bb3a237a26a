"""A user is forgotten whatever runs are at the user's photos, and wherever the erasure is interrupted."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from selfiegate import audit
from selfiegate.backends.scripted import scripted_photo
from selfiegate.clock import now_us, seconds_until
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import (
    BackendMisconfigured,
    BackendUnavailable,
    ClaimLost,
    LeftForLater,
    SelfiegateError,
    UserForgotten,
)
from selfiegate.leases import kept
from selfiegate.model import Claim, PhotoRef
from selfiegate.privacy import erasures, sweeps
from selfiegate.privacy.export import export_user
from selfiegate.privacy.sequence import forget_user
from selfiegate.records import Erasure
from selfiegate.runtime import MemoryRuntime, Runtime
from selfiegate.steps import inline
from tests.present import present
from tests.runtimes import Failing, Meanwhile, replacing

WRITES = [
    ("ledger", "claim"),
    ("ledger", "note_face"),
    ("ledger", "accept"),
    ("ledger", "decide"),
    ("faces", "detect"),
    ("faces", "search"),
    ("faces", "enrol"),
    ("faces", "rivals"),
    ("thumbnails", "put"),
    ("profiles", "put"),
]
"""The calls of a run at which its user may be forgotten."""
REMOVALS = [
    ("erasures", "put"),
    ("ledger", "remove"),
    ("faces", "page_of"),
    ("faces", "remove"),
    ("thumbnails", "keys"),
    ("thumbnails", "remove"),
    ("profiles", "remove"),
    ("photos", "erase"),
]
"""The calls of an erasure."""


def process(rt: Runtime, photo: PhotoRef, user_id: str, order: str = "") -> Claim:
    claim = claim_photo(rt, photo, user_id, "run", order)
    return claim if claim.verdict else finish(rt, claim)


def forget(rt: Runtime, user_id: str, photos: bool = False, rows_at_once: int = sweeps.SWEEP_ROWS) -> Erasure:
    """Take the steps of an erasure without the wait between its sweeps."""
    erasure = erasures.request_erasure(rt, user_id, "forget-run", photos)
    while erasure.sweeps < 2:
        erasure = sweeps.sweep(rt, erasure, rows_at_once)
    while erasure.originals:
        erasure = sweeps.erase_originals(rt, erasure)
    return erasures.write_receipt(rt, erasure)


def dying(rt: MemoryRuntime) -> MemoryRuntime:
    """Return the runtime of a process whose leases are over at once."""
    return replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0}))


def assert_nothing_is_held(rt: Runtime, user_id: str) -> None:
    found = export_user(rt, user_id)

    assert (found["profile"], found["faces"], found["thumbnails"], found["photos"]) == (None, [], {}, [])


def test_a_profile_that_changes_before_it_is_removed_is_counted_once(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "user_a")
    profile = present(rt.profiles.get("user_a"))
    newer = profile.model_copy(update={"revision": profile.revision + 1})
    changed = Meanwhile(rt.profiles, "remove", False, lambda: rt.profiles.put(newer, replacing=profile))

    assert forget(replacing(rt, "profiles", changed), "user_a").removed["profile"] == 1
    assert_nothing_is_held(rt, "user_a")


def test_all_of_a_user_goes_and_others_stay(rt: MemoryRuntime, ann: PhotoRef) -> None:
    bob = rt.photos.add("bob/selfie.png", scripted_photo("bob"))
    refused = rt.photos.add("ann/nobody.png", scripted_photo())
    for photo, user_id in ((ann, "ann"), (refused, "ann"), (bob, "bob")):
        process(rt, photo, user_id)
    receipt = forget(rt, "ann")

    assert_nothing_is_held(rt, "ann")
    assert receipt.removed == {"face": 1, "ledger row": 2, "profile": 1, "thumbnail": 1}
    assert (receipt.run, receipt.found, receipt.finished_at is not None) == ("forget-run", (), True)
    assert export_user(rt, "bob")["profile"]["photo"] == bob.model_dump()
    assert len(export_user(rt, "bob")["faces"]) == len(export_user(rt, "bob")["thumbnails"]) == 1
    assert rt.photos.read(ann)


def test_the_receipt_names_neither_faces_nor_photos(rt: MemoryRuntime, ann: PhotoRef) -> None:
    face_id = process(rt, ann, "ann").face_id
    receipt = forget(rt, "ann", photos=True).model_dump_json()

    assert present(face_id) not in receipt
    assert "selfie" not in receipt


def test_forgetting_again_changes_nothing_more(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    first, second = forget(rt, "ann"), forget(rt, "ann")

    assert second.removed == first.removed
    assert forget(rt, "a stranger").removed == {}


def test_original_photos_go_where_that_is_asked_and_replaced_ones_too(rt: MemoryRuntime, ann: PhotoRef) -> None:
    newer = rt.photos.add("ann/newer.png", scripted_photo("ann~"))
    for photo in (ann, newer):
        process(rt, photo, "ann")
    receipt = forget(rt, "ann", photos=True)

    assert receipt.removed["photo"] == 2
    for photo in (ann, newer):
        with pytest.raises(SelfiegateError):
            rt.photos.find(photo.key)


def test_the_face_is_free_for_another_user_then(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    forget(rt, "ann")

    assert process(rt, ann, "bob").status == "accepted"


def test_photos_from_before_are_not_taken_and_later_ones_are(rt: MemoryRuntime, ann: PhotoRef) -> None:
    before = f"{time.time_ns() // 1000:016d}.0"
    forget(rt, "ann")

    with pytest.raises(UserForgotten, match="ann asked to be forgotten"):
        process(rt, ann, "ann", before)
    assert_nothing_is_held(rt, "ann")
    assert erasures.is_forgotten(rt.erasures, "ann", before)
    assert not erasures.is_forgotten(rt.erasures, "bob", before)
    assert not erasures.is_forgotten(rt.erasures, "ann", "")
    assert process(rt, ann, "ann", f"{time.time_ns() // 1000:016d}.0").status == "accepted"


def test_new_photos_wait_until_an_erasure_is_finished(rt: MemoryRuntime, ann: PhotoRef) -> None:
    erasure = erasures.request_erasure(rt, "ann", "forget-run")

    with pytest.raises(BackendUnavailable, match="ann is being forgotten"):
        process(rt, ann, "ann")
    erasures.write_receipt(rt, sweeps.sweep(rt, erasure))
    assert process(rt, ann, "ann").status == "accepted"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("part", "method"), WRITES)
def test_a_run_under_way_leaves_nothing(rt: MemoryRuntime, ann: PhotoRef, part: str, method: str, after: bool) -> None:
    ordered: list[Erasure] = []

    def begin() -> None:
        ordered.append(sweeps.sweep(rt, erasures.request_erasure(rt, "ann", "forget-run")))

    disturbed = Meanwhile(getattr(rt, part), method, after, begin)
    watched = replacing(rt, part, disturbed)
    with suppress(ClaimLost, BackendUnavailable):  # forgotten after its verdict, it does not notice
        process(watched, ann, "ann")
    assert disturbed.left == 0
    erasures.write_receipt(rt, sweeps.sweep(rt, ordered[0]))

    assert_nothing_is_held(rt, "ann")
    assert rt.faces.stats().faces == len(rt.thumbnails.keys()) == 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("part", "method"), REMOVALS)
def test_an_erasure_that_fails_anywhere_is_carried_on(
    rt: MemoryRuntime, ann: PhotoRef, part: str, method: str, after: bool
) -> None:
    rt = dying(rt)
    process(rt, ann, "ann")
    erasures.request_erasure(rt, "ann", "a run that died", photos=True)
    broken = replacing(rt, part, Failing(getattr(rt, part), method, 1, after))
    with pytest.raises(BackendUnavailable):
        forget(broken, "ann")
    (left,) = erasures.unattended(rt)
    receipt = forget(rt, left.user_id, left.photos)

    assert_nothing_is_held(rt, "ann")
    assert receipt.removed == {"face": 1, "ledger row": 1, "photo": 1, "profile": 1, "thumbnail": 1}
    assert erasures.unattended(rt) == []


def test_an_erasure_that_another_run_took_over_stops(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    first = erasures.request_erasure(rt, "ann", "run-1")
    second = erasures.request_erasure(rt, "ann", "run-2", photos=True)

    assert second.asked_at > first.asked_at  # what was uploaded between is to be forgotten, too
    assert second.photos
    for step in (sweeps.sweep, erasures.write_receipt):
        with pytest.raises(ClaimLost):
            step(rt, first)
    assert export_user(rt, "ann")["profile"]


def test_the_wait_lasts_as_long_as_the_leases_of_runs_under_way(rt: MemoryRuntime, ann: PhotoRef) -> None:
    claim = claim_photo(rt, ann, "ann", "run")
    erasure = sweeps.sweep(rt, erasures.request_erasure(rt, "ann", "forget-run"))

    assert erasure.leases_end_at >= claim.lease_until


def test_the_wait_is_for_leases_that_were_renewed_after_the_sweep_had_read_them(
    rt: MemoryRuntime, ann: PhotoRef
) -> None:
    claim = claim_photo(rt, ann, "ann", "run")

    def renew() -> None:
        rt.ledger.renew(claim, rt.settings.lease_s)

    erasure = erasures.request_erasure(rt, "ann", "forget-run")
    renewed = Meanwhile(rt.ledger, "claims_of", after=True, what=renew)
    time.sleep(0.01)
    erasure = sweeps.sweep(replace(rt, ledger=renewed), erasure)

    assert (renewed.left, erasure.sweeps) == (0, 1)
    assert erasure.leases_end_at > claim.lease_until + 10_000


def test_there_is_no_wait_where_all_photos_are_decided(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    erasure = sweeps.sweep(rt, erasures.request_erasure(rt, "ann", "forget-run"))

    assert seconds_until(erasure.leases_end_at) <= 0


def test_a_rival_is_not_refused_for_a_face_that_is_being_forgotten(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    erasure = erasures.request_erasure(rt, "ann", "forget-run")
    for row in rt.ledger.claims_of("ann"):
        rt.ledger.remove(row)  # the sweep has come so far
    slow = Meanwhile(rt.faces, "holds", after=False, what=lambda: sweeps.sweep(rt, erasure))

    assert process(replace(rt, faces=slow), ann, "bob").status == "accepted"


@pytest.mark.parametrize(
    ("part", "method"), [("faces", "enrol"), ("thumbnails", "put"), ("profiles", "put"), ("ledger", "decide")]
)
def test_a_run_that_slept_while_its_user_was_forgotten_takes_back_what_it_writes(
    rt: MemoryRuntime, ann: PhotoRef, part: str, method: str
) -> None:
    slept = Meanwhile(getattr(rt, part), method, after=False, what=lambda: forget(rt, "ann"))

    with pytest.raises(UserForgotten):
        process(replacing(rt, part, slept), ann, "ann")
    assert_nothing_is_held(rt, "ann")


def test_a_face_that_a_sleeping_run_left_is_found_by_the_audit(rt: MemoryRuntime, ann: PhotoRef) -> None:
    forget(rt, "ann")
    rt.faces.enrol(ann, "ann")
    (orphan,) = audit.orphans(rt)

    assert orphan.kind is audit.Kind.FACE
    assert audit.remove(rt, orphan)
    assert_nothing_is_held(rt, "ann")


def test_an_export_holds_all_there_is(rt: MemoryRuntime, ann: PhotoRef) -> None:
    row = process(rt, ann, "ann")
    found = export_user(rt, "ann")

    assert found["profile"]["face_id"] == found["faces"][0]["face_id"] == row.face_id
    assert found["faces"][0]["embedding"] == pytest.approx(list(present(rt.faces.template(present(row.face_id)))))
    assert [photo["photo"] for photo in found["photos"]] == [ann.model_dump()]
    assert len(found["thumbnails"]) == 1


def test_rejected_photos_expire_and_others_do_not(rt: MemoryRuntime, ann: PhotoRef) -> None:
    nobody = rt.photos.add("bob/nobody.png", scripted_photo())
    for photo, user_id in ((ann, "ann"), (nobody, "bob")):
        process(rt, photo, user_id)
    soon = rt.settings.model_copy(update={"rejected_days": 1e-9})
    time.sleep(0.001)

    assert erasures.expire(rt) == 0
    assert erasures.expire(replace(rt, settings=soon)) == 1
    assert rt.ledger.get(nobody, "bob") is None
    assert present(rt.ledger.get(ann, "ann")).status == "accepted"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_photo_that_is_claimed_while_all_of_an_erasure_passes_is_not_taken(
    rt: MemoryRuntime, ann: PhotoRef, after: bool
) -> None:
    before = f"{time.time_ns() // 1000:016d}.0"
    watched = replace(rt, ledger=Meanwhile(rt.ledger, "claim", after, lambda: forget(rt, "ann")))

    with pytest.raises(UserForgotten):
        process(watched, ann, "ann", before)
    assert_nothing_is_held(rt, "ann")


def test_what_was_interrupted_is_carried_on_as_of_then_and_never_anew(rt: MemoryRuntime, ann: PhotoRef) -> None:
    old = erasures.request_erasure(dying(rt), "ann", "a run that died")
    carried = erasures.request_erasure(rt, "ann", "reconcile", carry_on=old.asked_at)
    erasures.write_receipt(rt, sweeps.sweep(rt, carried))
    process(rt, ann, "ann")

    with pytest.raises(ClaimLost):  # another reconcile, which listed it before
        erasures.request_erasure(rt, "ann", "another reconcile", carry_on=old.asked_at)
    assert carried.asked_at == old.asked_at
    assert export_user(rt, "ann")["profile"]


def test_a_run_that_is_started_again_has_its_receipt(rt: MemoryRuntime, ann: PhotoRef) -> None:
    receipt = forget(rt, "ann")
    process(rt, ann, "ann")

    assert (
        erasures.request_erasure(rt, "ann", "forget-run").model_copy(update={"revision": receipt.revision}) == receipt
    )
    assert export_user(rt, "ann")["profile"]


def test_a_photo_that_is_not_taken_leaves_the_row_of_another_run_alone(rt: MemoryRuntime, ann: PhotoRef) -> None:
    def all_of_it_passes() -> None:
        forget(rt, "ann")
        finish(rt, claim_photo(rt, ann, "ann", "another run"))

    before = f"{time.time_ns() // 1000:016d}.0"
    watched = replace(rt, ledger=Meanwhile(rt.ledger, "claim", after=True, what=all_of_it_passes))
    with pytest.raises(UserForgotten):
        process(watched, ann, "ann", before)

    assert present(rt.ledger.get(ann, "ann")).status == "accepted"


def test_more_rows_than_fit_into_one_item_go_some_at_a_time(rt: MemoryRuntime, ann: PhotoRef) -> None:
    for n in range(10):
        process(rt, rt.photos.add(f"ann/{n}.png", scripted_photo(size=(200, 200 + n))), "ann")
    process(rt, ann, "ann")
    receipt = forget(rt, "ann", photos=True, rows_at_once=3)

    assert_nothing_is_held(rt, "ann")
    assert receipt.removed == {"face": 1, "ledger row": 11, "photo": 11, "profile": 1, "thumbnail": 1}


def test_a_face_that_came_after_the_sweep_is_taken_back_by_its_run(rt: MemoryRuntime, ann: PhotoRef) -> None:
    late = Meanwhile(rt.faces, "enrol", after=False, what=lambda: forget(rt, "ann"))

    with pytest.raises(UserForgotten):
        process(replace(rt, faces=late), ann, "ann")
    assert rt.faces.stats().faces == len(rt.thumbnails.keys()) == 0


def test_a_photo_uploaded_just_so_again_is_not_refused_for_the_row_of_an_old_event(
    rt: MemoryRuntime, ann: PhotoRef
) -> None:
    before = f"{time.time_ns() // 1000:016d}.0"
    forget(rt, "ann")
    rt.ledger.claim(ann, "ann", "a run that died then", 60, before)
    again = f"{time.time_ns() // 1000:016d}.0"

    with pytest.raises(BackendUnavailable):
        process(rt, ann, "ann", again)
    assert process(rt, ann, "ann", again).status == "accepted"


def test_a_profile_that_came_after_the_sweep_is_taken_back_by_its_run(rt: MemoryRuntime, ann: PhotoRef) -> None:
    late = Meanwhile(rt.profiles, "put", after=False, what=lambda: forget(rt, "ann"))

    with pytest.raises(UserForgotten):
        process(replace(rt, profiles=late), ann, "ann")
    assert_nothing_is_held(rt, "ann")


def test_a_profile_whose_run_died_after_the_sweep_is_removed_by_the_audit(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    late = present(rt.profiles.get("ann"))
    forget(rt, "ann")
    rt.profiles.put(late, replacing=None)
    (orphan,) = audit.orphans(rt)

    assert audit.reopen(rt, orphan) is None
    assert audit.drop(rt, orphan)
    assert_nothing_is_held(rt, "ann")


def test_a_run_that_read_the_profile_before_does_not_replace_the_one_of_a_user_who_is_back(
    rt: MemoryRuntime, ann: PhotoRef
) -> None:
    process(rt, ann, "ann")
    before = present(rt.profiles.get("ann"))
    forget(rt, "ann")
    process(rt, ann, "ann")

    assert not rt.profiles.put(before.model_copy(update={"revision": before.revision + 1}), replacing=before)


def test_what_is_claimed_before_a_wish_can_be_seen_is_older_than_the_wish(rt: MemoryRuntime, ann: PhotoRef) -> None:
    claims: list[Claim] = []
    slow = Meanwhile(rt.erasures, "put", False, lambda: claims.append(claim_photo(rt, ann, "ann", "run")))
    erasure = erasures.request_erasure(replace(rt, erasures=slow), "ann", "forget-run")

    assert erasure.covers(claims[0])


def test_reconcile_leaves_an_erasure_alone_while_its_lease_lasts(rt: MemoryRuntime) -> None:
    live = erasures.request_erasure(rt, "ann", "a run that is at it")

    assert erasures.unattended(rt) == []
    with pytest.raises(ClaimLost):
        erasures.request_erasure(rt, "ann", "reconcile", carry_on=live.asked_at)
    assert sweeps.sweep(rt, live).sweeps == 1


def test_a_lease_that_is_kept_is_not_over(rt: MemoryRuntime) -> None:
    short = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 2.0}))
    live = erasures.request_erasure(short, "ann", "a run that is at it")
    with kept(erasures.lease_of(short, live)):
        time.sleep(3)
        unattended = erasures.unattended(rt)

    assert unattended == []
    assert [one.run for one in erasures.unattended(rt)] == ["a run that is at it"]  # given up in the end


def test_two_who_carry_on_at_once_are_one(rt: MemoryRuntime) -> None:
    dead = erasures.request_erasure(dying(rt), "ann", "a run that died")
    first = erasures.request_erasure(rt, "ann", "reconcile", carry_on=dead.asked_at)
    with pytest.raises(ClaimLost):
        erasures.request_erasure(rt, "ann", "another reconcile", carry_on=dead.asked_at)

    assert (first.attempt, sweeps.sweep(rt, first).sweeps) == (2, 1)
    with pytest.raises(ClaimLost):
        sweeps.sweep(rt, dead)


def test_the_same_run_started_again_stops_its_earlier_attempt(rt: MemoryRuntime) -> None:
    first = erasures.request_erasure(rt, "ann", "forget-run")
    second = erasures.request_erasure(rt, "ann", "forget-run")

    assert second.asked_at == first.asked_at
    with pytest.raises(ClaimLost):
        sweeps.sweep(rt, first)
    assert sweeps.sweep(rt, second).sweeps == 1


@pytest.mark.parametrize(("part", "method"), [removal for removal in REMOVALS if removal[1] in ("remove", "erase")])
def test_who_is_taken_over_removes_nothing_more(rt: MemoryRuntime, ann: PhotoRef, part: str, method: str) -> None:
    for n in range(3):  # a row that was refused has no face
        process(rt, rt.photos.add(f"ann/{n}.png", scripted_photo(size=(200, 200 + n))), "ann")
    process(rt, ann, "ann")
    rt.faces.enrol(rt.photos.add("ann/more.png", scripted_photo("bob")), "ann")
    stolen = Meanwhile(getattr(rt, part), method, True, lambda: erasures.request_erasure(rt, "ann", "another"))
    with pytest.raises(ClaimLost):
        forget(replacing(rt, part, stolen), "ann", photos=True)
    before = export_user(rt, "ann"), rt.photos.find(ann.key) if method != "erase" else None
    taken = present(rt.erasures.get("ann"))

    assert stolen.left == 0
    assert (export_user(rt, "ann"), before[1] and rt.photos.find(ann.key)) == before
    while taken.sweeps < 2:
        taken = sweeps.sweep(rt, taken)
    assert_nothing_is_held(rt, "ann")


def test_a_sweep_goes_on_where_the_one_before_was_cut_off(rt: MemoryRuntime, ann: PhotoRef) -> None:
    for n in range(5):
        process(rt, rt.photos.add(f"ann/{n}.png", scripted_photo(size=(200, 200 + n))), "ann")
    process(rt, ann, "ann")
    erasure = erasures.request_erasure(dying(rt), "ann", "a run that died", photos=True)
    parts = [sweeps.sweep(rt, erasure, rows_at_once=2, seconds=0) for _ in range(3)]
    carried = erasures.request_erasure(rt, "ann", "reconcile", carry_on=erasure.asked_at)
    while carried.sweeps < 2:
        carried = sweeps.sweep(rt, carried, seconds=0)
    while carried.originals:
        carried = sweeps.erase_originals(rt, carried, seconds=0)
    receipt = erasures.write_receipt(rt, carried)

    assert [sum(part.removed.values()) for part in parts] == [1, 2, 3]
    assert receipt.removed == {"face": 1, "ledger row": 6, "photo": 6, "profile": 1, "thumbnail": 1}
    assert_nothing_is_held(rt, "ann")


def test_a_sweep_whose_reply_was_lost_is_not_taken_for_the_next(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    erasure = erasures.request_erasure(rt, "ann", "forget-run")

    assert (sweeps.sweep(rt, erasure).sweeps, sweeps.sweep(rt, erasure).sweeps) == (1, 1)


def test_each_failed_attempt_puts_the_next_off_for_twice_as_long_up_to_a_day(rt: MemoryRuntime) -> None:
    erasure, pauses = erasures.request_erasure(rt, "ann", "forget-run"), list[float]()
    for _ in range(14):
        put_off = erasures.put_off(rt, erasure, "AccessDenied")
        pauses.append(round(seconds_until(put_off.lease_until)))
        assert [one.problem for one in erasures.unattended(rt)] == ["AccessDenied"]
        erasure = erasures.request_erasure(rt, "ann", "forget-run")

    assert pauses == [min(60 * 2**n, 86_400) for n in range(14)]
    assert erasure.problem == ""


def test_a_renewal_that_comes_late_does_not_shorten_the_pause(rt: MemoryRuntime) -> None:
    erasure = erasures.request_erasure(rt, "ann", "forget-run")
    put_off = erasures.put_off(rt, erasure, "AccessDenied")
    erasures.lease_of(rt, erasure).give_up()

    assert present(rt.erasures.get("ann")).lease_until == put_off.lease_until


def test_originals_that_cannot_go_keep_nothing_else_and_can_be_given_up(rt: MemoryRuntime, ann: PhotoRef) -> None:
    newer = rt.photos.add("ann/newer.png", scripted_photo("ann~"))
    for photo in (ann, newer):
        process(rt, photo, "ann")
    locked = Failing(rt.photos, "erase", 100, after=False, error=BackendMisconfigured("AccessDenied"))
    with pytest.raises(BackendMisconfigured, match=r"2 original photos of ann .*AccessDenied.* ann --keep-originals"):
        forget(replacing(rt, "photos", locked), "ann", photos=True)
    before = present(rt.erasures.get("ann"))
    assert_nothing_is_held(rt, "ann")
    erasure = erasures.request_erasure(rt, "ann", "operator", keep_originals=True)
    receipt = erasures.write_receipt(rt, erasure)

    assert (receipt.asked_at, receipt.photos, receipt.kept_originals) == (before.asked_at, False, 2)
    assert "photo" not in receipt.removed
    assert [rt.photos.find(photo.key) for photo in (ann, newer)] == [ann, newer]


def test_an_original_that_cannot_go_keeps_no_other_back(rt: MemoryRuntime, ann: PhotoRef) -> None:
    newer = rt.photos.add("ann/newer.png", scripted_photo("ann~"))
    for photo in (ann, newer):
        process(rt, photo, "ann")
    locked = Failing(rt.photos, "erase", 1, after=False, error=BackendMisconfigured("AccessDenied"))
    with pytest.raises(BackendMisconfigured, match="1 original photos"):
        forget(replacing(rt, "photos", locked), "ann", photos=True)
    erasure = present(rt.erasures.get("ann"))

    assert (len(erasure.originals), erasure.removed["photo"]) == (1, 1)
    assert erasures.write_receipt(rt, sweeps.erase_originals(rt, erasure)).removed["photo"] == 2


def test_originals_that_a_version_before_noted_elsewhere_are_removed(rt: MemoryRuntime, ann: PhotoRef) -> None:
    found = (("photo", ann.model_dump_json()),)
    rt.erasures.put(Erasure(user_id="ann", asked_at=now_us(), run="old", photos=True, found=found), replacing=None)
    (left,) = erasures.unattended(rt)
    erasure = erasures.request_erasure(rt, "ann", "reconcile", left.photos, left.asked_at)
    while erasure.sweeps < 2:
        erasure = sweeps.sweep(rt, erasure)

    assert erasure.originals == (ann.model_dump_json(),)


@pytest.mark.parametrize("finished", [False, True], ids=["asked", "finished"])
def test_a_photo_without_a_time_that_is_claimed_while_its_user_asks_is_forgotten_for_good(
    rt: MemoryRuntime, ann: PhotoRef, finished: bool
) -> None:
    """The bridge may have seen the row, and deleted the photo's message."""

    def ask() -> None:
        forget(rt, "ann") if finished else erasures.request_erasure(rt, "ann", "forget-run")

    with pytest.raises(UserForgotten):
        process(replace(rt, ledger=Meanwhile(rt.ledger, "claim", after=False, what=ask)), ann, "ann")
    assert rt.ledger.get(ann, "ann") is None


def test_a_photo_uploaded_after_a_wish_does_not_lose_the_row_of_another_run(rt: MemoryRuntime, ann: PhotoRef) -> None:
    def comes_back() -> None:
        forget(rt, "ann")
        finish(rt, claim_photo(rt, ann, "ann", "another run"))

    with pytest.raises(UserForgotten):
        process(replace(rt, ledger=Meanwhile(rt.ledger, "claim", after=False, what=comes_back)), ann, "ann")
    assert present(rt.ledger.get(ann, "ann")).status == "accepted"


def test_who_carries_a_long_erasure_on_leaves_the_rest_to_the_next_reconcile(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    dead = erasures.request_erasure(dying(rt), "ann", "a run that died")

    def carry_on(run: str, seconds: float) -> Erasure:
        take = inline(rt, attempts=1)
        return asyncio.run(forget_user(rt, take, "ann", run, carry_on=dead.asked_at, carried_on_s=seconds))

    with pytest.raises(LeftForLater, match="goes on with the next reconcile"):
        carry_on("reconcile", 0)
    assert [(one.run, one.problem) for one in erasures.unattended(rt)] == [("reconcile", "")]
    assert carry_on("the next reconcile", 60).attempt == 3
    assert_nothing_is_held(rt, "ann")


def test_an_attempt_that_removed_something_has_failed_for_the_first_time(rt: MemoryRuntime, ann: PhotoRef) -> None:
    process(rt, ann, "ann")
    for _ in range(5):
        erasure = erasures.request_erasure(rt, "ann", "forget-run")
        erasures.put_off(rt, erasure, "AccessDenied")
    erasure = sweeps.sweep(rt, erasures.request_erasure(rt, "ann", "forget-run"))

    assert round(seconds_until(erasures.put_off(rt, erasure, "AccessDenied").lease_until)) == 60


def test_an_erasure_of_the_version_before_is_carried_on(rt: MemoryRuntime) -> None:
    stored = '{"user_id": "ann", "asked_at": 1, "run": "a dead run", "photos": false, "quiet_at": 1, "revision": 2}'
    rt.erasures.put(Erasure.from_store(stored), replacing=None)
    (left,) = erasures.unattended(rt)

    assert (left.attempt, left.sweeps) == (1, 0)
    assert erasures.request_erasure(rt, "ann", "reconcile", carry_on=left.asked_at).attempt == 2
