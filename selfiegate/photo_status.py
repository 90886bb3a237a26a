"""What became of one user's photos, whatever took them: a run each, a chunk, a backfill or a command."""

from __future__ import annotations

import heapq
from datetime import datetime
from typing import Literal

from pydantic import Field

from selfiegate.clock import moment_of, now_us, utc
from selfiegate.model import Claim, PhotoRef, Reason
from selfiegate.records import Erasure
from selfiegate.rows import warn
from selfiegate.runtime import Runtime
from selfiegate.user_ids import UserId
from selfiegate.values import Value

Notice = Literal["", "to be told", "being told", "told", "silent"]
_NOTICES: dict[str, Notice] = {"none": "to be told", "sending": "being told", "sent": "told", "off": "silent"}


class PhotoStatus(Value):
    """A photo of a user: nothing biometric, no score and no other user."""

    photo: str = Field(description="Where it lies: `s3://bucket/key`, or the file's path")
    uploaded_at: datetime | None = Field(description="None where the upload's order tells no time")
    claimed_at: datetime = Field(description="When a run first took this upload")
    status: Literal["pending", "accepting", "accepted", "rejected", "needs_review"]
    reasons: tuple[Reason, ...]
    enrolled_at: datetime | None = Field(description="Of the profile's photo; the ledger keeps no time of a verdict")
    notice: Notice = Field(description="Of a refusal, to its user")
    run: str = Field(description="The run that works on it, or did: a flow run's id, or a command's name")
    attempt: int
    lease_until: datetime | None = Field(description="Of an undecided photo: when another run may take over")
    overdue: bool = Field(description="Whether it is undecided and its lease has ended: its run died, or gave it up")
    is_profile: bool = Field(description="Whether it is the photo of the user's profile")


class ErasureStatus(Value):
    """A user's wish to be forgotten."""

    asked_at: datetime
    finished_at: datetime | None = Field(description="None while it is carried out")
    run: str
    problem: str = Field(description="What the last attempt failed at")


class UserStatus(Value):
    """What is known of a user's photos, the one uploaded last first."""

    user_id: UserId
    photos: tuple[PhotoStatus, ...]
    more: int = Field(description="How many older ones the limit left out")
    has_profile: bool
    erasure: ErasureStatus | None

    @property
    def is_known(self) -> bool:
        """Whether anything tells of the user."""
        return bool(self.photos) or self.has_profile or self.erasure is not None


def status_of(rt: Runtime, user_id: str, limit: int) -> UserStatus:
    """Return what became of at most so many photos of a user; rows that cannot be read are left out with a warning."""
    rows, profile, erasure = rt.ledger.claims_of(user_id, warn), rt.profiles.get(user_id), rt.erasures.get(user_id)
    present = profile.photo if profile else None
    newest = heapq.nlargest(limit, rows, key=lambda row: (row.upload_rank, row.seniority))
    enrolled_at = profile.enrolled_at if profile else None
    return UserStatus(
        user_id=user_id,
        photos=tuple(_photo(row, present, enrolled_at) for row in newest),
        more=len(rows) - len(newest),
        has_profile=profile is not None,
        erasure=_erasure(erasure) if erasure else None,
    )


def _photo(row: Claim, present: PhotoRef | None, enrolled_at: datetime | None) -> PhotoStatus:
    decided, is_profile = row.verdict is not None, row.photo == present
    refused = row.status in ("rejected", "needs_review")
    uploaded = row.upload_rank[:16]
    return PhotoStatus(
        photo=row.photo.uri,
        uploaded_at=moment_of(int(uploaded)) if uploaded.isdecimal() and len(uploaded) == 16 else None,
        claimed_at=moment_of(row.claimed_at),
        status=row.status,
        reasons=row.verdict.reasons if row.verdict else (),
        enrolled_at=enrolled_at if is_profile else None,
        notice=_NOTICES[row.notice] if refused else "",
        run=row.owner,
        attempt=row.attempt,
        lease_until=None if decided else moment_of(row.lease_until),
        overdue=not decided and row.lease_until < now_us(),
        is_profile=is_profile,
    )


def _erasure(erasure: Erasure) -> ErasureStatus:
    finished = erasure.finished_at
    return ErasureStatus(
        asked_at=moment_of(erasure.asked_at),
        finished_at=None if finished is None else moment_of(finished),
        run=erasure.run,
        problem=erasure.problem,
    )


def in_words(one: PhotoStatus) -> str:
    """Say where a photo stands: its verdict, or what it waits for."""
    if one.lease_until is None:
        return one.status.replace("_", " ") + (", the profile's photo" if one.is_profile else "")
    waits = "overdue: `reconcile` runs it again" if one.overdue else f"its run holds it until {utc(one.lease_until)}"
    return f"{one.status} since {utc(one.claimed_at)}, attempt {one.attempt}, {waits}"


def erasure_in_words(erasure: ErasureStatus) -> str:
    """Say how far an erasure is."""
    asked = f"asked to be forgotten {utc(erasure.asked_at)}"
    if erasure.finished_at is None:
        return f"{asked}, under way in run {erasure.run}" + (f": {erasure.problem}" if erasure.problem else "")
    return f"{asked}, forgotten {utc(erasure.finished_at)} by run {erasure.run}"
