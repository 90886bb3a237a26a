"""A queue in SQS, and the one for dead messages beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError

from selfiegate.aws.clients import AwsSettings, client, code_of, translated
from selfiegate.event_queue import MOST, Message, shortened

_GONE = {
    "AWS.SimpleQueueService.MessageNotInflight",
    "InvalidParameterValue",  # the receipt ran out, or the message was in flight for 12 hours
    "MessageNotInflight",
    "ReceiptHandleIsInvalid",
}


class SqsQueue:
    """Messages to put, to take, to keep, to give back and to settle. Safe to call from several threads."""

    def __init__(self, settings: AwsSettings) -> None:
        self._settings, self._url, self._dead_url = settings, settings.queue_url, settings.dead_queue_url

    @property
    def place(self) -> str:
        """Name the queue by its address."""
        return str(self._url)

    def check(self) -> None:
        """Look at both queues; raises `BackendMisconfigured` where one is not there for us."""
        for url in filter(None, (self._url, self._dead_url)):
            with translated(f"sqs:GetQueueAttributes of {url}"):
                self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])

    def put(self, body: str) -> None:
        """Add a message; the role needs sqs:SendMessage on the queue of events."""
        with translated(f"sqs:SendMessage to {self._url}"):
            self._client.send_message(QueueUrl=self._url, MessageBody=body)

    def waiting(self) -> int:
        """Count the messages that wait for a bridge, as of a minute ago at most."""
        name = "ApproximateNumberOfMessages"
        with translated(f"sqs:GetQueueAttributes of {self._url}"):
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def receive(self, most: int, wait_s: int, visibility_s: int) -> Sequence[Message]:
        """Wait for messages and return up to ten; nobody else gets them for `visibility_s`."""
        with translated(f"sqs:ReceiveMessage from {self._url}"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(most, MOST),
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=visibility_s,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        return [_message(found) for found in answer.get("Messages", [])]

    def extend(self, message: Message, visibility_s: int) -> bool:
        """Keep a message from others for so long from now, 0 to give it back; False where it is no longer ours."""
        with translated(f"sqs:ChangeMessageVisibility on {self._url}"):
            try:
                self._client.change_message_visibility(
                    QueueUrl=self._url, ReceiptHandle=message.receipt, VisibilityTimeout=visibility_s
                )
            except ClientError as error:
                if code_of(error) in _GONE:
                    return False
                raise
        return True

    def delete(self, message: Message) -> None:
        """Settle a message; one that is gone is fine."""
        with translated(f"sqs:DeleteMessage on {self._url}"):
            try:
                self._client.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)
            except ClientError as error:
                if code_of(error) not in _GONE:
                    raise

    def bury(self, message: Message, reason: str) -> bool:
        """Move a message to the dead ones, with its reason; False where no queue is set for them.

        It is deleted only once the other queue has it; where that fails, it will be buried again.
        """
        if not self._dead_url:
            return False
        texts = {"reason": shortened(reason), "message_id": message.id}
        with translated(f"sqs:SendMessage to {self._dead_url}"):
            self._client.send_message(
                QueueUrl=self._dead_url,
                MessageBody=message.body,
                MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in texts.items()},
            )
        self.delete(message)
        return True

    @property
    def _client(self) -> Any:
        return client("sqs", self._settings)


def _message(found: dict[str, Any]) -> Message:
    told = found.get("Attributes", {})
    sent_at = int(told["SentTimestamp"]) / 1000 if "SentTimestamp" in told else time.time()
    deliveries = int(told.get("ApproximateReceiveCount", 1))
    return Message(found["MessageId"], found["Body"], found["ReceiptHandle"], sent_at, deliveries)
