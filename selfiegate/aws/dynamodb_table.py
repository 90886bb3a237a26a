"""One DynamoDB table: plain values in and out, conditions that fail as False. Only the DynamoDB stores import this."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from selfiegate.aws.clients import AwsSettings, client, code_of, translated
from selfiegate.errors import BackendUnavailable

_RESERVED = {"#status": "status", "#owner": "owner"}
"""Attributes of ours that DynamoDB has other plans for."""
_AT_ONCE = 100
"""Keys that BatchGetItem takes."""
_BATCH_ATTEMPTS = 7
"""About six seconds."""


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
        return [_unpacked(item) for page in self._query(condition, values, **scope) for item in page["Items"]]

    def count(self, condition: str, index: str, **values: Any) -> int:
        return sum(page["Count"] for page in self._query(condition, values, IndexName=index, Select="COUNT"))

    def _query(self, condition: str, values: Mapping[str, Any], **scope: Any) -> Iterator[dict[str, Any]]:
        with translated(f"dynamodb:Query on {self._name}"):
            yield from self._client.get_paginator("query").paginate(
                TableName=self._name,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=_packed(_colons(values)),
                **scope,
            )

    def page(
        self,
        condition: str,
        index: str,
        after: str,
        *,
        limit: int | None = None,
        backwards: bool = False,
        **values: Any,
    ) -> tuple[list[dict[str, Any]], str]:
        """Return what one query of an index answers, at most 1 MB, and what to ask for the next with."""
        more: dict[str, Any] = {"ExclusiveStartKey": _packed(json.loads(after))} if after else {}
        if limit:
            more["Limit"] = limit
        with translated(f"dynamodb:Query on {self._name}"):
            found = self._client.query(
                TableName=self._name,
                IndexName=index,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=_packed(_colons(values)),
                ScanIndexForward=not backwards,
                **more,
            )
        return [_unpacked(item) for item in found["Items"]], _next(found)

    def scanned_page(self, after: str, limit: int) -> tuple[list[dict[str, Any]], str]:
        """Return some of all items, at most 1 MB, and what to ask for the next with."""
        more = {"ExclusiveStartKey": _packed(json.loads(after))} if after else {}
        with translated(f"dynamodb:Scan on {self._name}"):
            found = self._client.scan(TableName=self._name, ConsistentRead=True, Limit=limit, **more)
        return [_unpacked(item) for item in found["Items"]], _next(found)

    def get_many(self, keys: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Return the items of different keys that there are, in any order."""
        for at in range(0, len(keys), _AT_ONCE):
            yield from self._get_batch([_packed(key) for key in keys[at : at + _AT_ONCE]])

    def _get_batch(self, keys: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for attempt in range(_BATCH_ATTEMPTS):
            with translated(f"dynamodb:BatchGetItem on {self._name}"):
                request = {self._name: {"Keys": keys, "ConsistentRead": True}}
                found = self._client.batch_get_item(RequestItems=request)
            yield from map(_unpacked, found["Responses"].get(self._name, []))
            keys = found.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            if not keys:
                return
            time.sleep(0.05 * 2**attempt)  # the table is throttled
        raise BackendUnavailable(f"dynamodb:BatchGetItem on {self._name}: {len(keys)} keys were left unread")

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


def typed(value: Any) -> Any:
    """Return a value with its type beside it, as DynamoDB's own JSON has it."""
    return _pack.serialize(value)


def untyped(value: Any) -> Any:
    """Return the value again."""
    return _unpack.deserialize(value)


def _next(found: Mapping[str, Any]) -> str:
    last = _unpacked(found.get("LastEvaluatedKey", {}))
    return json.dumps(last, default=int) if last else ""  # its numbers are ends of leases, whole ones


_pack, _unpack = TypeSerializer(), TypeDeserializer()


def _packed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _pack.serialize(value) for name, value in values.items()}


def _unpacked(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _unpack.deserialize(value) for name, value in item.items()}


def _colons(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f":{name}": value for name, value in values.items()}
