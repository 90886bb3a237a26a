"""Photos that no run claims: they wait without a place in the window, and hold up nobody."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest

from deployments.bridge.bridge import Bridge
from deployments.bridge.health import served
from selfiegate.aws.clients import AwsSettings
from selfiegate.clock import now_us
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.records import Erasure
from selfiegate.setting_groups import BridgeSettings
from tests.aws.proxy import Proxy
from tests.system.test_bridge import Rig, fetched, run, upload_of, value_of

pytestmark = pytest.mark.system

QUICK: dict[str, Any] = {"first_park_s": 0.1}


def rig_with(aws: AwsSettings, **settings: Any) -> Rig:
    return Rig(aws, bridge=BridgeSettings(**{"window": 4, "patience_s": 60, "express": "never", **settings}))


def begin_erasure(rig: Rig, user_id: str) -> Erasure:
    """Be the run that forgets a user, and has not finished."""
    erasure = Erasure(user_id=user_id, asked_at=now_us(), run="run", photos=False)
    assert rig.records.erasures.put(erasure, replacing=None)
    return erasure


def end_erasure(rig: Rig, erasure: Erasure) -> None:
    ended = erasure.model_copy(update={"finished_at": now_us(), "revision": erasure.revision + 1})
    assert rig.records.erasures.put(ended, replacing=erasure)


def parked(bridge: Bridge, waits_for: str) -> float | None:
    return bridge.meters.registry.get_sample_value("selfiegate_bridge_parked", {"waits_for": waits_for})


def claims_all_but(rig: Rig, *users: str) -> Any:
    async def emit(one: PhotoRequest) -> None:
        await (rig.lose if one.user_id in users else rig.claim)(one)

    return emit


def test_photos_of_a_user_who_is_being_forgotten_hold_up_nobody(aws: AwsSettings) -> None:
    rig = rig_with(aws)
    begin_erasure(rig, "stuck")
    rig.send(*(upload_of(f"stuck/{number}.jpg") for number in range(4)), upload_of("other/a.jpg"))

    bridge = rig.bridge(claims_all_but(rig, "stuck"), **QUICK)
    run(bridge, until=lambda: "other" in rig.users and parked(bridge, "erasure") == 4)

    assert rig.users == ["other"]
    assert value_of(bridge, "in_flight") == 0


def test_they_are_handed_over_once_the_erasure_has_ended(aws: AwsSettings) -> None:
    rig = rig_with(aws, park_s=0.5)
    erasure = begin_erasure(rig, "stuck")
    rig.send(*(upload_of(f"stuck/{number}.jpg") for number in range(4)))

    def ends_late() -> bool:
        if parked(bridge, "erasure") == 4 and rig.records.erasures.get("stuck") == erasure:
            end_erasure(rig, erasure)
        return rig.is_settled()

    bridge = rig.bridge(**QUICK)
    run(bridge, until=ends_late)

    assert rig.users == ["stuck"] * 4


def test_photos_that_no_run_claims_hold_their_places_for_a_turn(aws: AwsSettings) -> None:
    rig = rig_with(aws, turn_s=0.5, park_s=600)
    rig.send(*(upload_of(f"stuck_{number}/a.jpg") for number in range(6)), upload_of("other/a.jpg"))

    bridge = rig.bridge(claims_all_but(rig, *(f"stuck_{number}" for number in range(6))), first_park_s=600)
    run(bridge, until=lambda: "other" in rig.users and parked(bridge, "claim") == 6)

    assert sorted(set(rig.users)) == ["other", *(f"stuck_{number}" for number in range(6))]
    assert rig.queued() == (0, 6)


def test_a_parked_photo_that_was_claimed_meanwhile_is_settled(aws: AwsSettings) -> None:
    rig = rig_with(aws, turn_s=0.3, park_s=0.5)
    rig.send(upload_of("7/a.jpg"))

    def claimed_late() -> bool:
        if parked(bridge, "claim") == 1:
            rig.ledger.claim(rig.emitted[0].photo, "7", "run", 60)
        return bool(rig.emitted) and rig.is_settled()

    bridge = rig.bridge(rig.lose, **QUICK)
    run(bridge, until=claimed_late)

    assert value_of(bridge, "claimed_total") == 1
    assert rig.dead() == []


def test_one_users_many_photos_leave_places_to_others(aws: AwsSettings) -> None:
    rig = rig_with(aws, window=8)
    rig.send(*(upload_of(f"many/{number}.jpg") for number in range(40)), upload_of("other/a.jpg"))

    bridge = rig.bridge(claims_all_but(rig, "many"))
    run(bridge, until=lambda: "other" in rig.users)

    assert rig.users.count("many") == 2


def test_one_users_many_photos_all_get_through(aws: AwsSettings) -> None:
    rig = rig_with(aws)
    rig.send(*(upload_of(f"many/{number}.jpg") for number in range(40)))

    run(rig.bridge(), until=lambda: len(rig.emitted) == 40 and rig.is_settled())

    assert rig.dead() == []


def test_more_than_may_be_parked_waits_in_the_queue(aws: AwsSettings) -> None:
    rig = rig_with(aws, parked=2)
    begin_erasure(rig, "stuck")
    rig.send(*(upload_of(f"stuck/{number}.jpg") for number in range(12)), upload_of("other/a.jpg"))

    bridge = rig.bridge(first_park_s=30)
    run(bridge, until=lambda: "other" in rig.users and value_of(bridge, "given_back_total") == 6)

    assert rig.users == ["other"]
    assert rig.queued() == (0, 12)  # given back for 30 s


def test_parking_costs_no_deliveries(aws: AwsSettings) -> None:
    """Else a queue with a small maxReceiveCount would take the photos of a long erasure for dead."""
    rig = rig_with(aws, park_s=0.2)
    dead = rig.sqs.get_queue_attributes(QueueUrl=rig.urls[1], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 2})
    rig.sqs.set_queue_attributes(QueueUrl=rig.urls[0], Attributes={"RedrivePolicy": redrive})
    erasure = begin_erasure(rig, "stuck")
    rig.send(upload_of("stuck/a.jpg"))
    end = time.monotonic() + 5

    def ends_late() -> bool:
        if time.monotonic() > end and rig.records.erasures.get("stuck") == erasure:
            end_erasure(rig, erasure)
        return time.monotonic() > end and rig.is_settled()

    bridge = rig.bridge(visibility_s=1, **QUICK)
    run(bridge, until=ends_late)

    assert rig.users == ["stuck"]
    assert value_of(bridge, "received_total") == 1
    assert rig.queued(1) == (0, 0)


def test_a_message_is_given_back_before_sqs_takes_it(aws: AwsSettings) -> None:
    rig = rig_with(aws, park_s=0.2)
    begin_erasure(rig, "stuck")
    rig.send(upload_of("stuck/a.jpg"))

    bridge = rig.bridge(visibility_s=1, kept_s=2, **QUICK)
    run(bridge, until=lambda: (value_of(bridge, "received_total") or 0) >= 3)

    assert value_of(bridge, "given_back_total") == 2


def test_a_bridge_that_stops_leaves_parked_photos_for_later(aws: AwsSettings) -> None:
    """A bridge that is restarted again and again then does not use up their deliveries."""
    rig = rig_with(aws)
    begin_erasure(rig, "stuck")
    rig.send(upload_of("stuck/a.jpg"), upload_of("waiting/a.jpg"))

    bridge = rig.bridge(claims_all_but(rig, "waiting"), first_park_s=600)
    run(bridge, until=lambda: parked(bridge, "erasure") == 1 and "waiting" in rig.users)

    assert rig.queued() == (1, 1)


def test_health_fails_once_a_photo_waits_for_too_long(aws: AwsSettings) -> None:
    rig = rig_with(aws, oldest_s=1, turn_s=0.5, park_s=600)
    rig.send(upload_of("7/a.jpg"))
    bridge = rig.bridge(rig.lose, first_park_s=600)
    with served("127.0.0.1", 0, bridge.meters, bridge.health) as port:
        seen: list[tuple[int, str]] = []

        def fails() -> bool:
            seen.append(fetched(port, "health"))
            return parked(bridge, "claim") == 1 and seen[-1][0] == 503 and bool(rig.emitted)

        run(bridge, until=fails)

    (reason,) = json.loads(seen[-1][1])["reasons"]
    assert "no run has claimed a photo" in reason
    assert "SELFIEGATE_BRIDGE__OLDEST_S=1" in reason


def test_an_erasure_that_never_ends_degrades_health_and_no_more(aws: AwsSettings) -> None:
    """Another bridge in this one's place would mend nothing."""
    rig = rig_with(aws, oldest_s=1, park_s=0.5)
    begin_erasure(rig, "stuck")
    rig.send(*(upload_of(f"stuck/{number}.jpg") for number in range(4)))
    end = time.monotonic() + 4

    bridge = rig.bridge(**QUICK)
    found: dict[str, Any] = {}
    ages: list[float | None] = []

    def is_over() -> bool:
        found.update(bridge.health())
        ages.extend(value_of(bridge, f"oldest_{name}_seconds") for name in ("parked", "unclaimed"))
        return time.monotonic() > end

    run(bridge, until=is_over)

    assert found["healthy"]
    assert found["degraded"] == ["photos that wait until their users are forgotten: 4"]
    assert (ages[-2] or 0) > 1
    assert ages[-1] == 0


