"""The words of the domain, as immutable values that travel as JSON.

None of them holds an embedding or an image: a photo is a reference, a face is what can be said of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from selfiegate.face import Face
from selfiegate.untrusted_text import plain
from selfiegate.user_ids import UserId
from selfiegate.values import Stored, Value

ETAG = "etag:"
"""Marks a version that is an ETag."""


class PhotoRef(Stored):
    """Names one version of one photo; the bytes stay where they are.

    `bucket` is an S3 bucket, or an absolute folder for photos on disk (a bucket's name has no slash).
    `version` is the S3 version id or ETag, or the SHA-256 of a file's bytes.
    """

    bucket: str = Field(min_length=1, description="S3 bucket, or an absolute folder")
    key: str = Field(min_length=1, description="Object key, or a path below the folder")
    version: str = Field(min_length=1, description="S3 version id or ETag, or the SHA-256 of the file")

    def __eq__(self, other: object) -> bool:
        """Compare what names the photo; what a newer version adds does not make it another."""
        return isinstance(other, PhotoRef) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    @property
    def _name(self) -> tuple[str, str, str]:
        return self.bucket, self.key, self.version

    @property
    def etag(self) -> str | None:
        """The ETag that pins it in a bucket without versions, else None."""
        return self.version.removeprefix(ETAG) if self.version.startswith(ETAG) else None

    @property
    def recurs(self) -> bool:
        """Whether the same bytes, uploaded again, are this version again; a version id is given once."""
        return self.etag is not None or re.fullmatch("[0-9a-f]{64}", self.version) is not None

    @property
    def id(self) -> str:
        """128 bits of a SHA-256 over the three parts, as hex: safe in file names, equal for equal photos."""
        return hashlib.sha256(json.dumps([self.bucket, self.key, self.version]).encode()).hexdigest()[:32]

    @property
    def uri(self) -> str:
        """Where the photo lies, for people: `s3://bucket/key`, or the file's path."""
        if "/" in self.bucket:
            return f"{self.bucket.rstrip('/')}/{self.key}"
        return f"s3://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last 60 printable characters of the file's name: names runs and tasks in the UI."""
        return plain(self.key.rpartition("/")[2])[-60:]


class ReasonCode(StrEnum):
    """Why a photo is refused. The codes are stable: programs may compare them."""

    NO_FACE = "no_face"
    MULTIPLE_FACES = "multiple_faces"
    SUNGLASSES = "sunglasses"
    FACE_TOO_SMALL = "face_too_small"
    FACE_CUT_OFF = "face_cut_off"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    TURNED_AWAY = "turned_away"
    EYES_CLOSED = "eyes_closed"
    FACE_COVERED = "face_covered"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNREADABLE_PHOTO = "unreadable_photo"
    PHOTO_TOO_LARGE = "photo_too_large"
    PHOTO_TOO_SMALL = "photo_too_small"
    FACE_ALREADY_ENROLLED = "face_already_enrolled"
    UNCLEAR_MATCH = "unclear_match"
    DIFFERENT_PERSON = "different_person"


class Reason(Value):
    """A code for programs and a sentence for the user; a code of a newer version is a text."""

    code: Annotated[ReasonCode | str, Field(union_mode="left_to_right")]
    message: str


class Check(Value):
    """One rule applied to one face: the value found, the limit, and whether it passed."""

    name: str
    value: float | None
    limit: str = Field(description="The rule as people write it, e.g. '>= 40 px'")
    passed: bool


class Detection(Value):
    """The faces of one photo, largest first, or why it could not be looked at."""

    faces: tuple[Face, ...] = ()
    unusable: ReasonCode | None = None
    measured: str = Field("", description="What made it unusable, against the limit: ': 60 x 60 pixels, ...'")


class Match(Value):
    """An enrolled face that resembles the probe; `score` is in the backend's own scale."""

    face_id: str
    user_id: str
    score: float
    origin: str = Field("", description="What `FaceBackend.origin` tells of its photo and user; empty: its id")


class Verdict(Stored):
    """What was decided about one photo of one user, with all that it was decided by."""

    status: Literal["accepted", "rejected", "needs_review"]
    user_id: str
    photo: PhotoRef
    reasons: tuple[Reason, ...] = ()
    checks: tuple[Check, ...] = ()
    face_id: str | None = None
    matched_user_id: str | None = None
    score: float | None = Field(None, description="Best similarity found, in the backend's scale")
    threshold: float | None = Field(None, description="The similarity that it was held against")
    thumbnails: dict[str, str] = Field(default_factory=dict, description="Size to where it lies")
    model: str
    policy: str = Field(description="Digest of the rules, equal for equal rules")

    @property
    def outcome(self) -> str:
        """The status as Prefect names states: Accepted, Rejected, NeedsReview."""
        return self.status.title().replace("_", "")


class Contest(Stored):
    """An older claim's objection to a younger one on the same face."""

    user_id: str
    photo: PhotoRef
    score: float


class LateLoss(Stored):
    """To whom an accepted row loses its face late; the row loses nothing else until its verdict is replaced."""

    user_id: str = Field(description="Who has held the face for longer")
    winner_face_id: str
    score: float
    face_id: str = Field(description="The face that is taken back")
    attempt: int = Field(description="The row's attempt: a row that was opened again since has lost nothing")

    @property
    def match(self) -> Match:
        """The winner's face, as the search found it."""
        return Match(face_id=self.winner_face_id, user_id=self.user_id, score=self.score)


class Claim(Stored):
    """The ledger's row for one photo of one user; see `enrolment` for what the states mean."""

    photo: PhotoRef
    user_id: UserId
    status: Literal["pending", "accepting", "accepted", "rejected", "needs_review"] = "pending"
    claimed_at: int = Field(description="First claimed for this upload, microseconds since 1970, UTC")
    upload_order: str = Field("", description="Sorts photos by when they were uploaded; empty: when claimed")
    owner: str = Field(description="The run that works on it")
    lease_until: int = Field(description="When another run may take over, microseconds since 1970")
    attempt: int = Field(1, description="How often a run has begun to work on it")
    contests: tuple[Contest, ...] = Field(default=(), description="Older claims that found the same face")
    face_id: str | None = Field(
        None, description="The face enrolled for it; None: one may be, and its id is not noted; empty: none was yet"
    )
    verdict: Verdict | None = None
    notice: Literal["none", "sending", "sent", "off"] = Field("none", description="Of a refusal, to its user")
    told: tuple[str, ...] = Field(default=(), description="Ways that have told the user, while others have not")
    uploads: int = Field(1, description="For how many uploads of these bytes the row was opened")
    look_at: int = Field(
        0, description="When an accepted face is looked up once more, microseconds since 1970; 0: not any more"
    )
    looks: int = Field(0, description="How often it was")
    late_loss: LateLoss | None = Field(None, description="To whom an accepted row loses its face; see `loses_late`")

    @property
    def upload_rank(self) -> str:
        """Sorts a user's photos from the first uploaded to the last: microseconds since 1970, 16 digits, and more."""
        return self.upload_order or f"{self.claimed_at:016d}"

    @property
    def loses_late(self) -> bool:
        """Whether its face, which it had won, is being taken back."""
        return self.status == "accepted" and self.late_loss is not None and self.late_loss.attempt == self.attempt

    @property
    def seniority(self) -> tuple[int, str, str]:
        """Sorts claims from the oldest to the youngest, the same for every observer."""
        return self.claimed_at, self.user_id, self.photo.id


class Remains(Stored):
    """What a replaced photo left behind, still to be removed."""

    face_id: str
    photo: PhotoRef


class Profile(Stored):
    """The one enrolled face of a user."""

    user_id: UserId
    photo: PhotoRef
    face_id: str
    thumbnails: dict[str, str] = Field(description="Size to where it lies")
    model: str = Field(description="The face model that enrolled it; empty where an older system did")
    upload_rank: str = Field(alias="newness", description="Of the photo's claim: a newer photo replaces an older one")
    enrolled_at: datetime
    held_since: int | None = Field(
        None, description="When the user's first photo was claimed, microseconds since 1970; None: see `since`"
    )
    remains: tuple[Remains, ...] = Field(default=(), description="Of older photos, still to be removed")
    revision: int = Field(1, description="Grows with each write; a write names the one it replaces")

    @property
    def since(self) -> int:
        """Since when the user has held a face: of a profile of an older version, since the photo was enrolled."""
        return int(self.enrolled_at.timestamp() * 1e6) if self.held_since is None else self.held_since
