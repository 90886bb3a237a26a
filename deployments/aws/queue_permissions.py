"""What the bridge needs of its queues. Events that are looked at would count as handed out, so none is received."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from deployments.aws.probes import Missing, Permission, Where, call, nothing
from selfiegate.aws.settings import AwsSettings

_STALE = frozenset({"InvalidParameterValue", "ReceiptHandleIsInvalid"})
_OWN_KEY = "alias/aws/sqs"


def queue_permissions(settings: AwsSettings, where: Where) -> list[Permission]:
    """List what the bridge's role needs, where settings name its queues."""
    found: list[Permission] = []
    if settings.queue_url:
        found += _photos(settings.queue_url, bool(settings.dead_queue_url), where)
    if settings.dead_queue_url:
        found += _dead(settings.dead_queue_url, where)
    return found


def _photos(url: str, has_dead_queue: bool, where: Where) -> list[Permission]:
    arn, absent = _arn(url, where), f"there is no queue {url}: correct SELFIEGATE_AWS__QUEUE_URL"

    def look(sqs: Any) -> str:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        if not has_dead_queue and "RedrivePolicy" not in attributes:
            raise Missing(
                "an event that cannot be read would come back until it expires: give the queue a redrive policy, "
                "or set SELFIEGATE_AWS__DEAD_QUEUE_URL"
            )
        return _keyed(attributes)

    receipt = {"QueueUrl": url, "ReceiptHandle": nothing()}
    hide = call("change_message_visibility", **receipt, VisibilityTimeout=0)
    receiving = "receiving would count as a delivery of an event; the bridge's log shows whether it works"
    return [
        Permission("sqs:GetQueueAttributes", arn, look, absent, is_bridges=True),
        Permission("sqs:ReceiveMessage", arn, None, unproven=receiving),
        Permission("sqs:DeleteMessage", arn, call("delete_message", **receipt), absent, _STALE, is_bridges=True),
        Permission("sqs:ChangeMessageVisibility", arn, hide, absent, _STALE, is_bridges=True),
    ]


def _dead(url: str, where: Where) -> list[Permission]:
    arn, absent = _arn(url, where), f"there is no queue {url}: correct SELFIEGATE_AWS__DEAD_QUEUE_URL"

    def look(sqs: Any) -> str:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return _key_note(found.get("KmsMasterKeyId"))

    sending = "sending would leave a message there; the first event that cannot be read shows whether it works"
    return [
        Permission("sqs:GetQueueAttributes", arn, look, absent, is_bridges=True),
        Permission("sqs:SendMessage", arn, None, unproven=sending),
    ]


def _keyed(attributes: dict[str, str]) -> str:
    """Tell the queue's key; AWS lets nobody change the policy of its own key, and events are not in that policy."""
    key = attributes.get("KmsMasterKeyId")
    if key and key.endswith(_OWN_KEY):
        raise Missing(
            f"neither EventBridge nor S3 can write to a queue under {_OWN_KEY}: set SqsManagedSseEnabled, or a key "
            "whose policy allows events.amazonaws.com kms:GenerateDataKey and kms:Decrypt"
        )
    return _key_note(key)


def _key_note(key: str | None) -> str:
    return f"encrypted under {key}: the bridge's role needs kms:Decrypt and kms:GenerateDataKey on it" if key else ""


def _arn(url: str, where: Where) -> str:
    account, name = urlsplit(url).path.split("/")[-2:]
    return where._replace(account=account).arn("sqs", name)
