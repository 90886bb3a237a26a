"""From S3 over SQS to Prefect: what is handed over, what is kept, and what is set aside."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.error import HTTPError

import psycopg
import pytest

from deployments.bridge.bridge import Bridge
from deployments.bridge.health import served
from deployments.bridge.pace import Pace
from deployments.bridge.photo_events import PrefectEvents, event_of, possible
from deployments.bridge.serve import serve
from deployments.local.processes import free_port
from selfiegate.aws.clients import AwsSettings, client
from selfiegate.databases import open_postgres_queue, open_queue, open_records
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.event_queue import EventQueue, Message
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.model import Claim, PhotoRef
from selfiegate.records import Ledger
from selfiegate.runtime import open_photos
from selfiegate.setting_groups import BridgeSettings
from selfiegate.settings import Settings
from tests.aws.local import PHOTOS, THUMBNAILS
from tests.aws.proxy import Proxy
from tests.postgres import PostgresServer
from tests.present import present

pytestmark = pytest.mark.system

PACE = Pace(
    first_look_s=0.02, longest_look_s=0.1, longest_patience_s=0.5, longest_outage_s=0.1, poll_s=0, visibility_s=60
)


class Rig:
    """Two queues, buckets, a ledger, and a bridge; its events are recorded, and claimed unless a test says else."""

    def __init__(self, aws: AwsSettings, **more: Any) -> None:
        self.sqs, self.s3 = client("sqs", aws), client("s3", aws)
        self.urls = [self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("photos", "dead")]
        aws = aws.model_copy(update={"queue_url": self.urls[0], "dead_queue_url": self.urls[1]})
        self.settings = Settings(**{"aws": aws, "bridge": BridgeSettings(patience_s=60), **more})
        self.records = open_records(self.settings)
        self.ledger = self.records.ledger
        self.emitted: list[PhotoRequest] = []
        self.events: list[int] = []
        """How many photos each event told of."""

    def bridge(
        self, emit: Callable[[PhotoRequest], Awaitable[None]] | None = None, ledger: Ledger | None = None, **pace: Any
    ) -> Bridge:
        settings, photos = self.settings, open_photos(self.settings)
        changed = PACE._replace(**pace)
        records = self.records._replace(ledger=ledger or self.ledger)
        each = emit or self.claim

        async def emit_all(requests: Sequence[PhotoRequest]) -> None:
            self.events.append(len(requests))
            for one in requests:
                await each(one)

        return Bridge(settings, self.queue(), photos, records, emit_all, changed)

    def queue(self) -> EventQueue:
        """Open the queue as a bridge does."""
        return open_queue(self.settings)

    async def claim(self, one: PhotoRequest) -> None:
        self.emitted.append(one)
        self.ledger.claim(one.photo, one.user_id, "run", 60, one.upload_order)

    async def lose(self, one: PhotoRequest) -> None:
        self.emitted.append(one)

    @property
    def users(self) -> list[str]:
        return sorted(one.user_id for one in self.emitted)

    def send(self, *messages: object) -> None:
        for message in messages:
            self.queue().put(json.dumps(message))

    def queued(self, queue: int = 0) -> tuple[int, int]:
        """Count messages to be had and messages in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.urls[queue], AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def is_settled(self) -> bool:
        return self.queued() == (0, 0)

    def dead(self) -> list[tuple[str, str, str]]:
        """Take the dead messages: body, reason and the id that it had."""
        found = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.urls[1], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for one in messages:
                texts = {name: value["StringValue"] for name, value in one["MessageAttributes"].items()}
                found.append((one["Body"], texts["reason"], texts["message_id"]))
        return found

    def purge(self) -> None:
        self.sqs.purge_queue(QueueUrl=self.urls[0])


class PostgresRig(Rig):
    """The same with the queue, and the records, in PostgreSQL."""

    def __init__(self, aws: AwsSettings, url: str) -> None:
        super().__init__(aws, database=url)
        self.settings = self.settings.model_copy(update={"aws": aws})  # without a queue of SQS

    def queued(self, queue: int = 0) -> tuple[int, int]:
        stats = open_postgres_queue(self.settings).stats()
        return (stats.waiting, stats.kept) if queue == 0 else (stats.dead, 0)

    def dead(self) -> list[tuple[str, str, str]]:
        return [(one.body, one.reason, str(one.id)) for one in open_postgres_queue(self.settings).dead(100)]

    def purge(self) -> None:
        with psycopg.connect(self.settings.database_url) as connection:
            connection.execute("DELETE FROM photo_events")


