"""Rows of the ledger in a SQL database, and how many of them are read where some cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from selfiegate.model import Claim
from selfiegate.rows import Skip, readable, reading
from selfiegate.sql_database import SqlRow

ROW = "WHERE user_id = ? AND photo_id = ?"
OURS = f"{ROW} AND owner = ? AND attempt = ?"
_MOST_PAGES = 50
"""How often rows that cannot be read are passed over to find others."""
Place = tuple[int, str, str]
"""Where a row stands in an index: a time, its user and its photo."""


def row_of(claim: Claim) -> tuple[str, str]:
    """Return what `ROW` asks for."""
    return claim.user_id, claim.photo.id


def ours(claim: Claim) -> tuple[str, str, str, int]:
    """Return what `OURS` asks for."""
    return *row_of(claim), claim.owner, claim.attempt


def claim_of(row: SqlRow) -> Claim:
    """Read a row; raises `UnreadableRow`."""
    with reading("ledger row", row["user_id"], row["photo_id"]):
        values = {name: row[name] for name in Claim.model_fields}
        values["contests"], values["told"] = json.loads(values["contests"]), json.loads(values["told"])
        values["photo"] = json.loads(values["photo"])
        for name in ("verdict", "late_loss"):
            values[name] = values[name] and json.loads(values[name])
        return Claim.from_store(values)


def claims_by(
    time: str, after: Place, page: Callable[[Place], Sequence[SqlRow]], limit: int, skip: Skip
) -> Sequence[Claim]:
    """Return at most `limit` claims in the order of a column of times; `page` reads that many rows behind a place."""
    claims, last = list[Claim](), after
    for _ in range(_MOST_PAGES):
        rows = page(last)
        claims += readable(rows, claim_of, skip)
        if len(rows) < limit or len(claims) >= limit:
            break
        last = rows[-1][time], rows[-1]["user_id"], rows[-1]["photo_id"]
    return claims[:limit]
