"""Ledger and profiles in DynamoDB. Every change is one conditional write; every read is consistent.

The ledger's table has the HASH key `user_id` and the RANGE key `photo_id`, so that a user's rows are read
consistently (an index would lag behind); a sparse index `undecided` (HASH `undecided`, RANGE `lease_until`)
finds unfinished rows, and TTL on `expires_at` forgets refused ones. Profiles keep the workshop's table: HASH
key `Username`, attributes `faceId`, `s3bucket`, `s3key`, `thumbnail{s3bucket, s3key}`; ours stand beside them.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from selfiegate.aws_settings import AwsSettings
from selfiegate.dynamodb import Table
from selfiegate.errors import ClaimLost
from selfiegate.model import Claim, Contest, PhotoRef, Profile, Remains, Verdict

_UNDECIDED = "#status IN (:pending, :accepting)"
_OURS = "#owner = :owner AND attempt = :attempt"


class DynamoLedger:
    """The ledger for any number of machines."""

    def __init__(self, settings: AwsSettings) -> None:
        self._table = Table(settings, settings.ledger_table)
        self._rejected_s = settings.rejected_days * 86_400

    def claim(self, photo: PhotoRef, user_id: str, owner: str, lease_s: float) -> Claim:
        """Insert the row, take it over, or return it as it is; see `ports.Ledger`."""
        now = _now()
        lease = {"owner": owner, "lease_until": now + int(lease_s * 1e6)}
        new = Claim(photo=photo, user_id=user_id, claimed_at=now, **lease)
        if not self._table.put(_item(new), "attribute_not_exists(user_id)"):
            self._table.update(
                _key(new),
                "SET #owner = :owner, lease_until = :lease_until ADD attempt :one",
                f"{_UNDECIDED} AND (#owner = :owner OR lease_until < :now)",
                **lease,
                **_STATES,
                now=now,
                one=1,
            )
        claim = self.get(photo, user_id)
        return claim or self.claim(photo, user_id, owner, lease_s)  # expired between the two

    def renew(self, claim: Claim, lease_s: float) -> bool:
        """Let the lease end that much from now."""
        return self._change(claim, "SET lease_until = :lease_until", "", lease_until=_now() + int(lease_s * 1e6))

    def get(self, photo: PhotoRef, user_id: str) -> Claim | None:
        """Return a row, or None."""
        item = self._table.get({"user_id": user_id, "photo_id": photo.id})
        return _claim(item) if item else None

    def claims_of(self, user_id: str) -> Sequence[Claim]:
        """Return all rows of a user, oldest first."""
        rows = map(_claim, self._table.query("user_id = :user_id", user_id=user_id))
        return sorted(rows, key=lambda row: row.seniority)

    def note_face(self, claim: Claim, face_id: str) -> bool:
        """Record the face enrolled for an undecided row."""
        return self._change(claim, "SET face_id = :face_id", _UNDECIDED, face_id=face_id, **_STATES)

    def contest(self, claim: Claim, contest: Contest) -> bool:
        """Add a contest to a pending row, once each."""
        added = self._table.update(
            _key(claim),
            "SET contests = list_append(contests, :list)",
            "#status = :pending AND NOT contains(contests, :one)",
            list=[_text(contest)],
            one=_text(contest),
            pending="pending",
        )
        row = None if added else self.get(claim.photo, claim.user_id)
        return added or (row is not None and row.status == "pending")

    def accept(self, claim: Claim) -> bool:
        """Turn pending into accepting, unless it was contested since `claim` was read."""
        return self._change(
            claim,
            "SET #status = :accepting",
            "#status = :pending AND contests = :contests",
            contests=[_text(contest) for contest in claim.contests],
            **_STATES,
        )

    def release(self, claim: Claim) -> bool:
        """Turn accepting (or pending) back into pending."""
        return self._change(claim, "SET #status = :pending REMOVE face_id", _UNDECIDED, **_STATES)

    def decide(self, claim: Claim, verdict: Verdict) -> Claim:
        """Store the verdict, once; a refused photo's row expires."""
        before = "accepting" if verdict.status == "accepted" else "pending"
        expires_at = int(time.time() + self._rejected_s) if verdict.status == "rejected" else None
        decided = self._change(
            claim,
            "SET #status = :status, verdict = :verdict, face_id = :face_id, expires_at = :expires_at REMOVE undecided",
            "#status = :before",
            status=verdict.status,
            verdict=verdict.model_dump_json(),
            face_id=verdict.face_id,
            expires_at=expires_at,
            before=before,
        )
        row = self.get(claim.photo, claim.user_id)
        if row is None or not (decided or row.verdict == verdict):
            raise ClaimLost(f"another run took over {claim.photo.name} of {claim.user_id}")
        return row

    def mark_notified(self, claim: Claim, notified: bool) -> bool:
        """Record whether the user was told, once."""
        token = uuid.uuid4().hex  # tells our own write, whose reply was lost and which botocore repeated
        marked = self._table.update(
            _key(claim),
            "SET notified = :now, notified_by = :token",
            "notified = :before",
            now=notified,
            before=not notified,
            token=token,
        )
        return marked or (self._table.get(_key(claim)) or {}).get("notified_by") == token

    def undecided(self, before: int) -> Sequence[Claim]:
        """Return the rows without a verdict whose lease ran out before this time, as of a moment ago."""
        found = self._table.query(
            "undecided = :yes AND lease_until < :before", index="undecided", yes="yes", before=before
        )
        return sorted(map(_claim, found), key=lambda row: row.seniority)

    def _change(self, claim: Claim, change: str, condition: str, **values: Any) -> bool:
        ours = f"{_OURS} AND {condition}" if condition else _OURS
        used = {name: value for name, value in values.items() if f":{name}" in f"{change} {ours}"}
        return self._table.update(_key(claim), change, ours, owner=claim.owner, attempt=claim.attempt, **used)


