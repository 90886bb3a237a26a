"""What selfiegate writes down: the ledger of photos, the users' profiles, and the wishes to be forgotten.

The three lie in one database, each written by compare-and-set; tests/contract/records.py holds their promises.
Every method may raise `BackendUnavailable` (try again) or `BackendMisconfigured` (mend the set-up).
All are safe to call from several threads, and all writes may be repeated.

A newer version of the program may write to the same database. Fields that this one does not know are kept. A row that
it cannot read at all raises `UnreadableRow` where that row is asked for. Whoever goes through many rows skips it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from pydantic import Field

from selfiegate.errors import UnreadableRow
from selfiegate.known_gallery import KnownGallery
from selfiegate.model import Claim, Contest, LateLoss, PhotoRef, Profile, Verdict
from selfiegate.paging import Page
from selfiegate.rows import Skip, refuse, warn
from selfiegate.user_ids import UserId
from selfiegate.values import Stored

ALL = 2**62
"""As a limit: none."""


class Erasure(Stored):
    """A user's wish to be forgotten: the order while it is carried out, the receipt afterwards.

    It stays for as long as an old event or a nightly backfill may name one of the user's photos again.
    """

    user_id: UserId
    asked_at: int = Field(description="Microseconds since 1970, UTC: photos uploaded before are not taken any more")
    run: str = Field(description="The run that carries it out, or did")
    attempt: int = Field(1, description="How often a run has begun to work on it; a write names the run and this")
    lease_until: int = Field(
        0, description="When `reconcile` may carry it on, microseconds since 1970: a lease's end, or a pause's"
    )
    problem: str = Field("", description="What the attempt before failed at")
    failures: int = Field(0, description="How many attempts failed since anything was removed")
    photos: bool = Field(description="Whether the original photos are removed, too")
    leases_end_at: int = Field(
        0, alias="quiet_at", description="When the runs that held the user's photos have ended, microseconds since 1970"
    )
    sweeps: int = Field(0, description="How many sweeps are done, of two")
    gallery_page: str = Field("", description="Where the present sweep goes on in the gallery's list")
    found: tuple[tuple[str, str], ...] = Field(default=(), description="Kind and name of what is removed; empty later")
    originals: tuple[str, ...] = Field(default=(), description="Original photos still to be removed, each as JSON")
    kept_originals: int = Field(0, description="How many were to be removed, and were left since that failed")
    removed: dict[str, int] = Field(default_factory=dict, description="How much of each kind is gone so far")
    finished_at: int | None = Field(None, description="Microseconds since 1970, UTC")
    revision: int = Field(1, description="Grows with each write; a write names the one it replaces")

    def covers(self, claim: Claim) -> bool:
        """Say whether a photo was uploaded before the user asked."""
        return self.covers_upload(claim.upload_rank)

    def covers_upload(self, upload_rank: str) -> bool:
        """Say the same of a `Claim.upload_rank`."""
        return upload_rank <= f"{self.asked_at:016d}"


class Ledger(Protocol):
    """One row per photo version and user, changed only by compare-and-set.

    A row is still ours while its owner and its attempt are the claim's.
    """

    def batch(self) -> AbstractContextManager[object]:
        """Let this thread's writes to ledger and profiles be durable together, at the end of the block, or at once."""

    def claim(
        self, photo: PhotoRef, user_id: str, owner: str, lease_s: float, upload_order: str = "", notify: bool = True
    ) -> Claim:
        """Return the row as it stands after asking for it; `upload_order` is taken by a new one, which has no face yet.

        A new row, an undecided row of the same owner and one whose lease ran out become ours (`attempt`
        counts how often); a decided row and one that another owner holds come back as they are.
        Without `notify` a new row is silent: its user is never told of a refusal. With it, an undecided silent row
        turns into one whose user is told, whoever holds it.
        """

    def renew(self, claim: Claim, lease_s: float) -> bool:
        """Let the lease end that much from now; False unless it is still ours, or where it is accepted."""

    def get(self, photo: PhotoRef, user_id: str) -> Claim | None:
        """Return a row, or None."""

    def claims_of(self, user_id: str, skip: Skip = refuse) -> Sequence[Claim]:
        """Return all rows of a user, oldest first; a claim made before this call is among them."""

    def note_face(self, claim: Claim, face_id: str | None) -> bool:
        """Record the face enrolled for an undecided row; False unless it is still ours.

        None before it is enrolled, empty where that was refused.
        """

    def contest(self, claim: Claim, contest: Contest) -> bool:
        """Add a contest to a pending row, once each; False where it is no longer pending."""

    def accept(self, claim: Claim) -> bool:
        """Turn pending into accepting; False unless it is still ours and has the contests that the claim has."""

    def release(self, claim: Claim) -> bool:
        """Turn accepting (or pending) back into pending, without a face; False unless it is still ours."""

    def decide(self, claim: Claim, verdict: Verdict, look_at: int = 0) -> Claim:
        """Store the verdict: accepted from accepting, others from pending; `ClaimLost` unless it is still ours.

        At `look_at` an accepted face is to be looked up once more (microseconds since 1970); 0: never.
        """

    def begin_notice(self, claim: Claim, lease_s: float) -> str | None:
        """Take it on us to tell the user of a refusal, and return a token for `end_notice`.

        None where that was done, or is being done by another. Who takes it has so long; after that another may.
        """

    def end_notice(self, claim: Claim, token: str, sent: bool, told: Sequence[str] | None = None) -> None:
        """Record that the user was told, or that another may try; nothing where another took it meanwhile.

        `told` are the ways that have told the user all the same: the next attempt leaves them out. None: as before.
        """

    def unfinished(
        self,
        before: int,
        limit: int = ALL,
        waits: Sequence[int] = (),
        newest_first: bool = False,
        skip: Skip = warn,
    ) -> Sequence[Claim]:
        """Return at most so many rows with work left whose lease ran out before this time, the first to end first.

        These are the ones without a verdict, and the refused ones whose user was not told. `waits` says by how much
        more the lease must have run out at the first attempt, the second, and so on; the last holds for all later.
        Times are in microseconds, since 1970. With a limit, a store may give up after many thousand rows that have to
        wait.
        """

    def undecided(self, after: str = "", limit: int = 1000) -> Page[tuple[str, str]]:
        """Return user and photo id of at most so many rows without a verdict, whoever holds them, page by page.

        Rows that cannot be read are among them.
        """

    def to_look_at(self, before: int, limit: int, skip: Skip = warn) -> Sequence[Claim]:
        """Return at most so many accepted rows whose `look_at` is before this time, the first ones first.

        As of a moment ago. Of rows that cannot be read many thousand are passed over, and no more.
        """

    def look_later(self, claim: Claim, look_at: int, late_loss: LateLoss | None = None) -> bool:
        """Write when an accepted row is looked at next, 0 for never, and to whom it is losing its face.

        False where the row is not accepted any more, or its `look_at` is another than the claim's.
        """

    def lose(self, claim: Claim, verdict: Verdict) -> bool:
        """Replace the verdict of an accepted row that `loses_late` by a refusal; it is told, unless the row is silent.

        False where the row has changed since it was read.
        """

    def note_upload(self, claim: Claim, upload_order: str) -> bool:
        """Let a row, decided or not, stand for a later upload of its photo; False unless it is still ours."""

    def reopen(self, claim: Claim, upload_order: str = "", notify: bool = False) -> bool:
        """Turn a decided row back into a pending one that nobody holds; False where it has changed since it was read.

        With `upload_order` for a later upload of its photo: it is claimed as of now. Else only an accepted row, which
        keeps its seniority.
        """

    def remove(self, claim: Claim | UnreadableRow) -> bool:
        """Remove a row, decided or not; False unless its owner and attempt are the claim's, if they can be read."""

    def expire(self, before: int) -> int:
        """Remove rows of refused photos first claimed before this time (microseconds since 1970); return how many.

        Where a row lost its face late, its user is told before. 0 where the store does so by itself.
        """

    def audit_bookmark(self) -> str:
        """Return where the last audit stopped; empty where none did."""

    def keep_audit_bookmark(self, text: str) -> None:
        """Write down where an audit stopped."""

    def to_review(self) -> int:
        """Count the rows that wait for a person, as of a moment ago."""