def test_a_full_window_does_not_look_like_a_silent_queue(aws: AwsSettings) -> None:
    rig = rig_with(aws)
    rig.send(*(upload_of(f"{number}/a.jpg") for number in range(8)))
    silences = list[float]()

    def was_asked_again() -> bool:
        if value_of(bridge, "in_flight") == 4 and bridge.meters.places.room() == 0:
            silences.append(bridge.health()["queue_answered_s_ago"])
        return any(later < earlier for earlier, later in pairwise(silences))

    bridge = rig.bridge(rig.lose, ask_s=0.3)
    run(bridge, until=was_asked_again)

    assert value_of(bridge, "received_total") == 5


def test_parked_messages_take_few_calls_to_be_kept(aws: AwsSettings, moto: str) -> None:
    """Each call keeps a message for twice as long as the one before."""
    proxy = Proxy(moto)
    rig = rig_with(aws.model_copy(update={"endpoint_url": proxy.url}))
    begin_erasure(rig, "stuck")
    rig.send(*(upload_of(f"stuck/{number}.jpg") for number in range(10)))
    end = time.monotonic() + 8

    run(rig.bridge(visibility_s=1, poll_s=1, **QUICK), until=lambda: time.monotonic() > end)
    proxy.close()

    assert rig.users == []
    assert 0 < proxy.calls["sqs:ChangeMessageVisibility"] <= 10 * 5  # 24 each without the doubling
