"""The flow on S3, Rekognition and DynamoDB over the wire: verdicts, races, and every call failing in turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.ses.models import ses_backends

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.model import PhotoRef
from selfiegate.runtime import Runtime, open_runtime
from selfiegate.settings import Settings
from tests.aws.local import PHOTOS, THUMBNAILS
from tests.aws.proxy import Proxy
from tests.chaos.racing import assert_one_is_accepted_in_every_round
from tests.flowruns import run
from tests.present import present
from tests.runtimes import assert_consistent

pytestmark = [pytest.mark.system, pytest.mark.promise]


def runtime_on(aws: AwsSettings, **more: Any) -> Runtime:
    return open_runtime(Settings(backend="rekognition", records="dynamodb", aws=aws, **more))


def upload(rt: Runtime, key: str, data: bytes) -> PhotoRef:
    client("s3", rt.settings.aws).put_object(Bucket=PHOTOS, Key=key, Body=data)
    return rt.photos.find(f"s3://{PHOTOS}/{key}")


@pytest.mark.weights
@pytest.mark.usefixtures("prefect_api")
def test_the_workshops_photos_get_the_workshops_verdicts(
    aws: AwsSettings, moto: str, pack: Any, workshop: Path
) -> None:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
    from tests.rekognition import RekognitionServer

    with RekognitionServer(InsightFaceAnalyser(pack), s3_url=moto, port=0) as server:
        inbox = Inbox(aws)
        changes = {
            "rekognition_endpoint_url": server.url,
            "topic_arn": inbox.topic,
            "sender": "gate@riders.example",
            "email_template": "{user_id}@riders.example",
        }
        boto3.client("rekognition", endpoint_url=server.url).create_collection(CollectionId=aws.collection)
        rt = runtime_on(aws.model_copy(update=changes), notices=("sns", "ses"))
        found = {}
        files = ["1_happy_face.jpg", "2_sunglass_face.jpg", "3_multiple_faces.jpg", "4_no_face.jpg", "1_happy_face.jpg"]
        for file, letter in zip(files, "abcde", strict=True):
            photo = upload(rt, f"user_{letter}/{file}", (workshop / file).read_bytes())
            state = run(rt, photo, f"user_{letter}")
            found[letter] = (
                state.name,
                [reason.code for reason in present(state.result()).reasons],
                dict(server.calls),
            )

        assert {letter: found[letter][:2] for letter in found} == {
            "a": ("Accepted", []),
            "b": ("Rejected", ["sunglasses"]),
            "c": ("Rejected", ["multiple_faces"]),
            "d": ("Rejected", ["no_face"]),
            "e": ("Rejected", ["face_already_enrolled"]),
        }
        assert server.violations == []
        calls = {"DetectFaces": 5, "SearchFacesByImage": 2, "IndexFaces": 1, "SearchFaces": 1}
        assert {name: server.calls[name] for name in calls} == calls
    notices = inbox.read()
    assert {notice["Subject"] for notice in notices} == {"Non-compliant photo encountered"}
    assert [notice["MessageAttributes"]["user_id"]["Value"] for notice in notices] == [f"user_{x}" for x in "bcde"]
    assert "The face wears sunglasses." in notices[0]["Message"]
    mails = [message for backend in ses_backends.values() for one in backend.values() for message in one.sent_messages]
    assert [mail.destinations["ToAddresses"] for mail in mails] == [[f"user_{x}@riders.example"] for x in "bcde"]
    assert_the_row_is_the_workshops(rt)


def assert_the_row_is_the_workshops(rt: Runtime) -> None:
    aws, key = rt.settings.aws, {"Username": {"S": "user_a"}}
    item = client("dynamodb", aws).get_item(TableName=aws.profiles_table, Key=key)["Item"]
    profile = rt.profiles.get("user_a")
    small = present(profile).thumbnails["250x250"].removeprefix(f"s3://{THUMBNAILS}/")

    assert {name: item[name] for name in ("Username", "faceId", "s3bucket", "s3key", "thumbnail")} == {
        "Username": {"S": "user_a"},
        "faceId": {"S": present(profile).face_id},
        "s3bucket": {"S": PHOTOS},
        "s3key": {"S": "user_a/1_happy_face.jpg"},
        "thumbnail": {"M": {"s3bucket": {"S": THUMBNAILS}, "s3key": {"S": small}}},
    }


class Inbox:
    """An SNS topic with a queue behind it, and a verified sender of mail."""

    def __init__(self, aws: AwsSettings) -> None:
        self._sqs, sns = client("sqs", aws), client("sns", aws)
        self.topic = sns.create_topic(Name="notices")["TopicArn"]
        self._queue = self._sqs.create_queue(QueueName="inbox")["QueueUrl"]
        wanted = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=wanted["Attributes"]["QueueArn"])
        client("sesv2", aws).create_email_identity(EmailIdentity="gate@riders.example")

    def read(self) -> list[dict[str, Any]]:
        """Return the notices that arrived, in their order."""
        found = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", [])
        return sorted((json.loads(one["Body"]) for one in found), key=lambda notice: notice["Timestamp"])


def racing_user(aws: AwsSettings, user: int, rounds: int, barrier: Barrier, results: Any) -> None:
    rt = runtime_on(aws)
    for turn in range(rounds):
        photo = upload(rt, f"{user}/{turn}.png", scripted_photo(f"person-{turn}", size=(320, 240 + user)))
        barrier.wait()
        results.put(
            (turn, user, photo, finish(rt, claim_photo(rt, photo, f"user_{user}_{turn}", f"run {user} {turn}")).status)
        )


@pytest.mark.slow
def test_one_face_of_eight_users_is_accepted_once_though_searches_lag(
    aws: AwsSettings, scripted_rekognition: Any
) -> None:
    scripted_rekognition.switches.delay(visible=0.3)
    aws = aws.model_copy(update={"settle_s": 0.5})

    assert_one_is_accepted_in_every_round(racing_user, aws, 20, lambda: runtime_on(aws))


REKOGNITION = ["DetectFaces", "SearchFacesByImage", "IndexFaces", "SearchFaces", "DeleteFaces"]
STORES = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:GetBucket",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
]
FAULTS = [
    "reply lost",
    *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("throttled twice", "for good")),
]


@pytest.fixture
def proxied(aws: AwsSettings, moto: str) -> Iterator[tuple[Runtime, Proxy]]:
    proxy = Proxy(moto)
    yield runtime_on(aws.model_copy(update={"endpoint_url": proxy.url})), proxy
    proxy.close()


def walk(rt: Runtime, fault: str, break_it: Any, mend_it: Any) -> None:
    """Replace a user's photo while one call goes wrong, then with all mended."""
    older = upload(rt, "ann/1.png", scripted_photo("ann"))
    assert run(rt, older, "user_a").name == "Accepted"
    newer = upload(rt, "ann/2.png", scripted_photo("ann~"))
    break_it()
    state = run(rt, newer, "user_a")
    mend_it()
    if fault == "for good":
        assert state.type == "FAILED"
    else:
        assert state.name == "Accepted"
    for claim in rt.ledger.unfinished(before=2**62):
        rt.ledger.renew(claim, -1)  # time passes

    assert run(rt, newer, "user_a").name == "Accepted"
    assert present(rt.profiles.get("user_a")).photo == newer
    assert_consistent(rt, (older, "user_a"), (newer, "user_a"))


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", REKOGNITION)
def test_every_call_to_rekognition_may_fail(
    aws: AwsSettings, scripted_rekognition: Any, operation: str, fault: str
) -> None:
    switches = scripted_rekognition.switches

    def break_it() -> None:
        if fault == "reply lost":
            switches.lose_reply(operation, times=1)
        else:
            switches.fail(operation, "ThrottlingException", times=2 if fault == "throttled twice" else None)

    walk(runtime_on(aws), fault, break_it, switches.clear)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", STORES)
