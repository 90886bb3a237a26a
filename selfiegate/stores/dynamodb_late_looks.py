"""The part of the ledger in DynamoDB that late looks need; see `dynamodb_unfinished` for the index."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from selfiegate.aws.settings import AwsSettings
from selfiegate.model import Claim, LateLoss, Verdict
from selfiegate.rows import Skip, readable, warn
from selfiegate.stores.dynamodb_rows import OURS, claim_of, key_of
from selfiegate.stores.dynamodb_schema import RecordsTable
from selfiegate.stores.dynamodb_unfinished import INDEX, REVIEW, due_late, end_of, late_mark_of, mark_of


class DynamoLateLooks:
    """What becomes of accepted rows."""

    def __init__(self, settings: AwsSettings, rejected_days: float = 30.0) -> None:
        """`rejected_days` after it is decided, a refused photo's row may be removed by DynamoDB."""
        self._table = RecordsTable(settings, settings.ledger_table)
        self._rejected_s = rejected_days * 86_400

    def to_look_at(self, before: int, limit: int, skip: Skip = warn) -> Sequence[Claim]:
        """Return accepted rows whose time has come, as of a moment ago.

        A version before this one may have brought a row's place in the index forward; that row's time has not come.
        """
        due = (one for one in due_late(self._table, before) if 0 < one.get("look_at", 0) < before)
        return list(islice(readable(due, claim_of, skip), limit))

    def look_later(self, claim: Claim, look_at: int, late_loss: LateLoss | None = None) -> bool:
        """Write when an accepted row is looked at next."""
        change = "SET look_at = :look_at, late_loss = :loss"
        held = "if_not_exists(held_until, lease_until)"
        indexed = f", {INDEX} = :late, held_until = {held}, lease_until = :look_at"
        change += indexed if look_at else f" REMOVE {INDEX}"
        seen = "look_at = :seen" if claim.look_at else "(attribute_not_exists(look_at) OR look_at = :seen)"
        values = {"look_at": look_at, "seen": claim.look_at, "late": late_mark_of(claim.photo.id)}
        return self._change(
            claim,
            f"{change} ADD looks :one",
            f"#status = :accepted AND {seen}",
            accepted="accepted",
            loss=late_loss and late_loss.model_dump_json(),
            one=1,
            **values,
        )

    def lose(self, claim: Claim, verdict: Verdict) -> bool:
        """Replace the verdict of an accepted row by a refusal; the row expires."""
        if not claim.loses_late:
            return False
        silent = claim.notice == "off"  # an accepted row stays so
        change = "SET #status = :status, verdict = :verdict, face_id = :nobody, expires_at = :expires_at, "
        change += "told = :told, lease_until = :zero, look_at = :zero, notice = :notice"
        change += end_of(verdict.status) if silent else f", {INDEX} = :mark"
        return self._change(
            claim,
            f"{change} ADD attempt :one",
            "#status = :accepted AND looks = :looks",
            looks=claim.looks,
            status=verdict.status,
            verdict=verdict.model_dump_json(),
            nobody=None,
            expires_at=int(time.time() + self._rejected_s),
            told=[],
            zero=0,
            notice="off" if silent else "none",
            mark=mark_of(claim.photo.id),
            review=REVIEW,
            accepted="accepted",
            one=1,
        )

    def _change(self, claim: Claim, change: str, condition: str, **values: Any) -> bool:
        ours = f"{OURS} AND {condition}" if condition else OURS
        used = {name: value for name, value in values.items() if f":{name}" in f"{change} {ours}"}
        return self._table.update(key_of(claim), change, ours, owner=claim.owner, attempt=claim.attempt, **used)