@pytest.fixture
def sqs_rig(aws: AwsSettings) -> Rig:
    return Rig(aws)


@pytest.fixture(params=["SQS", "PostgreSQL"])
def rig(aws: AwsSettings, request: pytest.FixtureRequest) -> Rig:
    """A rig with either queue."""
    if request.param == "SQS":
        return Rig(aws)
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return PostgresRig(aws, postgres.database(request.node.name.replace("[", "-").strip("]")[-60:]))


def run(bridge: Bridge, until: Callable[[], bool]) -> None:
    """Run a bridge until something is so, and stop it."""

    async def both() -> None:
        running = asyncio.create_task(bridge.run())
        try:
            async with asyncio.timeout(30):
                while not until():
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)  # for what follows the last call to the queue
        finally:
            bridge.stop()
            await running

    asyncio.run(both())


def record(key: str, bucket: str = PHOTOS, version: str | None = "v1", name: str = "ObjectCreated:Put") -> Any:
    found = {"key": key, **({"versionId": version} if version else {})}
    return {"eventName": name, "s3": {"bucket": {"name": bucket}, "object": found}}


def upload_of(key: str, **more: Any) -> Any:
    return {"Records": [record(key, **more)]}


def value_of(bridge: Bridge, name: str) -> float | None:
    return bridge.meters.registry.get_sample_value(f"selfiegate_bridge_{name}")


@pytest.mark.parametrize("way", ["bucket notification", "EventBridge"])
def test_an_upload_reaches_prefect_with_its_key_decoded(sqs_rig: Rig, way: str) -> None:
    notify(sqs_rig, way)
    put = sqs_rig.s3.put_object(Bucket=PHOTOS, Key="rider 7/phöto+1.jpg", Body=b"x")

    run(sqs_rig.bridge(), until=lambda: bool(sqs_rig.emitted) and sqs_rig.is_settled())

    (one,) = sqs_rig.emitted
    assert (one.user_id, one.photo.key) == ("rider 7", "rider 7/phöto+1.jpg")
    assert one.photo.version in (put["VersionId"], f"etag:{put['ETag']}")
    assert one.upload_order
    assert sqs_rig.dead() == []