class DynamoProfiles:
    """The workshop's table of profiles."""

    def __init__(self, settings: AwsSettings) -> None:
        self._table = Table(settings, settings.profiles_table)

    def get(self, user_id: str) -> Profile | None:
        """Return a user's profile, or None; one that the workshop wrote has revision 0 and no model."""
        item = self._table.get({"Username": user_id})
        return _profile(item) if item else None

    def put(self, profile: Profile, replacing: Profile | None) -> bool:
        """Store a profile unless something else than `replacing` is stored now."""
        item = _profile_item(profile)
        if replacing is None:
            return self._table.put(item, "attribute_not_exists(Username)")
        key = {"Username": item.pop("Username")}
        if replacing.revision == 0:
            return self._table.overwrite(key, item, "attribute_exists(Username) AND attribute_not_exists(revision)")
        return self._table.overwrite(key, item, "revision = :replaced", replaced=replacing.revision)

    def remove(self, profile: Profile) -> bool:
        """Remove a profile unless another revision is stored now."""
        key = {"Username": profile.user_id}
        if profile.revision == 0:
            return self._table.delete(key, "attribute_exists(Username) AND attribute_not_exists(revision)")
        return self._table.delete(key, "revision = :revision", revision=profile.revision)


_STATES = {"pending": "pending", "accepting": "accepting"}


def _now() -> int:
    return time.time_ns() // 1000


def _key(claim: Claim) -> dict[str, str]:
    return {"user_id": claim.user_id, "photo_id": claim.photo.id}


def _text(contest: Contest) -> str:
    return json.dumps(contest.model_dump(), sort_keys=True)


def _item(claim: Claim) -> dict[str, Any]:
    values = claim.model_dump(exclude={"photo", "verdict", "contests"})
    return {**values, **_key(claim), "photo": claim.photo.model_dump(), "contests": [], "undecided": "yes"}


def _claim(item: Mapping[str, Any]) -> Claim:
    known = {name: item[name] for name in Claim.model_fields if item.get(name) is not None}
    known["contests"] = [json.loads(text) for text in item["contests"]]
    if "verdict" in known:
        known["verdict"] = json.loads(known["verdict"])
    return Claim.model_validate(known)


def _profile_item(profile: Profile) -> dict[str, Any]:
    small = next(iter(profile.thumbnails.values()), "")
    bucket, _, key = small.removeprefix("s3://").partition("/")
    return {
        "Username": profile.user_id,
        "faceId": profile.face_id,
        "s3bucket": profile.photo.bucket,
        "s3key": profile.photo.key,
        "thumbnail": {"s3bucket": bucket, "s3key": key} if small.startswith("s3://") else {},
        "thumbnails": profile.thumbnails,
        "photoVersion": profile.photo.version,
        "model": profile.model,
        "claimedAt": profile.claimed_at,
        "enrolledAt": profile.enrolled_at.isoformat(),
        "remains": [remains.model_dump_json() for remains in profile.remains],
        "revision": profile.revision,
    }


def _profile(item: Mapping[str, Any]) -> Profile:
    small = item.get("thumbnail") or {}
    seeds = {"seed": f"s3://{small['s3bucket']}/{small['s3key']}"} if small else {}
    return Profile(
        user_id=item["Username"],
        photo=PhotoRef(bucket=item["s3bucket"], key=item["s3key"], version=item.get("photoVersion", "unknown")),
        face_id=item["faceId"],
        thumbnails=item.get("thumbnails", seeds),
        model=item.get("model", ""),
        claimed_at=int(item.get("claimedAt", 0)),
        enrolled_at=datetime.fromisoformat(item.get("enrolledAt", datetime.fromtimestamp(0, UTC).isoformat())),
        remains=tuple(Remains.model_validate_json(text) for text in item.get("remains", ())),
        revision=int(item.get("revision", 0)),
    )
