"""Rows of the ledger as DynamoDB's items."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from selfiegate.model import Claim, Contest
from selfiegate.rows import reading
from selfiegate.stores.dynamodb_erasures import ERASURE
from selfiegate.stores.dynamodb_unfinished import INDEX, mark_of

UNDECIDED = "#status IN (:pending, :accepting)"
OURS = "#owner = :owner AND attempt = :attempt"
BOOKMARK = {"user_id": "\taudit", "photo_id": "bookmark"}
"""No user's id holds a tab."""
STATES = {"pending": "pending", "accepting": "accepting"}


def is_row(item: Mapping[str, Any]) -> bool:
    """Say whether an item is a row of the ledger; an erasure lies beside them."""
    return bool(item["photo_id"] != ERASURE)


def key_of(claim: Claim) -> dict[str, str]:
    """Return the key of a row."""
    return {"user_id": claim.user_id, "photo_id": claim.photo.id}


def text_of(contest: Contest) -> str:
    """Return a contest as it is stored; equal contests have equal texts."""
    return json.dumps(contest.model_dump(), sort_keys=True)


def item_of(claim: Claim) -> dict[str, Any]:
    """Return a new row."""
    values = claim.model_dump(exclude={"photo", "verdict", "contests", "told"})
    more = {"photo": claim.photo.model_dump(), "contests": [], INDEX: mark_of(claim.photo.id)}
    return {**values, **key_of(claim), **more}


def attempt_of(item: Mapping[str, Any]) -> int:
    """Return the attempt of a row that may be damaged."""
    attempt = item.get("attempt")
    return int(attempt) if isinstance(attempt, Decimal) else 1  # a damaged row is due, and then told


def claim_of(item: Mapping[str, Any]) -> Claim:
    """Read a row; raises `UnreadableRow`."""
    with reading("ledger row", item["user_id"], item["photo_id"]):
        known = {name: item[name] for name in Claim.model_fields if item.get(name) is not None}
        known["contests"] = [json.loads(text) for text in item["contests"]]
        if known["status"] == "accepted" and "held_until" in item:
            known["lease_until"] = item["held_until"]
        for name in known.keys() & {"verdict", "late_loss"}:
            known[name] = json.loads(known[name])
        return Claim.from_store(known)
