"""The queue of photo events that the bridge takes from: SQS (`aws/sqs_queue`), PostgreSQL (`stores/postgres_queue`).

A message is delivered once or more often, in no promised order. tests/contract/queue.py holds what all queues promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from selfiegate.untrusted_text import plain

MOST = 10
"""How many messages one call of `receive` returns at most."""
_LONGEST_REASON = 1000  # characters; in SQS body and attributes share one bound


class Message(NamedTuple):
    """One delivery of a message; the next one has another receipt."""

    id: str
    body: str
    receipt: str
    sent_at: float
    """Seconds since 1970."""
    deliveries: int = 1
    """How often it was received, now included."""


class EventQueue(Protocol):
    """Messages to put, to take, to keep, to give back and to settle. Safe to call from several threads.

    Every method may raise `BackendUnavailable` (try again) or `BackendMisconfigured` (mend the set-up).
    """

    @property
    def place(self) -> str:
        """Name the queue for people."""

    def check(self) -> None:
        """Look at the queue; raises `BackendMisconfigured` where it is not there for us."""

    def put(self, body: str) -> None:
        """Add a message, durable once this returns; a repeated call adds another one."""

    def waiting(self) -> int:
        """Count the messages that wait for a bridge, as of a moment ago."""

    def receive(self, most: int, wait_s: int, visibility_s: int) -> Sequence[Message]:
        """Wait for messages and return up to `MOST`; nobody else gets them for `visibility_s`."""

    def extend(self, message: Message, visibility_s: int) -> bool:
        """Keep a message from others for so long from now, 0 to give it back; False where it is no longer ours."""

    def delete(self, message: Message) -> None:
        """Settle a message; one that is gone is fine."""

    def bury(self, message: Message, reason: str) -> bool:
        """Move a message to the dead ones, with its reason; False where there is no place for them."""


def shortened(reason: str) -> str:
    """Return a reason as queues keep it."""
    return plain(reason)[:_LONGEST_REASON]