def test_every_call_to_a_store_may_fail(proxied: tuple[Runtime, Proxy], operation: str, fault: str) -> None:
    rt, proxy = proxied
    how = "lose_reply" if fault == "reply lost" else "throttle"
    times = {"throttled twice": 2, "reply lost": 1, "for good": float("inf")}[fault]

    def mend_it() -> None:
        assert proxy.left < times or fault == "for good"  # it did go wrong
        proxy.fail("", "", 0)

    walk(rt, fault, lambda: proxy.fail(operation, how, times), mend_it)


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("fault", FAULTS)
def test_looking_up_a_rival_may_fail(proxied: tuple[Runtime, Proxy], fault: str) -> None:
    rt, proxy = proxied
    theirs, ours = upload(rt, "ann.png", scripted_photo("ann")), upload(rt, "ann2.png", scripted_photo("ann~"))
    run(rt, theirs, "user_a")
    times = {"throttled twice": 2, "reply lost": 1, "for good": float("inf")}[fault]
    proxy.fail("dynamodb:Query", "lose_reply" if fault == "reply lost" else "throttle", times)
    state = run(rt, ours, "user_b")
    proxy.fail("", "", 0)

    assert state.name == ("Failed" if fault == "for good" else "Rejected")
    assert run(rt, ours, "user_b").name == "Rejected"
    assert_consistent(rt, (theirs, "user_a"), (ours, "user_b"))
