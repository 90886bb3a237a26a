"""The ledger in memory, with the promises of the real ones."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from selfiegate.clock import in_us, now_us
from selfiegate.errors import UnreadableRow
from selfiegate.ledger_rules import as_decided, is_due, opened_anew
from selfiegate.model import Claim, Contest, LateLoss, PhotoRef, Verdict
from selfiegate.paging import Page
from selfiegate.records import ALL
from selfiegate.rows import Skip, refuse, warn

_UNDECIDED = ("pending", "accepting")
_REFUSED = ("rejected", "needs_review")


class MemoryLedger:
    """The ledger, one lock around it."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Claim] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._bookmark = ""
        self._lock = threading.Lock()

    def batch(self) -> AbstractContextManager[object]:
        """Write each at once: nothing is durable here."""
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
        with self._lock:
            row = self._rows.get((user_id, photo.id))
            if row is None:
                row = new
            elif row.status in _UNDECIDED and (row.owner == owner or row.lease_until < now):
                row = row.model_copy(update={**lease, "attempt": row.attempt + 1})
            if notify and row.notice == "off" and row.status in _UNDECIDED:
                row = row.model_copy(update={"notice": "none"})
            self._rows[user_id, photo.id] = row
            return row

    def renew(self, claim: Claim, lease_s: float) -> bool:
        """Let the lease end that much from now."""
        lease_until = in_us(lease_s)
        return self._change(
            claim,
            lambda row: _ours(row, claim) and row.status != "accepted",
            lambda _: {"lease_until": lease_until},
        )

    def get(self, photo: PhotoRef, user_id: str) -> Claim | None:
        """Return a row, or None."""
        return self._rows.get((user_id, photo.id))

    def claims_of(self, user_id: str, skip: Skip = refuse) -> Sequence[Claim]:
        """Return all rows of a user, oldest first."""
        with self._lock:
            mine = [row for row in self._rows.values() if row.user_id == user_id]
        return sorted(mine, key=lambda row: row.seniority)

    def note_face(self, claim: Claim, face_id: str | None) -> bool:
        """Record the face enrolled for an undecided row, None before it is enrolled."""
        return self._change(
            claim, lambda row: row.status in _UNDECIDED and _ours(row, claim), lambda _: {"face_id": face_id}
        )

    def contest(self, claim: Claim, contest: Contest) -> bool:
        """Add a contest to a pending row, once each."""
        return self._change(
            claim,
            lambda row: row.status == "pending",
            lambda row: {"contests": row.contests if contest in row.contests else (*row.contests, contest)},
        )

    def accept(self, claim: Claim) -> bool:
        """Turn pending into accepting, unless it was contested since `claim` was read."""
        return self._change(
            claim,
            lambda row: row.status == "pending" and _ours(row, claim) and row.contests == claim.contests,
            lambda _: {"status": "accepting"},
        )

    def release(self, claim: Claim) -> bool:
        """Turn accepting (or pending) back into pending."""
        return self._change(
            claim,
            lambda row: row.status in _UNDECIDED and _ours(row, claim),
            lambda _: {"status": "pending", "face_id": None},
        )

    def decide(self, claim: Claim, verdict: Verdict, look_at: int = 0) -> Claim:
        """Store the verdict, once."""
        changes: dict[str, object] = {"status": verdict.status, "verdict": verdict, "face_id": verdict.face_id}
        looks = {"look_at": look_at, "looks": 0, "late_loss": None}
        before = "accepting" if verdict.status == "accepted" else "pending"
        decided = self._change(claim, lambda row: row.status == before and _ours(row, claim), lambda _: changes | looks)
        return as_decided(self.get(claim.photo, claim.user_id), claim, verdict, decided)

    def begin_notice(self, claim: Claim, lease_s: float) -> str | None:
        """Take it on us to tell the user, where nobody did or does."""
        now, token = now_us(), uuid.uuid4().hex
        begun = self._change(
            claim,
            lambda row: row.notice == "none" or (row.notice == "sending" and row.lease_until < now),
            lambda row: {"notice": "sending", "lease_until": in_us(lease_s), "attempt": row.attempt + 1},
        )
        if begun:
            self._tokens[claim.user_id, claim.photo.id] = token
        return token if begun else None

    def end_notice(self, claim: Claim, token: str, sent: bool, told: Sequence[str] | None = None) -> None:
        """Record that the user was told, or that another may try."""
        held = self._tokens.get((claim.user_id, claim.photo.id)) == token
        changes: dict[str, object] = {"notice": "sent" if sent else "none"}
        if told is not None:
            changes["told"] = tuple(told)
        self._change(claim, lambda row: held and row.notice == "sending", lambda _: changes)

    def unfinished(
        self,
        before: int,
        limit: int = ALL,
        waits: Sequence[int] = (),
        newest_first: bool = False,
        skip: Skip = warn,
    ) -> Sequence[Claim]:
        """Return rows with work left whose lease ran out before this time."""
        with self._lock:
            rows = [row for row in self._rows.values() if _unfinished(row)]
        due = [row for row in rows if is_due(row.lease_until, row.attempt, before, waits)]
        return sorted(due, key=lambda row: (row.lease_until, row.seniority), reverse=newest_first)[:limit]

    def undecided(self, after: str = "", limit: int = 1000) -> Page[tuple[str, str]]:
        """Return user and photo id of rows without a verdict, sorted."""
        last = tuple(json.loads(after)) if after else ("", "")
        with self._lock:
            keys = sorted(key for key, row in self._rows.items() if row.status in _UNDECIDED and key > last)[:limit]
        return Page(keys, json.dumps(keys[-1]) if len(keys) == limit else "")

    def to_look_at(self, before: int, limit: int, skip: Skip = warn) -> Sequence[Claim]:
        """Return accepted rows whose time has come."""
        with self._lock:
            due = [row for row in self._rows.values() if row.status == "accepted" and 0 < row.look_at < before]
        return sorted(due, key=lambda row: (row.look_at, row.user_id, row.photo.id))[:limit]

    def look_later(self, claim: Claim, look_at: int, late_loss: LateLoss | None = None) -> bool:
        """Write when an accepted row is looked at next."""
        return self._change(
            claim,
            lambda row: row.status == "accepted" and _ours(row, claim) and row.look_at == claim.look_at,
            lambda row: {"look_at": look_at, "looks": row.looks + 1, "late_loss": late_loss},
        )

    def lose(self, claim: Claim, verdict: Verdict) -> bool:
        """Replace the verdict of an accepted row by a refusal."""
        return self._change(
            claim,
            lambda row: row.loses_late and _ours(row, claim) and row.looks == claim.looks,
            lambda row: {
                "status": verdict.status,
                "verdict": verdict,
                "face_id": None,
                "notice": "off" if row.notice == "off" else "none",
                "told": (),
                "lease_until": 0,
                "attempt": row.attempt + 1,
                "look_at": 0,
            },
        )

    def note_upload(self, claim: Claim, upload_order: str) -> bool:
        """Let a row stand for a later upload."""
        return self._change(claim, lambda row: _ours(row, claim), lambda _: {"upload_order": upload_order})

    def reopen(self, claim: Claim, upload_order: str = "", notify: bool = False) -> bool:
        """Turn a decided row back into a pending one that nobody holds."""
        cleared = {"verdict": None, "contests": (), "told": ()}
        return self._change(
            claim,
            lambda row: _ours(row, claim) and (row.status == "accepted" or bool(upload_order and row.verdict)),
            lambda row: {**opened_anew(row, upload_order, notify), **cleared, "attempt": row.attempt + 1},
        )

    def remove(self, claim: Claim | UnreadableRow) -> bool:
        """Remove a row."""
        if isinstance(claim, UnreadableRow):
            return False  # all can be read here
        with self._lock:
            row = self._rows.get((claim.user_id, claim.photo.id))
            if row is None or not _ours(row, claim):
                return False
            del self._rows[claim.user_id, claim.photo.id]
            return True

    def expire(self, before: int) -> int:
        """Remove refused rows first claimed before this time."""
        with self._lock:
            refused = [(key, row) for key, row in self._rows.items() if row.status in _REFUSED]
            told = [(key, row) for key, row in refused if row.late_loss is None or row.notice in ("sent", "off")]
            old = [key for key, row in told if row.claimed_at < before]
            for key in old:
                del self._rows[key]
        return len(old)

    def audit_bookmark(self) -> str:
        """Return where the last audit stopped."""
        return self._bookmark

    def keep_audit_bookmark(self, text: str) -> None:
        """Write down where an audit stopped."""
        self._bookmark = text

    def to_review(self) -> int:
        """Count the rows that wait for a person."""
        with self._lock:
            return sum(row.status == "needs_review" for row in self._rows.values())

    def _change(
        self, claim: Claim, allowed: Callable[[Claim], bool], update: Callable[[Claim], dict[str, object]]
    ) -> bool:
        key = claim.user_id, claim.photo.id
        with self._lock:
            row = self._rows.get(key)
            if row is None or not allowed(row):
                return False
            self._rows[key] = row.model_copy(update=update(row))
            return True


def _unfinished(row: Claim) -> bool:
    return row.status in _UNDECIDED or (row.status != "accepted" and row.notice not in ("sent", "off"))


def _ours(row: Claim, claim: Claim) -> bool:
    return (row.owner, row.attempt) == (claim.owner, claim.attempt)
