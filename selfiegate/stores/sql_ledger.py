"""The ledger in a SQL database, SQLite or PostgreSQL. Every change is a compare-and-set in one transaction."""

# ruff: noqa: S608  the only text put into statements are the constants below and of `sql_rows`

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager

from selfiegate.clock import in_us, now_us
from selfiegate.errors import UnreadableRow
from selfiegate.ledger_rules import as_decided, opened_anew
from selfiegate.model import Claim, Contest, PhotoRef, Verdict
from selfiegate.paging import Page
from selfiegate.records import ALL
from selfiegate.rows import Skip, readable, reading, refuse, warn
from selfiegate.stores.sql_late_looks import SqlLateLooks
from selfiegate.stores.sql_rows import OURS, ROW, claim_of, claims_by, ours, row_of

_CLAIM = """
INSERT INTO claims (user_id, photo_id, photo, status, claimed_at, owner, lease_until, upload_order, notice, face_id)
VALUES (:user_id, :photo_id, :photo, 'pending', :now, :owner, :lease_until, :upload_order, :notice, '')
ON CONFLICT (user_id, photo_id) DO UPDATE
SET owner = excluded.owner, lease_until = excluded.lease_until, attempt = claims.attempt + 1
WHERE claims.status IN ('pending', 'accepting') AND (claims.owner = excluded.owner OR claims.lease_until < :now)
"""

_UNDECIDED = "status IN ('pending', 'accepting')"
_UNFINISHED = f"({_UNDECIDED} OR (status <> 'accepted' AND notice NOT IN ('sent', 'off')))"
_EXPIRE = "DELETE FROM claims WHERE status ="
_OLD = "claimed_at < ? AND (late_loss IS NULL OR notice IN ('sent', 'off'))"
_TELL = f"UPDATE claims SET notice = 'none' {ROW} AND notice = 'off' AND {_UNDECIDED}"
_BOOKMARK = "INSERT INTO audit_bookmark (one, text) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET text = excluded.text"
_FAR = 2**62


