"""The number of the tables' schema in DynamoDB, and the refusal of a program that is too old for it.

Attributes need no migration: each version leaves alone what it does not know (`selfiegate.model.Stored`). A release
that older programs cannot work beside writes the item below, with its own number as `oldest_program`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from selfiegate.aws.dynamodb_table import Table
from selfiegate.aws.settings import AwsSettings
from selfiegate.errors import BackendMisconfigured

NUMBER = 1
"""What this program knows."""
KEY = {"user_id": "\tschema", "photo_id": "schema"}
"""In the ledger's table, for both; no user's id holds a tab."""


class RecordsTable(Table):
    """A table of records; its first use in a process looks whether the program is new enough."""

    @property
    def _client(self) -> Any:
        require_usable(self._settings)
        return super()._client


@lru_cache(32)
def require_usable(settings: AwsSettings) -> None:
    """Raise `BackendMisconfigured` where the tables take a newer program; an answer is asked for once."""
    item = Table(settings, settings.ledger_table).get(KEY)
    oldest = int(item["oldest_program"]) if item else 0
    if oldest > NUMBER:
        raise BackendMisconfigured(
            f"{settings.ledger_table} in DynamoDB takes a program of schema {oldest}, but this one knows {NUMBER}; "
            "install the version of selfiegate that was here before, or restore the tables of the time before it"
        )
