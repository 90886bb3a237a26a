"""Prefect blocks: credentials for AWS, and a place where notices go."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters

from selfiegate.advice import reason
from selfiegate.aws import clients as aws_clients
from selfiegate.aws.settings import AwsSettings
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongSetting
from selfiegate.model import PhotoRef, ReasonCode
from selfiegate.settings import Settings
from selfiegate.stores.s3 import S3Photos
from tasks.blocks import BlockNotices, connect, open_with_blocks
from tasks.steps import step
from tests.answering import answering
from tests.contract.records import verdict

pytestmark = pytest.mark.usefixtures("prefect_api")

REFUSED = verdict("rejected", None).model_copy(update={"reasons": (reason(ReasonCode.SUNGLASSES),)})


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    received: list[dict[str, str]] = []

    def reply(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        received.append(json.loads(body))
        return (404 if path.endswith("/secret") else 200), b""

    with answering(reply) as address:
        yield f"{address}/", received


def save_webhook(url: str) -> None:
    CustomWebhookNotificationBlock(
        name="riders", url=url, method="POST", json_data={"title": "{{subject}}", "text": "{{body}}"}
    ).save("riders", overwrite=True)


def test_a_notification_block_is_told_what_is_wrong(webhook: tuple[str, list[dict[str, str]]]) -> None:
    save_webhook(webhook[0])
    BlockNotices("custom-webhook/riders").notify(REFUSED)

    (message,) = webhook[1]
    assert message["title"] == "Non-compliant photo encountered"
    assert "The face wears sunglasses." in message["text"]


def test_a_block_that_does_not_answer_is_tried_again() -> None:
    save_webhook("http://127.0.0.1:9/")

    with pytest.raises(BackendUnavailable, match="custom-webhook/riders"):
        BlockNotices("custom-webhook/riders").notify(REFUSED)


def test_a_webhooks_address_stays_out_of_errors_and_a_name_mentions_nobody(
    webhook: tuple[str, list[dict[str, str]]],
) -> None:
    save_webhook(f"{webhook[0]}services/T0/B0/secret")
    photo = PhotoRef(bucket="photos", key="ann/<!channel>.jpg", version="v1")
    told = REFUSED.model_copy(update={"user_id": "<!channel>", "photo": photo})

    with pytest.raises(BackendUnavailable) as error:
        BlockNotices("custom-webhook/riders").notify(told)
    assert "404" in str(error.value)
    assert "secret" not in str(error.value)
    assert error.value.__suppress_context__  # a traceback would show it
    assert webhook[1][0]["text"].count("channel") == 2
    assert "<" not in webhook[1][0]["text"]


def test_a_block_that_is_not_there_is_named_with_its_setting() -> None:
    with pytest.raises(BackendMisconfigured, match=r"slack-webhook/nobody.*SELFIEGATE_NOTIFICATION_BLOCK"):
        BlockNotices("slack-webhook/nobody").notify(REFUSED)


@pytest.mark.parametrize("name", ["uploads", "aws-credentials/uploads"])
def test_aws_credentials_come_from_the_block_that_is_named(pack: object, name: str) -> None:
    keys = {"aws_access_key_id": "from-block", "aws_secret_access_key": "x"}
    AwsCredentials(**keys, region_name="eu-north-1").save("uploads", overwrite=True)
    settings = AwsSettings(credentials_block=name)
    open_with_blocks(Settings(aws=settings))
    s3 = aws_clients.client("s3", settings)
    moved = aws_clients.client("s3", settings.model_copy(update={"region": "us-west-2"}))

    assert s3._request_signer._credentials.access_key == "from-block"
    assert (s3.meta.region_name, moved.meta.region_name) == ("eu-north-1", "us-west-2")


def test_a_bucket_block_leads_s3_alone_to_minio(empty_moto: str) -> None:
    minio = MinIOCredentials(
        minio_root_user="root-of-minio",
        minio_root_password="x",  # noqa: S106
        aws_client_parameters=AwsClientParameters(endpoint_url=empty_moto),
    )
    minio.save("riders", overwrite=True)
    S3Bucket(bucket_name="unused", credentials=minio).save("riders", overwrite=True)
    for name in ("s3-bucket/riders", "minio-credentials/riders"):
        settings = AwsSettings(s3_block=name, region="eu-west-1")
        connect(Settings(aws=settings))
        s3, dynamodb = aws_clients.client("s3", settings), aws_clients.client("dynamodb", settings)
        if name == "s3-bucket/riders":
            s3.create_bucket(Bucket="photos", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        photos = S3Photos(settings, Limits())

        assert photos.read(photos.put("photos", "ann/1.jpg", b"selfie", {})) == b"selfie"
        assert s3._request_signer._credentials.access_key == "root-of-minio"
        assert dynamodb._request_signer._credentials.access_key == "test"
        assert dynamodb.meta.endpoint_url == "https://dynamodb.eu-west-1.amazonaws.com"


def test_a_key_of_minio_never_goes_to_aws() -> None:
    MinIOCredentials(minio_root_user="root-of-minio", minio_root_password="x").save("here", overwrite=True)  # noqa: S106
    settings = AwsSettings(s3_block="minio-credentials/here", region="eu-west-1")
    connect(Settings(aws=settings))

    with pytest.raises(WrongSetting, match="SELFIEGATE_AWS__S3_ENDPOINT_URL"):
        aws_clients.client("s3", settings)


def test_the_endpoint_of_a_credentials_block_is_used_where_no_service_has_its_own(empty_moto: str) -> None:
    keys = {"aws_access_key_id": "from-block", "aws_secret_access_key": "x"}
    parameters = AwsClientParameters(endpoint_url=empty_moto, config={"max_pool_connections": 7})
    AwsCredentials(**keys, aws_client_parameters=parameters).save("local", overwrite=True)
    settings = AwsSettings(credentials_block="local", region="eu-west-1", sqs_endpoint_url="http://127.0.0.1:9")
    connect(Settings(aws=settings))
    s3, sqs = aws_clients.client("s3", settings), aws_clients.client("sqs", settings)

    assert s3.list_buckets()["Buckets"] == []
    assert s3.meta.endpoint_url == empty_moto
    assert sqs.meta.endpoint_url == "http://127.0.0.1:9"
    assert (s3.meta.config.max_pool_connections, s3.meta.config.connect_timeout) == (7, 5)


def test_a_profile_that_a_block_names_and_nobody_knows_is_told() -> None:
    AwsCredentials(profile_name="nobody").save("profiled", overwrite=True)
    settings = AwsSettings(credentials_block="profiled", region="eu-west-1")
    connect(Settings(aws=settings))

    with pytest.raises(BackendMisconfigured, match="nobody"):
        aws_clients.client("s3", settings)


def test_blocks_work_inside_a_flow_too(webhook: tuple[str, list[dict[str, str]]]) -> None:
    save_webhook(webhook[0])

    @step("notify")
    def notify() -> None:
        BlockNotices("custom-webhook/riders").notify(REFUSED)

    @flow
    async def telling() -> None:
        await notify()

    asyncio.run(telling())

    assert len(webhook[1]) == 1


def test_calls_wait_for_the_slots_of_a_limit_that_workers_share() -> None:
    async def limited() -> float:
        async with get_client() as client:
            limit = GlobalConcurrencyLimitCreate(name="rekognition-DetectFaces", limit=2, slot_decay_per_second=2)
            await client.create_global_concurrency_limit(limit)
        began = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(aws_clients.throttle, "DetectFaces") for _ in range(6)))
        return time.monotonic() - began

    async def unlimited() -> None:
        await asyncio.to_thread(aws_clients.throttle, "SearchFaces")  # there is no such limit

    connect(Settings(aws=AwsSettings(rate_limits=True)))
    try:
        assert asyncio.run(limited()) >= 1.5  # two at once, then two a second
        asyncio.run(unlimited())
    finally:
        aws_clients.throttle_with(aws_clients.wait_for_nothing)
