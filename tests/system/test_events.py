"""Uploads to verdicts through real processes: S3 put, EventBridge, SQS, bridge, automation, warm worker."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.chaos.traffic import Traffic, traffic

pytestmark = [
    pytest.mark.system,
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.usefixtures("pack"),
]

POISON = [
    "no JSON",
    "[]",
    "{}",
    json.dumps({"Records": [{"eventName": "ObjectCreated:Put"}]}),
    json.dumps({"s3Bucket": "photos", "s3Key": "a/b.jpg"}),
    json.dumps({"s3Bucket": "photos", "s3Key": "a/b.jpg", "userId": "x" * 300}),
    json.dumps({"s3Bucket": "no bucket", "s3Key": "a/b.jpg", "userId": "ann"}),
    json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": {}}),
    json.dumps(
        {
            "source": "aws.s3",
            "detail-type": "Object Created",
            "detail": {"bucket": {"name": "photos"}, "object": {"key": "names-no-user.jpg", "etag": "1"}},
        }
    ),
    "{" * 2000,
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    settings = {"SELFIEGATE_LEASE_S": "10", "SELFIEGATE_BRIDGE__PATIENCE_S": "10"}
    with traffic(tmp_path_factory.mktemp("up"), **settings) as world:
        yield world


def test_poison_between_good_photos_holds_nothing_up_and_is_dead_with_its_reason(world: Traffic) -> None:
    ours = json.dumps(world.local.env["SELFIEGATE_AWS__PHOTO_BUCKET"])
    sent = [poison.replace('"photos"', ours) for poison in POISON]  # another bucket's events are dead for that alone
    for each, poison in zip(world.people(10), sent, strict=True):
        world.upload(*each)
        world.send(poison)
    world.wait(500)
    give_up = time.monotonic() + 120
    while (count := world.dead_count()) < 10:
        assert time.monotonic() < give_up, count
        time.sleep(1)
    dead = world.dead()

    assert sorted(body for body, _ in dead) == sorted(sent)
    assert all(len(reason) > 20 for _, reason in dead)
    assert any("names-no-user.jpg" in reason for _, reason in dead)
    world.assert_consistent()


def test_whatever_is_killed_every_photo_reaches_its_verdict(world: Traffic) -> None:
    dead = world.dead_count()
    for each in world.people(24, skip=20):
        world.upload(*each)
    for victim in ("worker", "prefect", "bridge"):
        time.sleep(4)
        world.local.parts[victim].kill()
        world.local.restart_dead()
    world.wait(500)

    assert [world.local.parts[name].starts for name in ("worker", "prefect", "bridge")] == [2, 2, 2]
    assert world.dead_count() == dead
    world.assert_consistent()


def test_a_burst_shares_runs_and_a_worker_that_is_killed_amid_one_doubles_no_verdict_and_no_notice(
    world: Traffic,
) -> None:
    sent = [world.upload(*each) for each in world.people(40, skip=60)]
    give_up = time.monotonic() + 120
    while not any(world.rt.ledger.get(*one) for one in sent):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    world.local.parts["worker"].kill()
    world.local.restart_dead()
    world.wait(500)
    world.wait_for_notices(200)

    owners = Counter(world.verdicts[one].owner for one in sent)
    refused = [world.verdicts[one] for one in sent if world.verdicts[one].status != "accepted"]
    told = world.told()
    assert max(owners.values()) > 1
    assert [told[row.user_id, row.photo.name] for row in refused] == [1] * len(refused)
    world.assert_consistent()
