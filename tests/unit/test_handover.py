"""Which events the bridge takes for lost, and which it need not send."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from deployments.bridge.handover import Handover, Standing
from deployments.bridge.health import Meters
from deployments.bridge.overtakes import OvertakeTracker
from deployments.bridge.pace import DEFAULT_PACE
from deployments.bridge.unclaimed import Unclaimed
from selfiegate.clock import now_us
from selfiegate.enrolment.uploads import claim_upload
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.model import PhotoRef
from selfiegate.privacy import erasures, sweeps
from selfiegate.records import Records
from selfiegate.runtime import MemoryRuntime, memory_runtime
from selfiegate.setting_groups import BridgeSettings
from selfiegate.stores.sqlite_records import sqlite_records

LONG = 3600.0


def test_a_photo_that_waits_its_turn_is_not_lost() -> None:
    tracker = OvertakeTracker(many=3)
    waiting = tracker.begin()
    for _ in range(2):
        tracker.end(tracker.begin(), claimed=True)

    assert not tracker.is_lost(waiting, LONG)


def test_a_photo_that_many_later_ones_overtook_is_lost() -> None:
    tracker = OvertakeTracker(many=3)
    waiting = tracker.begin()
    for _ in range(3):
        tracker.end(tracker.begin(), claimed=True)

    assert tracker.is_lost(waiting, LONG)


def test_neither_earlier_photos_nor_those_given_up_have_overtaken_it() -> None:
    tracker = OvertakeTracker(many=1)
    earlier = tracker.begin()
    waiting = tracker.begin()
    tracker.end(earlier, claimed=True)
    tracker.end(tracker.begin(), claimed=False)

    assert not tracker.is_lost(waiting, LONG)


def test_where_nothing_moves_for_so_long_all_are_lost() -> None:
    tracker = OvertakeTracker(many=3)

    assert tracker.is_lost(tracker.begin(), 0.0)


def test_a_photo_from_before_its_user_was_forgotten_is_not_handed_over() -> None:
    rt, sent = memory_runtime(), list[PhotoRequest]()
    photo = PhotoRef(bucket="bucket", key="ann/selfie.jpg", version="1")
    erasures.write_receipt(rt, erasures.request_erasure(rt, "ann", "run"))

    async def emit(photos: Sequence[PhotoRequest]) -> None:
        (one,) = photos
        sent.append(one)
        rt.ledger.claim(one.photo, one.user_id, "run", 60)

    records = Records(rt.ledger, rt.profiles, rt.erasures, rt.known_gallery)
    handover = Handover(BridgeSettings(), records, emit, Meters(BridgeSettings()), DEFAULT_PACE)
    early, late = (PhotoRequest(photo=photo, user_id="ann", upload_order=tracker) for tracker in ("0" * 16, "9" * 16))
    asyncio.run(handover.see_claimed(Unclaimed(early)))
    asyncio.run(handover.see_claimed(Unclaimed(late)))

    assert sent == [late]


def test_the_same_bytes_uploaded_again_are_handed_over_until_a_run_took_the_later_upload() -> None:
    rt, sent = memory_runtime(), list[PhotoRequest]()
    photo = PhotoRef(bucket="bucket", key="ann/selfie.jpg", version='etag:"1"')

    async def emit(photos: Sequence[PhotoRequest]) -> None:
        (one,) = photos
        sent.append(one)
        claim_upload(rt, one.photo, one.user_id, "run", one.upload_order)

    records = Records(rt.ledger, rt.profiles, rt.erasures, rt.known_gallery)
    handover = Handover(BridgeSettings(), records, emit, Meters(BridgeSettings()), DEFAULT_PACE)
    orders = [f"000000000000000{n}.{n:0>32}" for n in (1, 1, 2, 2, 1)]
    for order in orders:
        asyncio.run(handover.see_claimed(Unclaimed(PhotoRequest(photo=photo, user_id="ann", upload_order=order))))

    assert [one.upload_order for one in sent] == [orders[0], orders[2]]


def test_a_photo_that_others_overtake_goes_alone_and_one_of_many_that_wait_does_not() -> None:
    """Once with a run that claims all photos but two at their first event; once with none that claims at the first."""
    rt = memory_runtime()

    def events(names: Sequence[str], claims: Callable[[str, int], bool]) -> list[list[str]]:
        sent, tried = list[list[str]](), Counter[str]()

        async def emit(photos: Sequence[PhotoRequest]) -> None:
            sent.append([one.user_id for one in photos])
            for one in photos:
                tried[one.user_id] += 1
                if claims(one.user_id, tried[one.user_id]):
                    rt.ledger.claim(one.photo, one.user_id, "run", 60)

        async def all_of_them() -> None:
            settings = BridgeSettings(express="always", express_photos=4, window=1, patience_s=0.5)
            records = Records(rt.ledger, rt.profiles, rt.erasures, rt.known_gallery)
            meters = Meters(settings)
            handover = Handover(settings, records, emit, meters, DEFAULT_PACE._replace(first_look_s=0.02))
            refs = {name: PhotoRef(bucket="bucket", key=f"{name}/a.jpg", version="1") for name in names}
            requests = [PhotoRequest(photo=ref, user_id=name) for name, ref in refs.items()]
            await asyncio.gather(*(handover.see_claimed(Unclaimed(one)) for one in requests))

        asyncio.run(asyncio.wait_for(all_of_them(), 60))
        return sent

    sent = events([f"u{n}" for n in range(40)], lambda user, times: user not in ("u0", "u1") or times > 1)
    assert sorted(sent[-2:]) == [["u0"], ["u1"]]
    assert [len(sent) for sent in events([f"v{n}" for n in range(8)], lambda _, times: times > 1)] == [4] * 4


def test_a_claim_makes_room_for_the_next_event_long_before_the_patience_ends() -> None:
    """Of five events two at a time may be without a claim: were their claims not seen, the fifth would wait 600 s."""
    rt = memory_runtime()

    async def emit(photos: Sequence[PhotoRequest]) -> None:
        for one in photos:
            rt.ledger.claim(one.photo, one.user_id, "run", 60)

    async def all_of_them() -> None:
        settings = BridgeSettings(express="always", express_photos=2, patience_s=300)
        records = Records(rt.ledger, rt.profiles, rt.erasures, rt.known_gallery)
        handover = Handover(settings, records, emit, Meters(settings), DEFAULT_PACE._replace(first_look_s=0.02))
        refs = [(f"u{n}", PhotoRef(bucket="bucket", key=f"u{n}/a.jpg", version="1")) for n in range(10)]
        requests = [PhotoRequest(photo=ref, user_id=name) for name, ref in refs]
        await asyncio.gather(*(handover.see_claimed(Unclaimed(one)) for one in requests))

    asyncio.run(asyncio.wait_for(all_of_them(), 60))


def test_a_photo_whose_row_cannot_be_read_is_not_handed_over_for_ever(tmp_path: Path) -> None:
    records, sent = sqlite_records(tmp_path / "records.db"), list[PhotoRequest]()
    one = PhotoRequest(photo=PhotoRef(bucket="bucket", key="ann/selfie.jpg", version="1"), user_id="ann")
    records.ledger.claim(one.photo, one.user_id, "run", 60)
    with closing(sqlite3.connect(tmp_path / "records.db")) as database, database:
        database.execute("UPDATE claims SET status = 'paused'")

    async def emit(photos: Sequence[PhotoRequest]) -> None:
        sent.extend(photos)

    handover = Handover(BridgeSettings(), records, emit, Meters(BridgeSettings()), DEFAULT_PACE)
    asyncio.run(asyncio.wait_for(handover.see_claimed(Unclaimed(one)), 60))

    assert sent == []


def standing(rt: MemoryRuntime, photo: Unclaimed) -> Standing:
    async def emit(photos: Sequence[PhotoRequest]) -> None:
        raise AssertionError

    records = Records(rt.ledger, rt.profiles, rt.erasures, rt.known_gallery)
    return Handover(BridgeSettings(), records, emit, Meters(BridgeSettings()), DEFAULT_PACE).standing(photo)


@pytest.mark.parametrize("told", [False, True], ids=["its event tells no time", "its event tells the time"])
def test_a_row_that_an_erasure_removes_settles_no_later_upload_of_the_photo(told: bool) -> None:
    """The row goes with the erasure: were the message deleted for it, the later upload would be lost."""
    rt, photo = memory_runtime(), PhotoRef(bucket="bucket", key="ann/selfie.jpg", version='etag:"1"')

    def uploaded_now() -> Unclaimed:
        order = f"{now_us():016d}.{1:0>32}" if told else ""
        return Unclaimed(PhotoRequest(photo=photo, user_id="ann", upload_order=order), sent_at=now_us() / 1e6)

    early = uploaded_now()
    rt.ledger.claim(photo, "ann", "run", 60, early.request.upload_order)
    before = standing(rt, early)
    time.sleep(0.01)
    erasure = erasures.request_erasure(rt, "ann", "forget-run")
    time.sleep(0.01)
    late = uploaded_now()

    assert before is Standing.SETTLED
    assert (standing(rt, early), standing(rt, late)) == (Standing.SETTLED, Standing.FORGETTING)
    erasures.write_receipt(rt, sweeps.sweep(rt, erasure))
    assert (standing(rt, early), standing(rt, late)) == (Standing.SETTLED, Standing.OPEN)
    rt.ledger.claim(photo, "ann", "run", 60, late.request.upload_order)
    assert standing(rt, late) is Standing.SETTLED
