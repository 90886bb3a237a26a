"""The ledger in DynamoDB. Every change is one conditional write; every read but that of the index is consistent.

The table has the HASH key `user_id` and the RANGE key `photo_id`, so that a user's rows are read
consistently (an index would lag behind). A sparse index finds rows with work left, accepted ones that are looked at
once more, and those that wait for a person; see `dynamodb_unfinished`. TTL on `expires_at` forgets refused ones. A
user's erasure lies beside the user's rows; see `dynamodb_erasures`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

from selfiegate.clock import LAST_MOMENT, in_us, now_us
from selfiegate.errors import UnreadableRow
from selfiegate.ledger_rules import as_decided, is_due, opened_anew
from selfiegate.model import Claim, Contest, PhotoRef, Verdict
from selfiegate.paging import Page
from selfiegate.records import ALL
from selfiegate.rows import Skip, readable, refuse, warn
from selfiegate.stores.dynamodb_late_looks import DynamoLateLooks
from selfiegate.stores.dynamodb_rows import (
    BOOKMARK,
    OURS,
    STATES,
    UNDECIDED,
    attempt_of,
    claim_of,
    is_row,
    item_of,
    key_of,
    text_of,
)
from selfiegate.stores.dynamodb_unfinished import INDEX, REVIEW, end_of, ended, late_mark_of, mark_of, page


class DynamoLedger(DynamoLateLooks):
    """The ledger for any number of machines."""

    def batch(self) -> AbstractContextManager[object]:
        """Write each at once: a conditional write stands by itself."""
        return nullcontext()

    def claim(
        self, photo: PhotoRef, user_id: str, owner: str, lease_s: float, upload_order: str = "", notify: bool = True
    ) -> Claim:
        """Insert the row, take it over, or return it as it is; see `records.Ledger`."""
        now = now_us()
        lease = {"owner": owner, "lease_until": in_us(lease_s)}
        notice = "none" if notify else "off"
        new = Claim(
            photo=photo, user_id=user_id, claimed_at=now, upload_order=upload_order, face_id="", notice=notice, **lease
        )
        if not self._table.put(item_of(new), "attribute_not_exists(user_id)"):
            self._table.update(
                key_of(new),
                "SET #owner = :owner, lease_until = :lease_until ADD attempt :one",
                f"{UNDECIDED} AND (#owner = :owner OR lease_until < :now)",
                **lease,
                **STATES,
                now=now,
                one=1,
            )
        claim = self.get(photo, user_id)
        if claim and notify and claim.notice == "off" and claim.verdict is None:
            off = {"off": "off", "none": "none"}
            self._table.update(key_of(claim), "SET notice = :none", f"notice = :off AND {UNDECIDED}", **off, **STATES)
            claim = self.get(photo, user_id)
        return claim or self.claim(photo, user_id, owner, lease_s, upload_order, notify)  # removed between the two

    def renew(self, claim: Claim, lease_s: float) -> bool:
        """Let the lease end that much from now."""
        undecided = "#status <> :accepted"  # an accepted row's is when it is looked at, in the index
        change = "SET lease_until = :lease_until"
        return self._change(claim, change, undecided, lease_until=in_us(lease_s), accepted="accepted")

    def get(self, photo: PhotoRef, user_id: str) -> Claim | None:
        """Return a row, or None."""
        item = self._table.get({"user_id": user_id, "photo_id": photo.id})
        return claim_of(item) if item else None

    def claims_of(self, user_id: str, skip: Skip = refuse) -> Sequence[Claim]:
        """Return all rows of a user, oldest first."""
        found = self._table.query("user_id = :user_id", user_id=user_id)
        return sorted(readable(filter(is_row, found), claim_of, skip), key=lambda row: row.seniority)

    def note_face(self, claim: Claim, face_id: str | None) -> bool:
        """Record the face enrolled for an undecided row, None before it is enrolled."""
        return self._change(claim, "SET face_id = :face_id", UNDECIDED, face_id=face_id, **STATES)

    def contest(self, claim: Claim, contest: Contest) -> bool:
        """Add a contest to a pending row, once each."""
        added = self._table.update(
            key_of(claim),
            "SET contests = list_append(contests, :list)",
            "#status = :pending AND NOT contains(contests, :one)",
            list=[text_of(contest)],
            one=text_of(contest),
            pending="pending",
        )
        row = None if added else self.get(claim.photo, claim.user_id)
        return added or (row is not None and row.status == "pending")

    def accept(self, claim: Claim) -> bool:
        """Turn pending into accepting, unless it was contested since `claim` was read."""
        # Contests are only added while the row is ours, and another version writes them in other words.
        contested = "#status = :pending AND size(contests) = :count"
        return self._change(claim, "SET #status = :accepting", contested, count=len(claim.contests), **STATES)

    def release(self, claim: Claim) -> bool:
        """Turn accepting (or pending) back into pending."""
        return self._change(claim, "SET #status = :pending REMOVE face_id", UNDECIDED, **STATES)

    def decide(self, claim: Claim, verdict: Verdict, look_at: int = 0) -> Claim:
        """Store the verdict, once; a refused photo's row expires."""
        before = "accepting" if verdict.status == "accepted" else "pending"
        expires_at = None if verdict.status == "accepted" else int(time.time() + self._rejected_s)
        values = {
            "status": verdict.status,
            "verdict": verdict.model_dump_json(),
            "face_id": verdict.face_id,
            "expires_at": expires_at,
            "before": before,
            "review": REVIEW,
            "late": late_mark_of(claim.photo.id),
            "look_at": look_at,
            "none": 0,
            "no_loss": None,
        }

        def decided(notice: str) -> bool:
            finished = verdict.status == "accepted" or notice == "off"  # else when its user was told
            change = "SET #status = :status, verdict = :verdict, face_id = :face_id, expires_at = :expires_at, "
            change += "look_at = :look_at, looks = :none, late_loss = :no_loss"
            change += end_of(verdict.status, look_at) if finished else ""
            return self._change(claim, change, "#status = :before AND notice = :notice", notice=notice, **values)

        # A silent row may have turned into one whose user is told since it was read, and never the other way.
        written = decided(claim.notice) or (claim.notice == "off" and decided("none"))
        return as_decided(self.get(claim.photo, claim.user_id), claim, verdict, written)

    def begin_notice(self, claim: Claim, lease_s: float) -> str | None:
        """Take it on us to tell the user, where nobody did or does."""
        now = now_us()
        token = uuid.uuid4().hex  # tells our own write, whose reply was lost and which botocore repeated
        begun = self._table.update(
            key_of(claim),
            "SET notice = :sending, lease_until = :lease_until, notice_by = :token ADD attempt :one",
            "notice = :none OR (notice = :sending AND lease_until < :now)",
            none="none",
            sending="sending",
            lease_until=in_us(lease_s),
            now=now,
            token=token,
            one=1,
        )
        return token if begun or (self._table.get(key_of(claim)) or {}).get("notice_by") == token else None

    def end_notice(self, claim: Claim, token: str, sent: bool, told: Sequence[str] | None = None) -> None:
        """Record that the user was told, or that another may try."""
        more: dict[str, object] = {} if told is None else {"told": list(told)}
        change = "SET notice = :notice" + (", told = :told" if more else "") + (end_of(claim.status) if sent else "")
        self._table.update(
            key_of(claim),
            change,
            "notice = :sending AND notice_by = :token",
            notice="sent" if sent else "none",
            sending="sending",
            token=token,
            **more,
            **({"review": REVIEW} if ":review" in change else {}),
        )

    def unfinished(
        self,
        before: int,
        limit: int = ALL,
        waits: Sequence[int] = (),
        newest_first: bool = False,
        skip: Skip = warn,
    ) -> Sequence[Claim]:
        """Return rows with work left whose lease ran out before this time, as of a moment ago.

        A filter of DynamoDB may not look at an index's own keys, so rows that have to wait are left out here.
        """
        until = before - min(waits, default=0)
        items = filter(is_row, ended(self._table, until, bounded=limit != ALL, newest_first=newest_first))
        due = (one for one in items if is_due(int(one["lease_until"]), attempt_of(one), before, waits))
        return list(islice(readable(due, claim_of, skip), limit))

    def undecided(self, after: str = "", limit: int = 1000) -> Page[tuple[str, str]]:
        """Return user and photo id of rows without a verdict, as of a moment ago."""
        items, after = page(self._table, after, limit, LAST_MOMENT)
        rows = [item for item in items if is_row(item) and not item.get("verdict")]
        return Page([(item["user_id"], item["photo_id"]) for item in rows], after)

    def note_upload(self, claim: Claim, upload_order: str) -> bool:
        """Let a row stand for a later upload."""
        return self._change(claim, "SET upload_order = :upload_order", "", upload_order=upload_order)

    def reopen(self, claim: Claim, upload_order: str = "", notify: bool = False) -> bool:
        """Turn a decided row back into a pending one that nobody holds."""
        opened = opened_anew(claim, upload_order, notify)
        changes: dict[str, Any] = {**opened, "contests": [], "told": [], INDEX: mark_of(claim.photo.id)}
        sets = ", ".join(f"{'#status' if name == 'status' else name} = :{name}" for name in changes)
        return self._change(
            claim,
            f"SET {sets} REMOVE verdict, expires_at, held_until ADD attempt :one",
            "attribute_exists(verdict)" if upload_order else "#status = :accepted",
            **changes,
            accepted="accepted",
            one=1,
        )

    def remove(self, claim: Claim | UnreadableRow) -> bool:
        """Remove a row."""
        if isinstance(claim, UnreadableRow):
            key = {"user_id": claim.user_id, "photo_id": claim.name}
            return self._table.delete(key, "attribute_exists(user_id)")
        return self._table.delete(key_of(claim), OURS, owner=claim.owner, attempt=claim.attempt)

    def expire(self, before: int) -> int:
        """Do nothing: TTL does."""
        return 0

    def audit_bookmark(self) -> str:
        """Return where the last audit stopped."""
        return str((self._table.get(BOOKMARK) or {}).get("text", ""))

    def keep_audit_bookmark(self, text: str) -> None:
        """Write down where an audit stopped."""
        self._table.put({**BOOKMARK, "text": text}, "attribute_exists(user_id) OR attribute_not_exists(user_id)")

    def to_review(self) -> int:
        """Count the rows that wait for a person, once their users were told."""
        return self._table.count(f"{INDEX} = :review", index=INDEX, review=REVIEW)