def notify(rig: Rig, way: str) -> None:
    """Let S3 tell the queue; a bucket notification begins with S3's test event."""
    arn = rig.sqs.get_queue_attributes(QueueUrl=rig.urls[0], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    if way == "EventBridge":
        events = client("events", rig.settings.aws)
        events.put_rule(Name="uploads", EventPattern=json.dumps({"source": ["aws.s3"]}))
        events.put_targets(Rule="uploads", Targets=[{"Id": "queue", "Arn": arn}])
        wanted: dict[str, Any] = {"EventBridgeConfiguration": {}}
    else:
        wanted = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    rig.s3.put_bucket_notification_configuration(Bucket=PHOTOS, NotificationConfiguration=wanted)


def test_the_user_may_come_from_metadata(aws: AwsSettings) -> None:
    rig = Rig(aws, user_metadata="user-id")
    rig.s3.put_object(Bucket=PHOTOS, Key="a.jpg", Body=b"x", Metadata={"user-id": "rider_7"})
    rig.s3.put_object(Bucket=PHOTOS, Key="b.jpg", Body=b"x")
    rig.send(upload_of("a.jpg", version=None), upload_of("b.jpg", version=None))

    run(rig.bridge(), until=lambda: rig.is_settled())

    assert rig.users == ["rider_7"]
    ((_, reason, _),) = rig.dead()
    assert "no metadata 'user-id'" in reason


def test_what_names_no_photo_is_deleted(rig: Rig) -> None:
    rig.send(
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": PHOTOS},
        upload_of("7/a.jpg", name="ObjectRemoved:Delete"),
        upload_of("7/a.jpg", bucket=THUMBNAILS),
        {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "detail": {}},
    )

    run(rig.bridge(), until=rig.is_settled)

    assert rig.emitted == []
    assert rig.dead() == []


def test_a_bad_record_does_not_keep_back_the_good_ones(rig: Rig) -> None:
    malformed = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": PHOTOS}}}
    message = {"Records": [record("1/a.jpg"), record("no-user.jpg"), malformed, record("2/b.jpg")]}
    rig.send(message)

    bridge = rig.bridge()
    run(bridge, until=rig.is_settled)

    assert rig.users == ["1", "2"]
    ((body, reason, _),) = rig.dead()
    assert json.loads(body) == message
    assert "no-user.jpg" in reason
    assert "Records[2]: the event has no s3.object.key" in reason
    assert value_of(bridge, "dead_total") == 1


def test_ten_wrong_messages_are_set_aside_between_good_ones(rig: Rig) -> None:
    for number in range(10):
        rig.send(upload_of(f"{number}/a.jpg"), {"unknown": f"\x1b[31m {number}\n" + 300 * "é😀"})
    rig.queue().put("no JSON")

    run(rig.bridge(), until=rig.is_settled)

    assert rig.users == [str(number) for number in range(10)]
    dead = rig.dead()
    assert len(dead) == 11
    assert len({message_id for _, _, message_id in dead}) == 11
    assert all(reason.startswith("the event is") for _, reason, _ in dead)


def test_a_reason_may_hold_anything(rig: Rig) -> None:
    rig.send({"unknown": 1})
    queue = rig.queue()
    (message,) = queue.receive(10, 1, 60)

    buried = queue.bury(message, "no\x00\x1b[31m\nuser\ufffe\ud800\U0001f600" + 2000 * "é")

    ((_, reason, _),) = rig.dead()
    assert buried
    assert rig.is_settled()
    assert reason.startswith("no��[31m�user��\U0001f600é")
    assert len(reason) == 1000


def test_without_a_queue_for_the_dead_a_wrong_message_stays(sqs_rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    sqs_rig.settings = sqs_rig.settings.model_copy(
        update={"aws": sqs_rig.settings.aws.model_copy(update={"dead_queue_url": None})}
    )
    sqs_rig.send({"unknown": 1})

    bridge = sqs_rig.bridge(visibility_s=1)
    run(bridge, until=lambda: value_of(bridge, "received_total") == 3)

    assert sum(sqs_rig.queued()) == 1
    assert caplog.text.count("redrive policy") == 1


def test_a_message_stays_until_the_ledger_holds_its_photos(rig: Rig) -> None:
    rig.send({"Records": [record("1/a.jpg"), record("2/b.jpg")]})
    seen = list[tuple[int, int]]()

    async def claim_the_first(one: PhotoRequest) -> None:
        await (rig.claim if one.user_id == "1" else rig.lose)(one)

    def is_claimed_late() -> bool:
        if len(rig.emitted) == 2 and not seen and value_of(bridge, "claimed_total") == 1:
            seen.append(rig.queued())
            (other,) = (one for one in rig.emitted if one.user_id == "2")
            rig.ledger.claim(other.photo, "2", "run", 60)
        return bool(seen) and rig.is_settled()

    bridge = rig.bridge(claim_the_first)
    run(bridge, until=is_claimed_late)

    assert seen == [(0, 1)]
    assert len(rig.emitted) == 2


def test_a_photo_that_is_claimed_already_starts_nothing(rig: Rig) -> None:
    rig.ledger.claim(PhotoRef(bucket=PHOTOS, key="7/a.jpg", version="v1"), "7", "run", 60)
    rig.send(upload_of("7/a.jpg"))

    run(rig.bridge(), until=rig.is_settled)

    assert rig.emitted == []


def test_a_lost_event_is_sent_again(aws: AwsSettings, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(aws, bridge=BridgeSettings(patience_s=0.2))
    rig.send(upload_of("7/a.jpg"))

    async def lose_two(one: PhotoRequest) -> None:
        await (rig.claim if len(rig.emitted) == 2 else rig.lose)(one)

    bridge = rig.bridge(lose_two)
    run(bridge, until=rig.is_settled)

    assert [one.user_id for one in rig.emitted] == ["7"] * 3
    assert (value_of(bridge, "emitted_total"), value_of(bridge, "emitted_again_total")) == (3, 2)
    assert caplog.text.count("sent again") == 2
    assert value_of(bridge, "claimed_total") == 1


def test_prefect_may_be_down_for_a_while(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.send(*(upload_of(f"{number}/a.jpg") for number in range(5)))
    failures = iter(range(12))

    async def fail_at_first(one: PhotoRequest) -> None:
        if next(failures, None) is not None:
            raise BackendUnavailable("connection refused")
        await rig.claim(one)

    run(rig.bridge(fail_at_first), until=rig.is_settled)

    assert rig.users == ["0", "1", "2", "3", "4"]
    assert caplog.text.count("Prefect does not answer") == 1


class Silent:
    """A ledger that does not answer a few times."""

    def __init__(self, ledger: Ledger, times: int) -> None:
        self._ledger, self._left = ledger, iter(range(times))

    def get(self, photo: PhotoRef, user_id: str) -> Claim | None:
        if next(self._left, None) is not None:
            raise BackendUnavailable("database is locked")
        return self._ledger.get(photo, user_id)


def test_a_silent_ledger_is_no_reason_to_send_again(aws: AwsSettings) -> None:
    rig = Rig(aws, bridge=BridgeSettings(patience_s=0.1))
    rig.send(upload_of("7/a.jpg"))

    run(rig.bridge(ledger=Silent(rig.ledger, 10)), until=rig.is_settled)  # type: ignore[arg-type]

    assert len(rig.emitted) == 1


def test_a_message_comes_back_where_s3_does_not_answer(aws: AwsSettings, moto: str) -> None:
    proxy = Proxy(moto)
    rig = Rig(aws.model_copy(update={"endpoint_url": proxy.url}))
    rig.s3.put_object(Bucket=PHOTOS, Key="7/a.jpg", Body=b"x")
    rig.send(upload_of("7/a.jpg", version=None))
    proxy.fail("s3:HeadObject", "throttle", 2)

    run(rig.bridge(visibility_s=1), until=rig.is_settled)
    proxy.close()

    assert set(rig.users) == {"7"}  # on a busy machine it may come back, and be told of, once more
    assert rig.dead() == []


def test_a_message_in_flight_is_kept_from_others(rig: Rig) -> None:
    rig.send(upload_of("7/a.jpg"))
    other, stolen, end = rig.queue(), list[Message](), time.monotonic() + 4

    def is_over() -> bool:
        if rig.emitted:
            stolen.extend(other.receive(10, 0, 60))
        return time.monotonic() > end

    bridge = rig.bridge(rig.lose, visibility_s=2)
    run(bridge, until=is_over)

    assert stolen == []
    assert value_of(bridge, "received_total") == 1


def test_a_message_that_somebody_else_has_is_let_go(rig: Rig) -> None:
    rig.send(upload_of("7/a.jpg"))

    async def somebody_else_ends_it(one: PhotoRequest) -> None:
        await rig.lose(one)
        rig.purge()

    bridge = rig.bridge(somebody_else_ends_it, visibility_s=1)
    run(bridge, until=lambda: bool(rig.emitted) and bridge.health()["in_flight"] == 0)

    assert value_of(bridge, "claimed_total") == 0


def test_a_bridge_that_stops_gives_back_what_is_not_claimed(rig: Rig) -> None:
    rig.send(*(upload_of(f"{number}/a.jpg") for number in range(6)))

    async def claim_the_even_ones(one: PhotoRequest) -> None:
        await (rig.lose if int(one.user_id) % 2 else rig.claim)(one)

    run(rig.bridge(claim_the_even_ones, first_look_s=50), until=lambda: len(rig.emitted) == 6)

    assert rig.queued() == (3, 0)
    run(rig.bridge(), until=rig.is_settled)
    assert sorted(rig.users[6:] + rig.users[:6]) == sorted(["0", "1", "1", "2", "3", "3", "4", "5", "5"])


def test_a_bridge_that_stops_gives_back_the_same_bytes_uploaded_again(rig: Rig) -> None:
    """The row in the ledger is of the earlier upload, so no run has taken the later one."""
    again = record("7/a.jpg", version=None)
    again["s3"]["object"]["eTag"] = "1"
    rig.ledger.claim(PhotoRef(bucket=PHOTOS, key="7/a.jpg", version='etag:"1"'), "7", "run", 60, f"{1:016d}.{1:0>32}")
    rig.send({"Records": [{**again, "eventTime": "2026-11-20T14:35:33Z"}]})

    run(rig.bridge(rig.lose), until=lambda: bool(rig.emitted))

    assert rig.queued() == (1, 0)


def test_photos_that_arrive_together_share_an_event_and_each_message_goes_once_its_photo_is_claimed(rig: Rig) -> None:
    rig.send(*(upload_of(f"{user}/a.jpg") for user in range(20)))
    bridge = rig.bridge()

    run(bridge, until=lambda: len(rig.emitted) == 20 and rig.is_settled())

    assert rig.users == sorted(str(user) for user in range(20))
    assert max(rig.events) > 1
    assert value_of(bridge, "shared_total") == sum(size for size in rig.events if size > 1)
    assert value_of(bridge, "emitted_again_total") == 0


def test_what_waits_in_the_queue_is_counted(rig: Rig) -> None:
    rig.settings = rig.settings.model_copy(update={"bridge": BridgeSettings(window=1, express="never")})
    rig.send(*(upload_of(f"{user}/a.jpg") for user in range(20)))
    bridge = rig.bridge(rig.lose, ask_s=0.2)

    run(bridge, until=lambda: value_of(bridge, "backlog") == 18)  # one has the place, one is next


def test_no_more_than_a_window_is_in_flight(aws: AwsSettings) -> None:
    rig = Rig(aws, bridge=BridgeSettings(window=4, patience_s=60, express="never"))
    rig.send(*(upload_of(f"{number}/a.jpg") for number in range(16)))
    rig.send({"Records": [record(f"{number}/b.jpg") for number in range(16, 24)]})
    most: list[tuple[int, float]] = []

    async def claim_a_little_later(one: PhotoRequest) -> None:
        rig.emitted.append(one)
        unclaimed = sum(rig.ledger.get(one.photo, one.user_id) is None for one in rig.emitted)
        most.append((unclaimed, bridge.health()["in_flight"]))
        asyncio.get_running_loop().call_later(0.03, rig.ledger.claim, one.photo, one.user_id, "run", 60)

    bridge = rig.bridge(claim_a_little_later)
    run(bridge, until=lambda: len(rig.emitted) == 24 and rig.is_settled())

    assert max(unclaimed for unclaimed, _ in most) <= 4
    assert max(in_flight for _, in_flight in most) == 4


def test_health_and_metrics_are_served(rig: Rig) -> None:
    rig.send(upload_of("7/a.jpg"))
    bridge, answers, ages = rig.bridge(rig.lose), list[tuple[int, str]](), list[float]()
    time.sleep(0.3)  # it waits for its bridge

    def asked() -> bool:
        if rig.emitted:
            ages.append(present(value_of(bridge, "oldest_unclaimed_seconds")))
            answers.extend(fetched(port, path) for path in ("health", "metrics", "else"))
        return bool(answers)

    with served("127.0.0.1", 0, bridge.meters, bridge.health) as port:
        before = fetched(port, "health")
        run(bridge, until=asked)
        with pytest.raises(BackendMisconfigured, match="SELFIEGATE_BRIDGE__PORT"):
            served("127.0.0.1", port, bridge.meters, bridge.health).__enter__()

    health, metrics, other = answers
    assert (before[0], json.loads(before[1])["healthy"]) == (503, False)
    assert (health[0], json.loads(health[1])["in_flight"]) == (200, 1)
    assert metrics[0] == 200
    assert {"selfiegate_bridge_received_total 1.0", "selfiegate_bridge_in_flight 1.0"} <= set(metrics[1].splitlines())
    assert 0.3 <= ages[0] < 30
    assert value_of(bridge, "oldest_unclaimed_seconds") == 0  # nothing is in flight any more
    assert other[0] == 404


def fetched(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("express", ["auto", "always", "never"])
def test_without_its_deployment_photos_share_no_runs_and_that_is_said(
    express: Any, caplog: pytest.LogCaptureFixture
) -> None:
    asked = BridgeSettings(express=express)
    if express == "always":
        with pytest.raises(BackendMisconfigured, match="prefect deploy --all"):
            asyncio.run(possible(asked))
        return

    assert asyncio.run(possible(asked)).express == "never"
    assert ("prefect deploy --all" in caplog.text) == (express == "auto")


def test_a_server_that_never_answers_holds_the_bridge_up_for_seconds_alone() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            found = asyncio.run(asyncio.wait_for(possible(BridgeSettings()), 60))

    assert found.express == "auto"


def test_a_server_that_does_not_answer_is_taken_to_have_the_deployment() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        assert asyncio.run(possible(BridgeSettings())).express == "auto"


def test_an_event_carries_the_flows_parameters_as_json() -> None:
    photo = PhotoRef(bucket=PHOTOS, key="7/a.jpg", version="v1")
    one = PhotoRequest(photo=photo, user_id="7", upload_order="1")

    first, again = event_of([one]), event_of([one])

    assert json.loads(json.dumps(first.payload)) == {
        "photo": photo.model_dump(),
        "user_id": "7",
        "upload_order": "1",
    }
    assert first.resource.root == {
        "prefect.resource.id": f"selfiegate.photo.{photo.id}",
        "prefect.resource.name": "a.jpg",
    }
    assert first.id != again.id


def test_the_bridge_says_what_is_not_set() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with pytest.raises(BackendMisconfigured, match="SELFIEGATE_AWS__QUEUE_URL"):
        serve(Settings())
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(BackendMisconfigured, match="API_URL"):
        PrefectEvents()