class Profiles(Protocol):
    """One row per user."""

    def get(self, user_id: str) -> Profile | None:
        """Return a user's profile, or None."""

    def all(self, skip: Skip = warn) -> Iterable[Profile]:
        """Go through all profiles; one that is written meanwhile may be missed or not."""

    def page(self, after: str = "", limit: int = 1000, skip: Skip = warn) -> Page[Profile]:
        """Return at most so many of them, and where they go on."""

    def of(self, user_ids: Collection[str], skip: Skip = warn) -> Sequence[Profile]:
        """Return the profiles of many users, as far as they have one, in any order."""

    def put(self, profile: Profile, /, replacing: Profile | None) -> bool:
        """Store a profile; False if what is stored now is not `replacing` (compared by revision)."""

    def remove(self, profile: Profile | UnreadableRow) -> bool:
        """Remove a profile; False if what is stored now is another revision."""


class Erasures(Protocol):
    """One row per user who asked to be forgotten."""

    def get(self, user_id: str) -> Erasure | None:
        """Return what is known of a user's wish to be forgotten; written before this call, it is seen."""

    def put(self, erasure: Erasure, /, replacing: Erasure | UnreadableRow | None) -> bool:
        """Store it; False if what is stored now is not `replacing` (compared by revision)."""

    def unfinished(self, skip: Skip = warn) -> Sequence[Erasure]:
        """Return those that are not finished."""


class Records(NamedTuple):
    """What one database holds."""

    ledger: Ledger
    profiles: Profiles
    erasures: Erasures
    known_gallery: KnownGallery
