"""Whatever a parameter of the template changes, the environment that the stack puts out carries.

Each parameter is changed by itself. Then users' photos go through as on AWS: S3, EventBridge and SQS (moto), and the
steps of a run, with nothing set but what the stack put out and where moto answers.
"""

from __future__ import annotations

from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from selfiegate.aws.clients import client
from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.enrolment.verdicts import notify_user
from selfiegate.ingestion.messages import uploads
from selfiegate.ingestion.photo_requests import photo_request
from selfiegate.runtime import Runtime, open_runtime
from tests.aws.stack import REGION, SENDER, Stack, deploy, template, worker_settings
from tests.present import present

pytestmark = pytest.mark.system

ROLE = "arn:aws:iam::123456789012:role/ops"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"
CHANGES: dict[str, dict[str, str]] = {
    "PhotoPrefix": {"PhotoPrefix": "selfies/"},
    "KeyTemplate": {"KeyTemplate": "*/{user_id}.png"},
    "UserFrom": {"UserFrom": "metadata"},
    "MetadataName": {"UserFrom": "metadata", "MetadataName": "rider"},
    "OldPhotoDays": {"OldPhotoDays": "7"},
    "PhotoDays": {"PhotoDays": "90"},
    "AccessLogBucket": {"AccessLogBucket": "access-logs"},
    "ExistingPhotoBucket": {"ExistingPhotoBucket": "riders-photos"},
    "ExistingThumbnailBucket": {"ExistingThumbnailBucket": "riders-thumbnails"},
    "ExistingCollection": {"ExistingCollection": "rider-photos"},
    "ExistingProfilesTable": {"ExistingProfilesTable": "RiderPhotoDDBTable"},
    "ExistingKeys": {"ExistingKeys": f"{KEY},{KEY}2"},
    "CustomerKey": {"CustomerKey": "yes"},
    "AlarmTopic": {"AlarmTopic": "arn:aws:sns:eu-west-1:123456789012:alarms"},
    "OldestEventSeconds": {"OldestEventSeconds": "3600"},
    "NoticeMail": {"NoticeMail": "operator@riders.example"},
    "VisibilityTimeout": {"VisibilityTimeout": "120"},
    "MaxReceiveCount": {"MaxReceiveCount": "30"},
    "PrefectWebhookUrl": {"PrefectWebhookUrl": "https://api.prefect.cloud/hooks/x"},
    "PrefectWebhookKey": {"PrefectWebhookUrl": "https://api.prefect.cloud/hooks/x", "PrefectWebhookKey": "pnu_x"},
    "Sender": {"Sender": SENDER},
    "EmailTemplate": {"Sender": SENDER, "EmailTemplate": "{user_id}@riders.example"},
    "ProcessService": {"ProcessService": "ec2.amazonaws.com"},
    "ProcessPrincipal": {"ProcessPrincipal": ROLE},
    "OperatorPrincipal": {"OperatorPrincipal": ROLE},
}
"""By the parameter that is changed; some mean nothing without another."""


def test_each_parameter_is_changed_here() -> None:
    assert CHANGES.keys() == template()["Parameters"].keys()
    assert all(name in changes for name, changes in CHANGES.items())


@pytest.mark.parametrize("changed", [{}, *CHANGES.values()], ids=["none", *CHANGES])
def test_each_user_is_judged_alone_whatever_was_changed(
    moto: str, scripted_rekognition: Any, changed: dict[str, str]
) -> None:
    stack = deploy(moto, **changed)
    scripted_rekognition.reset()
    rt = runtime(stack, scripted_rekognition.url, changed)
    for user_id, face in (("user_a", "ann"), ("user_b", "bob"), ("user_c", "ann")):
        upload(stack, changed, user_id, scripted_photo(face))

    verdicts = {user_id: run(rt, body) for body, user_id in sorted(events(stack, rt), key=lambda one: one[1])}
    mailed = [one.destinations["ToAddresses"] for one in ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages]

    assert verdicts == {"user_a": ["accepted"], "user_b": ["accepted"], "user_c": ["face_already_enrolled"]}
    assert {profile.user_id for profile in rt.profiles.all()} == {"user_a", "user_b"}
    assert mailed == ([["user_c@riders.example"]] if "EmailTemplate" in changed else [])


def runtime(stack: Stack, rekognition: str, changed: dict[str, str]) -> Runtime:
    """Open what a worker opens, beside what is there already where something existing is kept."""
    s3, dynamodb = stack.client("s3"), stack.client("dynamodb")
    for bucket in {changed.get("ExistingPhotoBucket"), changed.get("ExistingThumbnailBucket")} - {None}:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    if table := changed.get("ExistingProfilesTable"):
        dynamodb.create_table(
            TableName=table,
            AttributeDefinitions=[{"AttributeName": "Username", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "Username", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    switch: dict[str, Any] = {"EventBridgeConfiguration": {}}  # moto's CloudFormation leaves it out
    bucket = stack.outputs["PhotoBucketName"]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=switch)
    stack.client("ses").verify_email_identity(EmailAddress=SENDER)
    endpoints = {
        "SELFIEGATE_AWS__ENDPOINT_URL": stack.url,
        "SELFIEGATE_AWS__REKOGNITION_ENDPOINT_URL": rekognition,
        "SELFIEGATE_AWS__SETTLE_S": "0",
    }
    settings = worker_settings(stack, **endpoints)
    client("rekognition", settings.aws).create_collection(CollectionId=settings.aws.collection)
    return open_runtime(settings)


def upload(stack: Stack, changed: dict[str, str], user_id: str, picture: bytes) -> None:
    """Put a photo where the parameters say that photos of this user lie."""
    below = changed.get("KeyTemplate", "{user_id}/*.png").replace("{user_id}", user_id).replace("*", "1")
    metadata = {changed.get("MetadataName", "user-id"): user_id}
    if "UserFrom" in changed:
        below = f"today/{user_id[-1]}.png"
    key = changed.get("PhotoPrefix", "") + below
    stack.client("s3").put_object(
        Bucket=stack.outputs["PhotoBucketName"],
        Key=key,
        Body=picture,
        **({"Metadata": metadata} if "UserFrom" in changed else {}),
    )


def events(stack: Stack, rt: Runtime) -> list[tuple[str, str]]:
    """Return what the bridge would hand over, and each event's user."""
    url = stack.outputs["PhotoQueueUrl"].replace(f"https://sqs.{REGION}.amazonaws.com", stack.url)
    assert rt.settings.aws.queue_url == stack.outputs["PhotoQueueUrl"]
    found = stack.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)["Messages"]
    return [(one["Body"], requested(rt, one["Body"]).user_id) for one in found]


def requested(rt: Runtime, body: str) -> Any:
    (one,) = uploads(body)
    return present(photo_request(rt.settings, rt.photos, one))


def run(rt: Runtime, body: str) -> list[str]:
    """Take one event's photo to its verdict, and tell its user."""
    asked = requested(rt, body)
    claim = claim_photo(rt, asked.photo, asked.user_id, "run", asked.upload_order)
    row = claim if claim.verdict else finish(rt, claim)
    notify_user(rt, row)
    verdict = present(row.verdict)
    return [reason.code for reason in verdict.reasons] or [verdict.status]
