"""Every call that the product makes in AWS is granted by the template, on that very resource: moto does not look."""

from __future__ import annotations

import asyncio
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from selfiegate import audit
from selfiegate.aws.clients import client
from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.enrolment.verdicts import notify_user
from selfiegate.model import Claim
from selfiegate.privacy.export import export_user
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime, open_runtime
from selfiegate.steps import inline
from selfiegate.unfinished import unfinished
from tests.aws.stack import REGION, SENDER, Stack, deploy, worker_settings
from tests.present import present

pytestmark = pytest.mark.system

_ACTIONS = {
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
}
"""What S3 calls the permission for an operation, where it is another word."""

Call = tuple[str, str]
"""IAM's action, and the ARN of what it is done to."""


@pytest.fixture
def stack(moto: str) -> Stack:
    return deploy(moto, Sender=SENDER)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> set[Call]:
    """All calls of boto3's clients from now on."""
    made: set[Call] = set()
    real = BaseClient._make_api_call

    def call(self: Any, operation: str, arguments: dict[str, Any]) -> Any:
        made.add(_granted_as(self.meta.service_model.service_name, operation, arguments))
        return real(self, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return made


def _granted_as(service: str, operation: str, arguments: dict[str, Any]) -> Call:
    here = f"{REGION}:123456789012"
    match service:
        case "s3":
            action = _ACTIONS.get(operation, operation)
            version = "Version" if "VersionId" in arguments and action in ("GetObject", "DeleteObject") else ""
            key = f"/{arguments['Key']}" if "Key" in arguments else ""
            return f"s3:{action}{version}", f"arn:aws:s3:::{arguments['Bucket']}{key}"
        case "dynamodb":
            index = f"/index/{arguments['IndexName']}" if "IndexName" in arguments else ""
            return f"dynamodb:{operation}", f"arn:aws:dynamodb:{here}:table/{arguments['TableName']}{index}"
        case "rekognition" if "CollectionId" in arguments:
            return f"rekognition:{operation}", f"arn:aws:rekognition:{here}:collection/{arguments['CollectionId']}"
        case "sns":
            return "sns:Publish", arguments["TopicArn"]
        case "sesv2":
            return "ses:SendEmail", f"arn:aws:ses:{here}:identity/{arguments['FromEmailAddress']}"
    return f"{service}:{operation}", "*"


def not_granted(stack: Stack, made: set[Call], *policies: str) -> list[Call]:
    granted = stack.granted(*policies)
    return sorted(
        (action, resource)
        for action, resource in made
        if not any(action == allowed and fnmatchcase(resource, where) for allowed, where in granted)
    )


def process(rt: Runtime, bucket: str, name: str, picture: bytes, user_id: str) -> Claim:
    # As the uploader, who is none of ours.
    boto3.client("s3", endpoint_url=rt.settings.aws.endpoint_url).put_object(Bucket=bucket, Key=name, Body=picture)
    claim = claim_photo(rt, rt.photos.find(f"s3://{bucket}/{name}"), user_id, "run")
    row = claim if claim.verdict else finish(rt, claim)
    notify_user(rt, row)
    return row


def test_all_that_workers_and_operators_do_is_granted(
    stack: Stack, calls: set[Call], scripted_rekognition: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_rekognition.reset()
    bucket = stack.outputs["PhotoBucketName"]
    settings = worker_settings(stack)
    aws = settings.aws.model_copy(
        update={
            "endpoint_url": stack.url,
            "rekognition_endpoint_url": scripted_rekognition.url,
            "settle_s": 0,
            "email_template": "{user_id}@riders.example",
        }
    )
    stack.client("ses").verify_email_identity(EmailAddress=SENDER)
    client("rekognition", aws).create_collection(CollectionId=aws.collection)
    rt = open_runtime(settings.model_copy(update={"aws": aws, "notices": ("sns", "ses")}))
    calls.clear()

    accepted = process(rt, bucket, "ann/1.png", scripted_photo("ann"), "ann")
    replaced = process(rt, bucket, "ann/2.png", scripted_photo("ann~"), "ann")
    refused = process(rt, bucket, "bob/1.png", scripted_photo("ann"), "bob")
    died = claim_photo(rt, rt.photos.find(f"s3://{bucket}/bob/1.png"), "eve", "run")
    rt.ledger.renew(died, -1)
    rows = unfinished(rt, 10)
    finish(rt, claim_photo(rt, rows[0].photo, rows[0].user_id, "another run"))
    rt.faces.remove(present(replaced.face_id))
    orphans = audit.orphans(rt)
    reopened = [audit.reopen(rt, orphan) for orphan in orphans]
    calls -= {call for call in calls if call[0] == "s3:PutObject" and f"{bucket}/" in call[1]}  # the uploader's

    assert [row.status for row in (accepted, replaced, refused)] == ["accepted", "accepted", "rejected"]
    assert [bool(row) for row in reopened] == [True]
    assert {"dynamodb:UpdateItem", "s3:DeleteObject", "ses:SendEmail", "sns:Publish"} <= {action for action, _ in calls}
    assert not_granted(stack, calls, "WorkerPolicy", "WorkerMailPolicy") == []

    calls.clear()
    before = export_user(rt, "ann")
    asyncio.run(forget_user(rt, inline(rt), "ann", "run", photos=True))
    after, left = export_user(rt, "ann"), stack.client("s3").list_object_versions(Bucket=bucket)

    assert all(before[name] for name in ("profile", "photos", "thumbnails"))
    assert not any(after[name] for name in ("profile", "photos", "thumbnails", "faces"))
    assert {version["Key"] for version in left["Versions"]} == {"bob/1.png"}
    assert ("s3:DeleteObjectVersion", f"arn:aws:s3:::{bucket}/ann/1.png") in calls
    assert not_granted(stack, calls, "WorkerPolicy") != []  # a worker removes no photos
    assert not_granted(stack, calls, "WorkerPolicy", "OperatorPolicy") == []
