"""Erasures in DynamoDB: one more item beside a user's rows in the ledger's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfiegate.aws.dynamodb_table import Table
from selfiegate.aws.settings import AwsSettings
from selfiegate.records import Erasure

ERASURE = "erasure"
"""In the place of a photo's id, which is 32 hex digits."""
_UNFINISHED = -1
"""In the place of a lease's end: marks unfinished erasures in the index `unfinished`."""


class DynamoErasures:
    """The erasures for any number of machines."""

    def __init__(self, settings: AwsSettings) -> None:
        self._table = Table(settings, settings.ledger_table)

    def get(self, user_id: str) -> Erasure | None:
        """Return a user's erasure, or None."""
        item = self._table.get({"user_id": user_id, "photo_id": ERASURE})
        return Erasure.model_validate_json(item["erasure"]) if item else None

    def put(self, erasure: Erasure, replacing: Erasure | None) -> bool:
        """Store an erasure unless something else than `replacing` is stored now."""
        item: dict[str, Any] = {"user_id": erasure.user_id, "photo_id": ERASURE, "revision": erasure.revision}
        item["erasure"] = erasure.model_dump_json()
        if erasure.finished_at is None:
            item |= {"unfinished": "yes", "lease_until": _UNFINISHED}
        if replacing is None:
            return self._table.put(item, "attribute_not_exists(user_id)")
        return self._table.put(item, "revision = :replaced", replaced=replacing.revision)

    def unfinished(self) -> Sequence[Erasure]:
        """Return those that are not finished, as of a moment ago."""
        found = self._table.query(
            "unfinished = :yes AND lease_until = :mark", index="unfinished", yes="yes", mark=_UNFINISHED
        )
        return [Erasure.model_validate_json(item["erasure"]) for item in found]
