"""The CloudFormation template: clean, least privilege, and in step with what `aws check` walks and settings know."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.aws.permissions import permissions
from deployments.aws.probes import Where
from tests.aws.stack import COMPUTE, REGION, SENDER, TEMPLATE, Stack, deploy, environment_of, template, worker_settings

RESOURCES: dict[str, Any] = template()["Resources"]
KEPT = {"AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::Rekognition::Collection", "AWS::KMS::Key"}
STORES = (["S3", "Bucket"], ["DynamoDB", "Table"], ["SQS", "Queue"], ["SNS", "Topic"])
PROCESSES = ("WorkerPolicy", "WorkerMailPolicy", "OperatorPolicy", "BridgePolicy")


@pytest.fixture(scope="module")
def stack(moto: str) -> Stack:
    return deploy(moto, Sender=SENDER, UserFrom="metadata")


def statements(effect: str) -> list[dict[str, Any]]:
    """Return all policy statements of one effect, of roles, buckets and queues."""
    properties = [resource.get("Properties", {}) for resource in RESOURCES.values()]
    documents = [value for found in properties for name, value in found.items() if name.endswith("PolicyDocument")]
    return [one for document in documents for one in document["Statement"] if one["Effect"] == effect]


def actions(statement: dict[str, Any]) -> list[str]:
    named = statement["Action"]
    return [named] if isinstance(named, str) else named


def test_cfn_lint_finds_nothing() -> None:
    command: list[str | Path] = [
        Path(sys.executable).with_name("cfn-lint"),
        "--include-checks",
        "I",
        "--",
        TEMPLATE,
        COMPUTE,
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert found.stdout == ""
    assert found.returncode == 0


def test_nothing_is_allowed_by_a_wildcard_action() -> None:
    assert [action for statement in statements("Allow") for action in actions(statement) if "*" in action] == []


def test_a_wildcard_resource_says_why() -> None:
    lines = [line for line in TEMPLATE.read_text().splitlines() if re.search(r'Resource: "\*"', line)]

    assert lines
    assert [line for line in lines if "#" not in line] == []


def test_what_knows_no_resource_is_bound_to_the_region() -> None:
    unbound = [one["Sid"] for one in statements("Allow") if one.get("Resource") == "*" and "Condition" not in one]

    assert unbound == []


def test_buckets_queues_and_topic_refuse_plain_http() -> None:
    denied, kinds = statements("Deny"), [resource["Type"].split("::", 1)[1] for resource in RESOURCES.values()]

    assert len(denied) == sum(kinds.count(kind) for kind in ("S3::Bucket", "SQS::Queue", "SNS::Topic"))
    assert all(one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for one in denied)


def test_a_service_takes_a_role_for_this_account_alone() -> None:
    roles = [one["Properties"]["AssumeRolePolicyDocument"] for one in RESOURCES.values() if "Role" in one["Type"]]
    services = [one for role in roles for one in role["Statement"] if "Service" in str(one["Principal"])]

    assert len(services) == 3
    assert all("aws:SourceAccount" in str(one["Condition"]) for one in services)


def test_each_alarm_tells_the_topic_of_the_parameter_and_none_is_raised_by_silence() -> None:
    alarms = {name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    told = {"If": ["HasAlarmTopic", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]}

    assert {name.removesuffix("Alarm") for name in alarms} == {
        "DeadPhotos",
        "DeadWebhook",
        "QueueAge",
        "NoClaims",
        "RecordsThrottled",
        "FacesThrottled",
    }
    assert all(one["AlarmActions"] == one["OKActions"] == told for one in alarms.values())
    assert all(one["TreatMissingData"] == "notBreaching" for one in alarms.values())


def test_a_customers_key_encrypts_all_that_is_kept_or_sent(moto: str) -> None:
    stored = {name: str(one["Properties"]) for name, one in RESOURCES.items() if one["Type"].split("::")[1:] in STORES}
    roles = [{"Ref": name} for name in ("WorkerRole", "BridgeRole", "OperatorRole")]
    keys = "arn:aws:kms:eu-west-1:123456789012:key/a", "arn:aws:kms:eu-west-1:123456789012:key/b"
    both = deploy(moto, CustomerKey="yes", ExistingKeys=",".join(keys))
    granted = both.granted("KeyPolicy")

    assert len(stored) == 8
    assert all("HasCustomerKey" in one and "Key.Arn" in one for one in stored.values())
    assert RESOURCES["KeyPolicy"]["Properties"]["Roles"] == roles
    assert {action for action, _ in granted} == {"kms:Decrypt", "kms:GenerateDataKey"}
    assert {key for _, key in granted} == {both.outputs["KeyArn"], *keys}
    assert granted == both.granted("UploaderKeyPolicy")


def test_a_table_is_not_deleted_by_mistake() -> None:
    tables = [one["Properties"] for one in RESOURCES.values() if one["Type"] == "AWS::DynamoDB::Table"]

    assert [one["DeletionProtectionEnabled"] for one in tables] == [True, True]


def test_an_exception_to_a_check_gives_its_reason() -> None:
    skipped = [one for name in (TEMPLATE, COMPUTE) for one in exceptions(template(name))]

    assert skipped
    assert all(len(one["comment"]) > 10 for one in skipped)


def exceptions(found: dict[str, Any]) -> list[dict[str, str]]:
    """Return checkov's exceptions, which stand in the resources' metadata."""
    return [
        skip
        for resource in found["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]


def test_an_uploader_puts_photos_and_does_nothing_else(stack: Stack) -> None:
    bucket = stack.outputs["PhotoBucketName"]

    assert stack.granted("UploaderPolicy") == {("s3:PutObject", f"arn:aws:s3:::{bucket}/*")}


def test_only_a_queues_own_rule_may_send_to_it() -> None:
    senders = [one for one in statements("Allow") if "sqs:SendMessage" in actions(one) and "Principal" in one]
    rules = {one["Resource"]["GetAtt"]: one["Condition"]["ArnEquals"]["aws:SourceArn"]["GetAtt"] for one in senders}

    assert all(one["Principal"] == {"Service": "events.amazonaws.com"} for one in senders)
    assert rules == {
        "PhotoQueue.Arn": "PhotoRule.Arn",
        "DeadPhotoQueue.Arn": "PhotoRule.Arn",
        "DeadWebhookQueue.Arn": "WebhookRule.Arn",
    }


def test_all_that_reaches_prefect_cloud_exists_only_where_its_webhook_is_set() -> None:
    conditional = {name for name, resource in RESOURCES.items() if resource.get("Condition") == "HasWebhook"}

    assert template()["Conditions"]["HasWebhook"] == {"Not": [{"Equals": [{"Ref": "PrefectWebhookUrl"}, ""]}]}
    assert conditional == {name for name in RESOURCES if "Webhook" in name}
    assert template()["Outputs"]["DeadWebhookQueueUrl"]["Condition"] == "HasWebhook"


def test_the_webhook_is_told_of_the_photos_that_the_queue_gets() -> None:
    queue, webhook = (RESOURCES[name]["Properties"] for name in ("PhotoRule", "WebhookRule"))
    (target,) = webhook["Targets"]

    assert webhook["EventPattern"] == queue["EventPattern"]
    assert target["DeadLetterConfig"] == {"Arn": {"GetAtt": "DeadWebhookQueue.Arn"}}
    assert "InputTransformer" not in target  # `process-event` takes the event as it is


def test_the_webhooks_role_may_call_the_webhook_and_nothing_else() -> None:
    role, policy = (RESOURCES[name]["Properties"] for name in ("WebhookRole", "WebhookPolicy"))
    (allowed,) = policy["PolicyDocument"]["Statement"]

    assert role["ManagedPolicyArns"] == [{"Ref": "WebhookPolicy"}]
    assert (allowed["Action"], allowed["Resource"]) == ("events:InvokeApiDestination", {"GetAtt": "Webhook.Arn"})


def test_what_prefect_cloud_is_shown_is_not_shown_to_others() -> None:
    parameters = template()["Parameters"]

    assert all(parameters[name]["NoEcho"] for name in ("PrefectWebhookUrl", "PrefectWebhookKey"))


def test_photos_faces_and_decisions_outlive_the_stack() -> None:
    lost = [
        name
        for name, resource in RESOURCES.items()
        if resource["Type"] in KEPT
        and (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")) != ("Retain", "Retain")
    ]

    assert lost == []


def test_each_permission_that_check_walks_is_granted_and_each_granted_one_is_walked(stack: Stack) -> None:
    arn = stack.outputs["WorkerRoleArn"].split(":")
    walked = permissions(worker_settings(stack).aws, stack.outputs["PhotoBucketName"], Where(arn[1], REGION, arn[4]))
    domain = "identity/" + SENDER.partition("@")[2]  # SES may ask for it in place of the address
    granted = {(action, where) for action, where in stack.granted(*PROCESSES) if not where.endswith(domain)}

    assert {(one.action, one.resource) for one in walked} == granted


def test_what_only_looks_or_creates_is_the_operators(stack: Stack) -> None:
    arn = stack.outputs["WorkerRoleArn"].split(":")
    walked = permissions(worker_settings(stack).aws, stack.outputs["PhotoBucketName"], Where(arn[1], REGION, arn[4]))

    assert {(one.action, one.resource) for one in walked if one.is_operators} == stack.granted("OperatorPolicy")


def test_the_bridge_reads_photos_only_where_it_takes_users_from_their_metadata(stack: Stack) -> None:
    always = {action for action, _ in stack.granted("BridgePolicy")}
    besides = {action for action, _ in stack.granted("BridgeMetadataPolicy")}

    assert always == {
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
        "dynamodb:GetItem",
    }
    assert besides == {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"}


def test_the_output_is_a_workers_environment(stack: Stack) -> None:
    settings = worker_settings(stack)

    assert (settings.aws.region, settings.aws.collection) == (REGION, "selfiegate")
    assert (settings.aws.ledger_table, settings.aws.profiles_table) == ("selfiegate-ledger", "selfiegate-profiles")
    assert settings.aws.sender == SENDER
    assert settings.aws.topic_arn
    assert settings.notices == ("log", "sns")
    assert settings.aws.thumbnail_bucket


def test_the_workshops_bucket_collection_and_table_can_be_kept(moto: str) -> None:
    kept = {
        "ExistingPhotoBucket": "riders-photos",
        "ExistingThumbnailBucket": "riders-thumbnails",
        "ExistingCollection": "rider-photos",
        "ExistingProfilesTable": "RiderPhotoDDBTable",
    }
    workshop = deploy(moto, **kept)
    environment = environment_of(workshop)
    buckets = workshop.client("s3").list_buckets()["Buckets"]
    tables = workshop.client("dynamodb").list_tables()["TableNames"]

    assert environment["SELFIEGATE_AWS__COLLECTION"] == "rider-photos"
    assert environment["SELFIEGATE_AWS__PROFILES_TABLE"] == "RiderPhotoDDBTable"
    assert environment["SELFIEGATE_AWS__THUMBNAIL_BUCKET"] == "riders-thumbnails"
    assert "SELFIEGATE_AWS__SENDER" not in environment
    assert (buckets, tables) == ([], ["selfiegate-ledger"])


@pytest.mark.parametrize(
    ("prefix", "keys"), [("", ["readme.txt", "selfies/ann.jpg"]), ("selfies/", ["selfies/ann.jpg"])]
)
def test_uploads_below_the_prefix_reach_the_queue(moto: str, prefix: str, keys: list[str]) -> None:
    uploads = deploy(moto, PhotoPrefix=prefix)
    s3, bucket = uploads.client("s3"), uploads.outputs["PhotoBucketName"]
    switch: dict[str, Any] = {"EventBridgeConfiguration": {}}  # moto's CloudFormation leaves it out
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=switch)
    for key in ("readme.txt", "selfies/ann.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"photo")
    queue = f"{moto}/123456789012/selfiegate-photos"
    found = uploads.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)

    events = [json.loads(message["Body"]) for message in found["Messages"]]
    assert sorted(event["detail"]["object"]["key"] for event in events) == keys
