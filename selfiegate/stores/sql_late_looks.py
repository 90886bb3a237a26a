"""The part of the ledger in a SQL database that late looks need."""

# ruff: noqa: S608  the only text put into statements are the constants of `sql_rows`

from __future__ import annotations

from collections.abc import Sequence

from selfiegate.model import Claim, LateLoss, Verdict
from selfiegate.rows import Skip, warn
from selfiegate.sql_database import SqlDatabase
from selfiegate.stores.sql_rows import OURS, claims_by, ours


class SqlLateLooks:
    """What becomes of accepted rows."""

    def __init__(self, records: SqlDatabase) -> None:
        self._db = records

    def to_look_at(self, before: int, limit: int, skip: Skip = warn) -> Sequence[Claim]:
        """Return accepted rows whose time has come, by the index `to_look_at`."""
        sql = """SELECT * FROM claims WHERE status = 'accepted' AND look_at > 0 AND look_at < ?
            AND (look_at, user_id, photo_id) > (?, ?, ?) ORDER BY look_at, user_id, photo_id LIMIT ?"""
        return claims_by("look_at", (0, "", ""), lambda last: self._db.read(sql, before, *last, limit), limit, skip)

    def look_later(self, claim: Claim, look_at: int, late_loss: LateLoss | None = None) -> bool:
        """Write when an accepted row is looked at next."""
        sql = f"""UPDATE claims SET look_at = ?, looks = looks + 1, late_loss = ?
            {OURS} AND status = 'accepted' AND look_at = ?"""
        held = late_loss and late_loss.model_dump_json()
        return self._changed(sql, look_at, held, *ours(claim), claim.look_at)

    def lose(self, claim: Claim, verdict: Verdict) -> bool:
        """Replace the verdict of an accepted row by a refusal."""
        sql = f"""UPDATE claims SET status = ?, verdict = ?, face_id = NULL, told = '[]', lease_until = 0,
            notice = CASE notice WHEN 'off' THEN 'off' ELSE 'none' END, attempt = attempt + 1, look_at = 0
            {OURS} AND status = 'accepted' AND CAST(late_loss ->> 'attempt' AS integer) = attempt AND looks = ?"""
        return self._changed(sql, verdict.status, verdict.model_dump_json(), *ours(claim), claim.looks)

    def _changed(self, sql: str, *parameters: object) -> bool:
        return self._db.execute(sql, *parameters) == 1
