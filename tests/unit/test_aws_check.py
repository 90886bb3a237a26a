"""`selfiegate aws check` over the wire: moto with the deployed template, our own endpoint for Rekognition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import pytest

from deployments.aws.check import Finding, check, examine
from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.scripted import ScriptedAnalyser
from tests.aws.proxy import Proxy
from tests.aws.stack import SENDER, Stack, acting_with, deploy, worker_settings
from tests.rekognition import RekognitionServer

ONLY_BY_DOING = {"sns:Publish", "ses:SendEmail"}
POLICIES = ("WorkerPolicy", "WorkerMailPolicy", "OperatorPolicy")
_numbers = itertools.count()


class World(NamedTuple):
    """AWS with everything there, and the settings that lead to it."""

    stack: Stack
    rekognition: RekognitionServer
    settings: AwsSettings

    @property
    def photos(self) -> str:
        """The photo bucket."""
        return self.stack.outputs["PhotoBucketName"]

    @property
    def faces(self) -> Any:
        """A client of Rekognition that may do everything."""
        return boto3.client("rekognition", endpoint_url=self.rekognition.url, region_name=self.settings.region)

    def check(self, **changes: str | None) -> dict[tuple[str, str], Finding]:
        """Check with some settings changed; by action and resource."""
        found = check(self.settings.model_copy(update=changes), self.photos)
        return {(finding.action, finding.resource): finding for finding in found}


@pytest.fixture(scope="module")
def deployed(moto: str) -> Iterator[World]:
    stack = deploy(moto, Sender=SENDER)
    stack.client("ses").verify_email_identity(EmailAddress=SENDER)
    with RekognitionServer(ScriptedAnalyser(), s3_url=moto) as server:
        endpoints = {
            "SELFIEGATE_AWS__ENDPOINT_URL": moto,
            "SELFIEGATE_AWS__REKOGNITION_ENDPOINT_URL": server.url,
        }
        settings = worker_settings(stack, **endpoints).aws
        yield World(stack, server, settings.model_copy(update={"queue_url": None, "dead_queue_url": None}))


@pytest.fixture
def world(deployed: World) -> World:
    """The same, with an empty collection and no faults."""
    deployed.rekognition.reset()
    deployed.faces.create_collection(CollectionId=deployed.settings.collection)
    return deployed


def rows(found: dict[tuple[str, str], Finding], status: str) -> set[str]:
    return {action for (action, _), finding in found.items() if finding.status == status}


def test_where_all_is_there_all_is_ok_but_what_only_doing_proves(world: World) -> None:
    found = world.check()

    assert rows(found, "missing") == set()
    assert rows(found, "not proven") == ONLY_BY_DOING
    assert world.rekognition.violations == []


def test_nothing_is_left_behind(world: World) -> None:
    world.check()
    s3, dynamodb = world.stack.client("s3"), world.stack.client("dynamodb")

    for bucket in (world.photos, world.settings.thumbnail_bucket):
        assert not {"Versions", "DeleteMarkers"} & s3.list_object_versions(Bucket=bucket).keys()
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    for table in (world.settings.ledger_table, world.settings.profiles_table):
        assert dynamodb.scan(TableName=table)["Count"] == 0
    assert world.faces.describe_collection(CollectionId=world.settings.collection)["FaceCount"] == 0


@pytest.mark.parametrize(
    ("setting", "name", "actions", "mend"),
    [
        (
            "collection",
            "nowhere",
            {"DescribeCollection", "SearchFacesByImage", "IndexFaces", "SearchFaces", "ListFaces", "DeleteFaces"},
            "`selfiegate gallery create`",
        ),
        (
            "thumbnail_bucket",
            "nowhere",
            {"ListBucket", "AbortMultipartUpload", "GetBucketVersioning", "GetObject"},
            "SELFIEGATE_AWS__THUMBNAIL_BUCKET",
        ),
        (
            "profiles_table",
            "nowhere",
            {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Scan"},
            "SELFIEGATE_AWS__PROFILES_TABLE",
        ),
        (
            "ledger_table",
            "nowhere",
            {"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "DescribeTimeToLive"},
            "SELFIEGATE_AWS__LEDGER_TABLE",
        ),
        ("topic_arn", "arn:aws:sns:eu-west-1:123456789012:nowhere", {"GetTopicAttributes"}, "__TOPIC_ARN"),
        ("sender", "nobody@nowhere.example", {"GetIdentityVerificationAttributes"}, "verify-email-identity"),
    ],
)
def test_a_missing_resource_is_named_with_its_mend(
    world: World, setting: str, name: str, actions: set[str], mend: str
) -> None:
    found = world.check(**{setting: name})

    assert {action.partition(":")[2] for action in rows(found, "missing")} == actions
    assert all(name in one.todo and mend in one.todo for one in found.values() if one.status == "missing")


def test_a_missing_photo_bucket_is_named(world: World) -> None:
    found = {one.resource: one for one in check(world.settings, "nowhere/selfies/") if "nowhere" in one.resource}

    assert found["arn:aws:s3:::nowhere"].status == "missing"
    assert "--photo-bucket" in found["arn:aws:s3:::nowhere"].todo
    assert found["arn:aws:s3:::nowhere/selfies/*"].status == "not proven"


def test_what_is_not_set_is_said_by_its_name(world: World) -> None:
    unset = world.settings.model_copy(update={"thumbnail_bucket": None, "topic_arn": None, "sender": None})
    found = [one.todo for one in check(unset, None) if one.status != "ok"]

    names = ("--photo-bucket", "THUMBNAIL_BUCKET", "TOPIC_ARN", "SENDER")
    assert [sum(name in todo for todo in found) for name in names] == [5, 6, 2, 2]
    assert len(found) == 5 + 6 + 2 + 2


def test_a_table_with_other_keys_is_not_the_ledger(world: World) -> None:
    found = world.check(ledger_table=world.settings.profiles_table)
    told = [one.todo for one in found.values() if one.action == "dynamodb:UpdateItem"]

    assert len(told) == 1
    assert "with the keys user_id (S) and photo_id (S)" in told[0]


def test_a_ledger_without_its_index_and_expiry_is_told(world: World) -> None:
    keys = {"user_id": "HASH", "photo_id": "RANGE"}
    world.stack.client("dynamodb").create_table(
        TableName="plain",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    found = world.check(ledger_table="plain")
    told = [one.todo for one in found.values() if one.status == "missing"]

    assert len(told) == 2
    assert "plain has no index `unfinished`" in told[0]
    assert "aws dynamodb update-time-to-live" in told[1]


def test_a_thumbnail_bucket_that_keeps_versions_is_told_and_left_alone(world: World) -> None:
    s3 = world.stack.client("s3")
    s3.create_bucket(Bucket="versioned", CreateBucketConfiguration={"LocationConstraint": world.settings.region})
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    found = world.check(thumbnail_bucket="versioned")

    assert rows(found, "missing") == {"s3:GetBucketVersioning"}
    assert found["s3:DeleteObject", "arn:aws:s3:::versioned/*"].status == "not proven"
    assert "DeleteMarkers" not in s3.list_object_versions(Bucket="versioned")


@pytest.mark.parametrize(
    "operation",
    [
        "DescribeCollection",
        "DetectFaces",
        "SearchFacesByImage",
        "IndexFaces",
        "SearchFaces",
        "ListFaces",
        "DeleteFaces",
        "DisassociateFaces",
    ],
)
def test_a_face_permission_that_is_refused_is_named(world: World, operation: str) -> None:
    world.rekognition.switches.fail(operation, "AccessDeniedException")
    found = world.check()
    (refused,) = [one for one in found.values() if one.status == "missing"]

    assert (refused.service, refused.action) == ("rekognition", f"rekognition:{operation}")
    assert refused.resource.endswith("*" if operation == "DetectFaces" else "collection/selfiegate")
    assert f"allow rekognition:{operation}" in refused.todo


def test_a_gallery_that_is_missing_is_not_created(world: World) -> None:
    found = world.check(collection="nowhere")

    assert found["rekognition:CreateCollection", "*"].status == "not proven"
    assert world.rekognition.calls["CreateCollection"] == 1  # the fixture's


def test_the_templates_policies_are_enough(world: World) -> None:
    with acting_with(world.stack, {action for action, _ in world.stack.granted(*POLICIES)}):
        found = world.check(**fresh(world))

    assert rows(found, "missing") == set()
    assert rows(found, "not proven") == ONLY_BY_DOING


@pytest.mark.parametrize(
    "action",
    [
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
        "dynamodb:Query",
    ],
)
def test_a_permission_that_no_policy_grants_is_named(world: World, action: str) -> None:
    with acting_with(world.stack, {granted for granted, _ in world.stack.granted(*POLICIES)} - {action}):
        found = world.check(**fresh(world))
    refused = [one for one in found.values() if one.status == "missing"]

    # moto asks for GetObject where a version is read, too.
    assert {one.action for one in refused} - {"s3:GetObjectVersion"} == {action}
    assert all(one.todo.startswith("allow ") for one in refused)


def test_a_worker_is_told_what_only_an_operator_may(world: World) -> None:
    with acting_with(world.stack, {action for action, _ in world.stack.granted("WorkerPolicy", "WorkerMailPolicy")}):
        found = world.check(**fresh(world))
    told = {one.action for one in found.values() if "OperatorRole" in one.todo}

    assert rows(found, "missing") == set()
    assert told == {
        "dynamodb:DescribeTimeToLive",
        "s3:DeleteObjectVersion",
        "s3:GetBucketVersioning",
        "ses:GetIdentityVerificationAttributes",
        "sns:GetTopicAttributes",
    }


def test_an_endpoint_that_does_not_answer_is_told(world: World) -> None:
    found = world.check(rekognition_endpoint_url="http://127.0.0.1:9")

    assert {one.service for one in found.values() if "no answer" in one.todo} == {"rekognition"}
    assert "SELFIEGATE_AWS__ENDPOINT_URL" in found["rekognition:DetectFaces", "*"].todo


def test_throttling_proves_nothing(world: World) -> None:
    world.rekognition.switches.fail("DetectFaces", "ThrottlingException")
    found = world.check()["rekognition:DetectFaces", "*"]

    assert found.status == "not proven"
    assert "ThrottlingException" in found.todo


def test_without_credentials_that_is_all_there_is_to_tell(world: World) -> None:
    (found,) = check(world.settings.model_copy(update={"endpoint_url": "http://127.0.0.1:9"}), world.photos)

    assert (found.action, found.status) == ("sts:GetCallerIdentity", "missing")
    assert "SELFIEGATE_AWS__CREDENTIALS_BLOCK" in found.todo


def test_the_printed_rows_name_action_resource_and_mend(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    usable = examine(world.settings, world.photos)
    broken = examine(world.settings.model_copy(update={"collection": "nowhere"}), world.photos)
    printed = " ".join(capsys.readouterr().out.split())

    assert (usable, broken) == (True, False)
    assert "✗ missing rekognition:DescribeCollection" in printed
    assert "`selfiegate gallery create`" in printed


def fresh(world: World) -> dict[str, str]:
    """Return a change that makes new clients, with the present credentials; they are kept by settings."""
    collection = f"gallery-{next(_numbers)}"
    world.faces.create_collection(CollectionId=collection)
    return {"collection": collection}


REGION_ROW = "SELFIEGATE_AWS__REGION"


def test_a_wrong_region_is_named_with_the_right_one(world: World) -> None:
    found = world.check(region="us-west-2")[REGION_ROW, "us-west-2"]

    assert found.status == "missing"
    assert "the collection selfiegate is in eu-west-1" in found.todo
    assert "SELFIEGATE_AWS__REGION=eu-west-1" in found.todo


def test_a_region_that_nobody_knows_is_named_before_aws_is_asked() -> None:
    (found,) = check(AwsSettings(region="eu-west-11"), None)

    assert (found.action, found.status) == (REGION_ROW, "missing")
    assert "no Rekognition in eu-west-11" in found.todo
    assert "eu-west-1" in found.todo.replace("eu-west-11", "")


def test_a_bucket_of_another_region_is_told_and_nothing_is_missing(world: World) -> None:
    s3 = boto3.client("s3", endpoint_url=world.stack.url, region_name="us-west-2")
    s3.create_bucket(Bucket="far-photos", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    found = check(world.settings, "far-photos")
    (region,) = [one for one in found if one.action == REGION_ROW]

    assert [one for one in found if one.status == "missing"] == []
    assert "the bucket far-photos is in us-west-2" in region.note
    assert "sent as bytes" in region.note


@pytest.mark.parametrize(
    "changes",
    [
        {"topic_arn": "arn:aws:sns:us-west-2:123456789012:notices"},
        {"queue_url": "https://sqs.us-west-2.amazonaws.com/123456789012/photos"},
        {"dead_queue_url": "https://sqs.us-west-2.amazonaws.com/123456789012/dead"},
    ],
)
def test_a_topic_or_queue_of_another_region_is_named(world: World, changes: dict[str, str]) -> None:
    found = world.check(**changes)[REGION_ROW, "eu-west-1"]
    (name,) = changes

    assert found.status == "missing"
    assert f"SELFIEGATE_AWS__{name.upper()} is in us-west-2" in found.todo


def test_the_collections_model_is_told_and_an_older_one_with_what_moves_it(world: World) -> None:
    present = world.check()
    world.rekognition.switches.make_with("5.0")
    older = world.check(**fresh(world))
    (new,), (old,) = (
        [one.note for one in found.values() if one.action == "rekognition:DescribeCollection"]
        for found in (present, older)
    )

    assert new == "0 faces of model version 7.0"
    assert old.startswith("0 faces of model version 5.0; ")
    assert "selfiegate gallery rebuild" in old


def queues(world: World) -> dict[str, str | None]:
    return {
        "queue_url": world.stack.outputs["PhotoQueueUrl"],
        "dead_queue_url": world.stack.outputs["DeadPhotoQueueUrl"],
    }


def test_the_bridges_queues_are_looked_at_where_they_are_set(world: World) -> None:
    found = [one for one in world.check(**queues(world)).values() if one.service == "sqs"]
    granted = {pair for pair in world.stack.granted("BridgePolicy") if pair[0].startswith("sqs:")}

    assert {(one.action, one.resource) for one in found} == granted
    assert {one.action for one in found if one.status == "not proven"} == {"sqs:ReceiveMessage", "sqs:SendMessage"}
    assert {one.status for one in found} == {"ok", "not proven"}


def test_a_queue_that_is_not_there_is_named(world: World) -> None:
    found = world.check(queue_url=f"{world.stack.url}/123456789012/nowhere")
    told = [one.todo for one in found.values() if one.status == "missing"]

    assert told
    assert all("there is no queue" in todo and "SELFIEGATE_AWS__QUEUE_URL" in todo for todo in told)


def test_a_queue_whose_key_events_cannot_use_is_named(world: World) -> None:
    sqs = world.stack.client("sqs")
    url = sqs.create_queue(QueueName="keyed", Attributes={"KmsMasterKeyId": "alias/aws/sqs"})["QueueUrl"]
    found = world.check(**{**queues(world), "queue_url": url})
    (told,) = [one.todo for one in found.values() if one.status == "missing"]

    assert "alias/aws/sqs" in told
    assert "SqsManagedSseEnabled" in told


def test_a_queue_without_a_place_for_dead_events_is_named(world: World) -> None:
    url = world.stack.client("sqs").create_queue(QueueName="bare")["QueueUrl"]
    (told,) = [one.todo for one in world.check(queue_url=url).values() if one.status == "missing"]

    assert "SELFIEGATE_AWS__DEAD_QUEUE_URL" in told


def test_a_worker_is_told_what_only_the_bridge_may(world: World) -> None:
    with acting_with(world.stack, {action for action, _ in world.stack.granted(*POLICIES)}):
        found = world.check(**fresh(world), **queues(world))
    told = {one.action for one in found.values() if "BridgeRole" in one.todo}

    assert rows(found, "missing") == set()
    assert told == {"sqs:GetQueueAttributes", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}


@pytest.fixture
def keyed(world: World) -> Iterator[str]:
    """The photo bucket's key, with a photo under it."""
    s3, key = world.stack.client("s3"), world.stack.client("kms").create_key()["KeyMetadata"]["Arn"]
    s3.put_object(Bucket=world.photos, Key="ann/1.jpg", Body=b"selfie", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    yield key
    for version in s3.list_object_versions(Bucket=world.photos)["Versions"]:
        s3.delete_object(Bucket=world.photos, Key=version["Key"], VersionId=version["VersionId"])


def test_the_key_that_photos_are_encrypted_under_is_told(world: World, keyed: str) -> None:
    found = world.check()["s3:GetObject", f"arn:aws:s3:::{world.photos}/*"]

    assert (found.status, keyed in found.note) == ("ok", True)


def test_a_key_that_may_not_be_used_is_named(world: World, keyed: str) -> None:
    proxy = Proxy(world.stack.url)
    proxy.fail("s3:GetObject", "refuse_key", 1)
    found = world.check(s3_endpoint_url=proxy.url)["s3:GetObject", f"arn:aws:s3:::{world.photos}/*"]
    proxy.close()

    assert (found.status, "allow kms:Decrypt" in found.todo) == ("missing", True)
