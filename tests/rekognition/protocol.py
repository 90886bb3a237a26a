"""Rekognition's JSON 1.1 protocol, held against botocore's own model of the service."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator

_session = botocore.session.Session()
SERVICE = _session.get_service_model("rekognition")
_SHAPES = _session.get_service_data("rekognition")["shapes"]

USER_CALLS = ("CreateUser", "DeleteUser", "AssociateFaces", "DisassociateFaces")
OPERATIONS = (
    "CreateCollection",
    "DeleteCollection",
    "DescribeCollection",
    "ListCollections",
    "DetectFaces",
    "SearchFacesByImage",
    "IndexFaces",
    "SearchFaces",
    "ListFaces",
    "DeleteFaces",
    "ListUsers",
    *USER_CALLS,
)

HOME = "us-east-1"
"""The region of unsigned requests, and S3's name for buckets without a location."""

_LONG = (str, bytes, list, dict)

_MESSAGES = {
    "AccessDeniedException": "User: arn:aws:sts::123456789012:assumed-role/tests is not authorized to perform: "
    "rekognition:{operation}",
    "ImageTooLargeException": "Image size is too large.",
    "IdempotentParameterMismatchException": "A ClientRequestToken was used before with other parameters",
    "InternalServerError": "Internal server error",
    "InvalidImageFormatException": "Request has invalid image format",
    "InvalidPaginationTokenException": "Invalid Pagination Token",
    "InvalidParameterException": "Request has invalid parameters",
    "InvalidS3ObjectException": "Unable to get object metadata from S3. Check object key, region and/or access "
    "permissions.",
    "ProvisionedThroughputExceededException": "Provisioned Rate exceeded",
    "ThrottlingException": "Service Unavailable",
}
"""AWS's texts, from "Error handling" in the Rekognition developer guide."""


class AwsError(Exception):
    """An answer with an error code; without a message of its own it gets the one that AWS documents."""

    def __init__(self, code: str, message: str | None = None) -> None:
        super().__init__(code)
        self.code, self.message = code, message

    @property
    def status(self) -> int:
        """500 for what the service model calls a fault (throttling is one), else 400."""
        return 500 if _SHAPES.get(self.code, {}).get("fault") else 400

    def body(self, operation: str) -> bytes:
        """Return the JSON that AWS sends."""
        message = self.message or _MESSAGES.get(self.code, self.code).format(operation=operation)
        parts = {"__type": self.code, "Code": self.code, "Logref": str(uuid.uuid4()), "Message": message}
        return json.dumps(parts).encode()


def operation_of(target: str) -> OperationModel:
    """Return the operation that an `X-Amz-Target` header names."""
    prefix, _, name = target.partition(".")
    if prefix != SERVICE.metadata["targetPrefix"] or name not in OPERATIONS:
        raise AwsError("UnknownOperationException", f"{target!r} is not an operation of this endpoint")
    return SERVICE.operation_model(name)


def region_of(authorization: str) -> str:
    """Return the region that a request was signed for: 'Credential=KEY/DATE/REGION/rekognition/aws4_request'."""
    found = re.search(r"Credential=[^,]+/\d{8}/([^/,]+)/", authorization)
    return found[1] if found else HOME


def read_request(operation: OperationModel, body: bytes) -> dict[str, Any]:
    """Return the parameters with blobs as bytes, or raise what AWS answers to those that break the model."""
    try:
        parameters = json.loads(body)
        _decode_blobs(operation.input_shape, parameters)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise AwsError("SerializationException", f"the body is not the JSON of {operation.name}: {error}") from None
    if broken := broken_constraints(operation.input_shape, parameters):
        raise AwsError("ValidationException", f"{len(broken)} validation error detected: {'; '.join(broken)}")
    return dict(parameters)


def broken_constraints(shape: Shape, value: Any) -> list[str]:
    """Return what a request or an answer breaks of its shape: members, types, lengths, ranges, patterns, enums."""
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        return str(report.generate_report()).splitlines()
    return list(_broken(shape, value, ""))


def _broken(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Yield what botocore's validator leaves to the service; it looked at types and least lengths before."""
    for member, part, name in _parts(shape, value, path):
        yield from _broken(member, part, name)
    limits, start = shape.metadata, f"Value at '{path.lstrip('.')}' failed to satisfy constraint: Member must "
    if "enum" in limits and value not in limits["enum"]:
        yield f"{start}satisfy enum value set: {limits['enum']}"
    pattern = limits.get("pattern", ".*")
    if "\\p{" not in pattern and isinstance(value, str) and not re.fullmatch(pattern, value, re.DOTALL):
        yield f"{start}satisfy regular expression pattern: {pattern}"  # tags alone have Java's \\p classes
    size = value if isinstance(value, (int, float)) else len(value) if isinstance(value, _LONG) else 0
    if size > limits.get("max", float("inf")):
        kind = "value" if isinstance(value, (int, float)) else "length"
        yield f"{start}have {kind} less than or equal to {limits['max']}"


def _parts(shape: Shape, value: Any, path: str) -> Iterator[tuple[Shape, Any, str]]:
    match shape.type_name:
        case "structure":
            for name, part in value.items():
                yield shape.members[name], part, f"{path}.{name[0].lower()}{name[1:]}"
        case "list":
            for number, part in enumerate(value, 1):
                yield shape.member, part, f"{path}.{number}.member"
        case "map":
            for key, part in value.items():
                yield shape.key, key, f"{path}.key"
                yield shape.value, part, f"{path}.value"


def _decode_blobs(shape: Shape, value: Any) -> None:
    for name, part in value.items():
        member = shape.members.get(name)
        if member is not None and member.type_name == "blob":
            value[name] = base64.b64decode(part, validate=True)
        elif member is not None and member.type_name == "structure":
            _decode_blobs(member, part)
