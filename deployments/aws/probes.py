"""What a permission is, and how one is proven."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

Probe = Callable[[Any], object]


class Missing(Exception):
    """AWS answered, and the answer shows that something is missing; the message says what to do."""


class Where(NamedTuple):
    """The part of an ARN that all resources share."""

    partition: str
    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def bucket(self, path: str) -> str:
        """Return the ARN of a bucket or of objects in it."""
        return f"arn:{self.partition}:s3:::{path}"


@dataclass(frozen=True)
class Permission:
    """One action on one resource.

    `probe` calls it on the service's client; None where only doing it for real would prove it, `unproven`
    says why. `proves` are error codes that AWS answers to those alone who may. `absent` is what to do where
    the resource does not exist. A probe that is harmless or conclusive only if another permission is there
    comes `after` that. What a probe returns as text is worth knowing.
    """

    action: str
    resource: str
    probe: Probe | None
    absent: str = ""
    proves: frozenset[str] = frozenset()
    after: Permission | None = None
    unproven: str = ""
    is_operators: bool = False
    is_bridges: bool = False

    @property
    def service(self) -> str:
        """IAM's name of the service, which is boto3's."""
        return self.action.partition(":")[0]


def call(operation: str, **arguments: object) -> Probe:
    return lambda client: getattr(client, operation)(**arguments)


def key_of(answer: dict[str, Any]) -> str:
    """Name the key of KMS under which S3 keeps what it answers of."""
    return f"encrypted under {answer['SSEKMSKeyId']}" if "SSEKMSKeyId" in answer else ""


def list_one(bucket: str) -> Probe:
    return call("list_objects_v2", Bucket=bucket, Prefix=nothing(), MaxKeys=1)


def camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


def nothing() -> str:
    return f"selfiegate-check-{uuid.uuid4()}"


def unproven(found: list[Permission], why: str) -> list[Permission]:
    return [
        Permission(permission.action, permission.resource, None, unproven=why, is_operators=permission.is_operators)
        for permission in found
    ]
