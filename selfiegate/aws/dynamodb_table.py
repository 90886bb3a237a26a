"""One DynamoDB table: plain values in and out, conditions that fail as False. Only the DynamoDB stores import this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from selfiegate.aws.clients import AwsSettings, client, code_of, translated

_RESERVED = {"#status": "status", "#owner": "owner"}
"""Attributes of ours that DynamoDB has other plans for."""


class Table:
    """Reads are consistent; writes name the condition under which they happen."""

    def __init__(self, settings: AwsSettings, name: str) -> None:
        self._settings, self._name = settings, name

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        with translated(f"dynamodb:GetItem on {self._name}"):
            found = self._client.get_item(TableName=self._name, Key=_packed(key), ConsistentRead=True)
        return _unpacked(found["Item"]) if "Item" in found else None

    def put(self, item: Mapping[str, Any], condition: str, **values: Any) -> bool:
        extra = {"ExpressionAttributeValues": _packed(_colons(values))} if values else {}
        return self._write("put_item", Item=_packed(item), ConditionExpression=condition, **extra)

    def update(self, key: Mapping[str, Any], change: str, condition: str, **values: Any) -> bool:
        used = f"{change} {condition}"
        return self._write(
            "update_item",
            Key=_packed(key),
            UpdateExpression=change,
            ConditionExpression=condition,
            ExpressionAttributeNames={mark: name for mark, name in _RESERVED.items() if mark in used},
            ExpressionAttributeValues=_packed(_colons(values)),
        )

    def delete(self, key: Mapping[str, Any], condition: str, **values: Any) -> bool:
        extra: dict[str, Any] = {"ExpressionAttributeValues": _packed(_colons(values))} if values else {}
        if names := {mark: name for mark, name in _RESERVED.items() if mark in condition}:
            extra["ExpressionAttributeNames"] = names
        return self._write("delete_item", Key=_packed(key), ConditionExpression=condition, **extra)

    def overwrite(self, key: Mapping[str, Any], item: Mapping[str, Any], condition: str, **values: Any) -> bool:
        """Set attributes, and leave those of others alone."""
        return self._write(
            "update_item",
            Key=_packed(key),
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in item),
            ConditionExpression=condition,
            ExpressionAttributeNames={f"#{name}": name for name in item},
            ExpressionAttributeValues=_packed(_colons({**item, **values})),
        )

    def query(self, condition: str, index: str | None = None, **values: Any) -> list[dict[str, Any]]:
        scope = {"IndexName": index} if index else {"ConsistentRead": True}
        with translated(f"dynamodb:Query on {self._name}"):
            pages = self._client.get_paginator("query").paginate(
                TableName=self._name,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=_packed(_colons(values)),
                **scope,
            )
            return [_unpacked(item) for page in pages for item in page["Items"]]

    def scan(self) -> Iterator[dict[str, Any]]:
        with translated(f"dynamodb:Scan on {self._name}"):
            for page in self._client.get_paginator("scan").paginate(TableName=self._name, ConsistentRead=True):
                yield from map(_unpacked, page["Items"])

    def _write(self, operation: str, **arguments: Any) -> bool:
        with translated(f"dynamodb:{operation} on {self._name}"):
            try:
                getattr(self._client, operation)(TableName=self._name, **arguments)
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                return False
        return True

    @property
    def _client(self) -> Any:
        return client("dynamodb", self._settings)


_pack, _unpack = TypeSerializer(), TypeDeserializer()


def _packed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _pack.serialize(value) for name, value in values.items()}


def _unpacked(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _unpack.deserialize(value) for name, value in item.items()}


def _colons(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f":{name}": value for name, value in values.items()}
