"""Erasures in DynamoDB: one more item beside a user's rows in the ledger's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selfiegate.aws.settings import AwsSettings
from selfiegate.errors import UnreadableRow
from selfiegate.records import Erasure
from selfiegate.rows import Skip, readable, reading, warn
from selfiegate.stores.dynamodb_schema import RecordsTable

ERASURE = "erasure"
"""In the place of a photo's id, which is 32 hex digits."""
_UNFINISHED = -1
"""In the place of a lease's end: marks unfinished erasures in the index `unfinished`."""


class DynamoErasures:
    """The erasures for any number of machines."""

    def __init__(self, settings: AwsSettings) -> None:
        self._table = RecordsTable(settings, settings.ledger_table)

    def get(self, user_id: str) -> Erasure | None:
        """Return a user's erasure, or None."""
        item = self._table.get({"user_id": user_id, "photo_id": ERASURE})
        return _erasure(item) if item else None

    def put(self, erasure: Erasure, replacing: Erasure | UnreadableRow | None) -> bool:
        """Store an erasure unless something else than `replacing` is stored now."""
        item = erasure_item(erasure)
        if replacing is None:
            return self._table.put(item, "attribute_not_exists(user_id)")
        return self._table.put(item, "revision = :replaced", replaced=replacing.revision)

    def unfinished(self, skip: Skip = warn) -> Sequence[Erasure]:
        """Return those that are not finished, as of a moment ago."""
        found = self._table.query(
            "unfinished = :yes AND lease_until = :mark", index="unfinished", yes="yes", mark=_UNFINISHED
        )
        return list(readable(found, _erasure, skip))


def erasure_item(erasure: Erasure) -> dict[str, Any]:
    """Return an erasure as it is stored."""
    item: dict[str, Any] = {"user_id": erasure.user_id, "photo_id": ERASURE, "revision": erasure.revision}
    item["erasure"] = erasure.model_dump_json()
    if erasure.finished_at is None:
        item |= {"unfinished": "yes", "lease_until": _UNFINISHED}
    return item


def _erasure(item: Mapping[str, Any]) -> Erasure:
    with reading("erasure", item["user_id"], revision=item.get("revision")):
        return Erasure.from_store(item["erasure"])