class SqlLedger(SqlLateLooks):
    """The ledger for all processes that share the database."""

    def batch(self) -> AbstractContextManager[object]:
        """Make the writes of this thread one transaction, those to the profiles beside it included."""
        return self._db.write()

    def claim(
        self, photo: PhotoRef, user_id: str, owner: str, lease_s: float, upload_order: str = "", notify: bool = True
    ) -> Claim:
        """Insert the row, take it over, or return it as it is; see `records.Ledger`."""
        now = now_us()
        values = {
            "user_id": user_id,
            "photo_id": photo.id,
            "photo": photo.model_dump_json(),
            "now": now,
            "owner": owner,
            "lease_until": in_us(lease_s),
            "upload_order": upload_order,
            "notice": "none" if notify else "off",
        }
        key = user_id, photo.id
        with self._db.write():
            self._db.execute(_CLAIM, values)
            if notify:
                self._db.execute(_TELL, *key)
            return claim_of(self._db.read(f"SELECT * FROM claims {ROW}", *key)[0])

    def renew(self, claim: Claim, lease_s: float) -> bool:
        """Let the lease end that much from now."""
        lease_until = in_us(lease_s)
        sql = f"UPDATE claims SET lease_until = ? {OURS} AND status <> 'accepted'"
        return self._changed(sql, lease_until, *ours(claim))

    def get(self, photo: PhotoRef, user_id: str) -> Claim | None:
        """Return a row, or None."""
        rows = self._db.read(f"SELECT * FROM claims {ROW}", user_id, photo.id)
        return claim_of(rows[0]) if rows else None

    def claims_of(self, user_id: str, skip: Skip = refuse) -> Sequence[Claim]:
        """Return all rows of a user, oldest first."""
        rows = self._db.read("SELECT * FROM claims WHERE user_id = ? ORDER BY claimed_at", user_id)
        return list(readable(rows, claim_of, skip))

    def note_face(self, claim: Claim, face_id: str | None) -> bool:
        """Record the face enrolled for an undecided row, None before it is enrolled."""
        return self._changed(f"UPDATE claims SET face_id = ? {OURS} AND {_UNDECIDED}", face_id, *ours(claim))

    def contest(self, claim: Claim, contest: Contest) -> bool:
        """Add a contest to a pending row, once each."""
        with self._db.write():
            sql = f"SELECT contests FROM claims {ROW} AND status = 'pending' {self._db.for_update}"
            rows = self._db.read(sql, *row_of(claim))
            if not rows:
                return False
            with reading("ledger row", *row_of(claim)):
                contests = [Contest.from_store(held) for held in json.loads(rows[0]["contests"])]
            if contest not in contests:
                self._db.execute(f"UPDATE claims SET contests = ? {ROW}", _json([*contests, contest]), *row_of(claim))
            return True

    def accept(self, claim: Claim) -> bool:
        """Turn pending into accepting, unless it was contested since `claim` was read."""
        # Contests are only added while the row is ours, and another version writes them in other words.
        sql = f"""UPDATE claims SET status = 'accepting' {OURS} AND status = 'pending'
            AND json_array_length(contests) = ?"""
        return self._changed(sql, *ours(claim), len(claim.contests))

    def release(self, claim: Claim) -> bool:
        """Turn accepting (or pending) back into pending."""
        return self._changed(
            f"UPDATE claims SET status = 'pending', face_id = NULL {OURS} AND {_UNDECIDED}",
            *ours(claim),
        )

    def decide(self, claim: Claim, verdict: Verdict, look_at: int = 0) -> Claim:
        """Store the verdict, once."""
        before = "accepting" if verdict.status == "accepted" else "pending"
        decided = self._changed(
            f"""UPDATE claims SET status = ?, verdict = ?, face_id = ?, look_at = ?, looks = 0, late_loss = NULL
            {OURS} AND status = ?""",
            verdict.status,
            verdict.model_dump_json(),
            verdict.face_id,
            look_at,
            *ours(claim),
            before,
        )
        return as_decided(self.get(claim.photo, claim.user_id), claim, verdict, decided)

    def begin_notice(self, claim: Claim, lease_s: float) -> str | None:
        """Take it on us to tell the user, where nobody did or does."""
        now, token = now_us(), uuid.uuid4().hex
        sql = f"""UPDATE claims SET notice = 'sending', notice_by = ?, lease_until = ?, attempt = attempt + 1 {ROW}
            AND (notice = 'none' OR (notice = 'sending' AND lease_until < ?))"""
        return token if self._changed(sql, token, in_us(lease_s), *row_of(claim), now) else None

    def end_notice(self, claim: Claim, token: str, sent: bool, told: Sequence[str] | None = None) -> None:
        """Record that the user was told, or that another may try."""
        sql = f"UPDATE claims SET notice = ?, told = coalesce(?, told) {ROW} AND notice = 'sending' AND notice_by = ?"
        self._db.execute(
            sql, "sent" if sent else "none", None if told is None else json.dumps(told), *row_of(claim), token
        )

    def unfinished(
        self,
        before: int,
        limit: int = ALL,
        waits: Sequence[int] = (),
        newest_first: bool = False,
        skip: Skip = warn,
    ) -> Sequence[Claim]:
        """Return rows with work left whose lease ran out before this time, by the index `ended`."""
        waits = waits or (0,)
        due = " ".join(f"WHEN {attempt} THEN {before - wait}" for attempt, wait in enumerate(waits, 1))
        order, behind = ("DESC", "<") if newest_first else ("ASC", ">")
        sql = f"""SELECT * FROM claims JOIN (
                SELECT user_id, photo_id FROM claims WHERE {_UNFINISHED}
                AND lease_until < ? AND lease_until < CASE attempt {due} ELSE ? END
                AND (lease_until, user_id, photo_id) {behind} (?, ?, ?)
                ORDER BY lease_until {order}, user_id {order}, photo_id {order} LIMIT ?) USING (user_id, photo_id)
            ORDER BY lease_until {order}, user_id {order}, photo_id {order}"""
        due_first = (_FAR, "", "") if newest_first else (-_FAR, "", "")
        bounds = before - min(waits), before - waits[-1]
        return claims_by("lease_until", due_first, lambda last: self._db.read(sql, *bounds, *last, limit), limit, skip)

    def undecided(self, after: str = "", limit: int = 1000) -> Page[tuple[str, str]]:
        """Return user and photo id of rows without a verdict, sorted, from an index of these."""
        sql = """SELECT user_id, photo_id FROM claims WHERE status NOT IN ('accepted', 'rejected', 'needs_review')
            AND (user_id, photo_id) > (?, ?) ORDER BY user_id, photo_id LIMIT ?"""
        rows = self._db.read(sql, *(json.loads(after) if after else ("", "")), limit)
        found = [(row["user_id"], row["photo_id"]) for row in rows]
        return Page(found, json.dumps(found[-1]) if len(found) == limit else "")

    def note_upload(self, claim: Claim, upload_order: str) -> bool:
        """Let a row stand for a later upload."""
        return self._changed(f"UPDATE claims SET upload_order = ? {OURS}", upload_order, *ours(claim))

    def reopen(self, claim: Claim, upload_order: str = "", notify: bool = False) -> bool:
        """Turn a decided row back into a pending one that nobody holds."""
        changes = opened_anew(claim, upload_order, notify)
        sql = f"""UPDATE claims SET {", ".join(f"{name} = ?" for name in changes)},
            verdict = NULL, contests = '[]', told = '[]', attempt = attempt + 1 {OURS}
            AND {"verdict IS NOT NULL" if upload_order else "status = 'accepted'"}"""
        return self._changed(sql, *changes.values(), *ours(claim))

    def remove(self, claim: Claim | UnreadableRow) -> bool:
        """Remove a row."""
        if isinstance(claim, UnreadableRow):
            return self._changed(f"DELETE FROM claims {ROW}", claim.user_id, claim.name)
        return self._changed(f"DELETE FROM claims {OURS}", *ours(claim))

    def expire(self, before: int) -> int:
        """Remove refused rows first claimed before this time."""
        refused = ("rejected", "needs_review")  # one index each
        with self._db.write():
            return sum(self._db.execute(f"{_EXPIRE} '{status}' AND {_OLD}", before) for status in refused)

    def to_review(self) -> int:
        """Count the rows that wait for a person."""
        (row,) = self._db.read("SELECT count(*) AS rows FROM claims WHERE status = 'needs_review'")
        return int(row["rows"])

    def audit_bookmark(self) -> str:
        """Return where the last audit stopped."""
        rows = self._db.read("SELECT text FROM audit_bookmark")
        return str(rows[0]["text"]) if rows else ""

    def keep_audit_bookmark(self, text: str) -> None:
        """Write down where an audit stopped."""
        self._db.execute(_BOOKMARK, text)


def _json(contests: Sequence[Contest]) -> str:
    return json.dumps([contest.model_dump() for contest in contests])
