"""Events of every shape through the flow, on S3 and Rekognition over the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flows.process_event import process_event
from selfiegate.aws.clients import AwsSettings, client
from selfiegate.backends.scripted import scripted_photo
from selfiegate.errors import WrongInput
from selfiegate.runtime import open_runtime, using
from selfiegate.settings import Settings
from tests.aws.local import PHOTOS
from tests.present import present

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.mark.parametrize(
    "event",
    [
        {"userId": "user_a", "s3Bucket": PHOTOS, "s3Key": "user_a/me.png"},
        {"s3Bucket": PHOTOS, "images": [{"userId": "user_a", "s3Key": "user_a/me.png"}]},
        {
            "Records": [
                {
                    "eventName": "ObjectCreated:Put",
                    "s3": {"bucket": {"name": PHOTOS}, "object": {"key": "user_a%2Fme.png", "sequencer": "00"}},
                }
            ]
        },
        {
            "source": "aws.s3",
            "detail-type": "Object Created",
            "detail": {"bucket": {"name": PHOTOS}, "object": {"key": "user_a/me.png", "sequencer": "00"}},
        },
    ],
    ids=["workshop", "batch", "s3", "eventbridge"],
)
def test_the_photos_of_an_event_get_their_verdicts(aws: AwsSettings, event: dict[str, Any]) -> None:
    rt = open_runtime(Settings(backend="rekognition", records="dynamodb", aws=aws))
    client("s3", aws).put_object(Bucket=PHOTOS, Key="user_a/me.png", Body=scripted_photo("ann"))
    with using(rt):
        (found,) = asyncio.run(process_event(event))

    assert (present(found).status, present(found).user_id) == ("accepted", "user_a")


def test_an_event_pins_the_version_that_it_tells(aws: AwsSettings) -> None:
    rt = open_runtime(Settings(backend="rekognition", records="dynamodb", aws=aws))
    put = client("s3", aws).put_object
    first = put(Bucket=PHOTOS, Key="user_a/me.png", Body=scripted_photo("ann"))["VersionId"]
    put(Bucket=PHOTOS, Key="user_a/me.png", Body=scripted_photo())
    told = {"bucket": {"name": PHOTOS}, "object": {"key": "user_a/me.png", "version-id": first, "sequencer": "00"}}
    with using(rt):
        (found,) = asyncio.run(process_event({"source": "aws.s3", "detail-type": "Object Created", "detail": told}))

    assert (present(found).status, present(found).photo.version) == ("accepted", first)


def test_wrong_records_do_not_keep_back_the_good_ones(aws: AwsSettings) -> None:
    rt = open_runtime(Settings(backend="rekognition", records="dynamodb", aws=aws))
    for who in ("ann", "bob"):
        client("s3", aws).put_object(Bucket=PHOTOS, Key=f"user_{who}/me.png", Body=scripted_photo(who))
    wrong = [record("no-user.png"), {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": PHOTOS}}}, "no record"]
    event = {"Records": [record("user_ann/me.png"), *wrong, record("user_bob/me.png")]}
    with using(rt), pytest.raises(WrongInput) as found:
        asyncio.run(process_event(event))

    assert all(rt.profiles.get(user_id) for user_id in ("user_ann", "user_bob"))
    assert "no-user.png" in str(found.value)
    assert "Records[2]: the event has no s3.object.key" in str(found.value)
    assert "Records[3]: the event has no eventName" in str(found.value)


def test_a_photo_that_is_not_there_does_not_keep_back_the_others(aws: AwsSettings) -> None:
    rt = open_runtime(Settings(backend="rekognition", records="dynamodb", aws=aws))
    client("s3", aws).put_object(Bucket=PHOTOS, Key="user_a/me.png", Body=scripted_photo("ann"))
    images = [{"userId": "user_b", "s3Key": "gone.png"}, {"userId": "user_a", "s3Key": "user_a/me.png"}]
    with using(rt), pytest.raises(WrongInput, match=r"gone\.png"):
        asyncio.run(process_event({"s3Bucket": PHOTOS, "images": images}))

    assert rt.profiles.get("user_a")


def record(key: str) -> Any:
    return {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": PHOTOS}, "object": {"key": key}}}
