"""One photo on its way through a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from selfiegate.backfill.listing import Entry
from selfiegate.backfill.outcomes import Outcome
from selfiegate.enrolment.search import SearchResult
from selfiegate.errors import SelfiegateError
from selfiegate.model import Claim, Match, PhotoRef, Reason
from selfiegate.policy import Judgement

_NOT_JUDGED = Judgement(face=None, reasons=(), checks=())


@dataclass(eq=False)
class PhotoWork:
    """What is known of it so far."""

    entry: Entry
    photo: PhotoRef | None = None
    row: Claim | None = None
    """The ledger's row as this run last read it."""
    judgement: Judgement = _NOT_JUDGED
    searched: SearchResult = field(default_factory=SearchResult)
    begun: bool = False
    """Its face may be in the gallery, whether or not the reply came."""
    face_id: str = ""
    unclear: bool = False
    """Whether it was held against faces that are merely like it."""
    matches: Sequence[Match] = ()
    thumbnails: dict[str, str] = field(default_factory=dict)
    profile: int | None = None
    """The revision of the user's profile when the gallery was searched."""
    ended: Outcome | None = None
    retry_reason: SelfiegateError | None = None
    """Why it is to be tried again later: another run is at it, or a store did not answer."""

    @property
    def open(self) -> bool:
        """Whether steps are left to be taken."""
        return self.ended is None and self.retry_reason is None

    @property
    def claim(self) -> Claim:
        """The claim, once it is made."""
        assert self.row is not None  # noqa: S101  claimed before any step that asks
        return self.row

    @property
    def quality(self) -> float | None:
        """Of its face, as far as it is known."""
        return self.judgement.face.quality if self.judgement.face else None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """All that speaks against it."""
        return (*self.judgement.reasons, *self.searched.reasons)


def undecided(work: Sequence[PhotoWork]) -> list[Claim]:
    """Return the claims without a verdict."""
    return [one.row for one in work if one.row and one.row.verdict is None]


def untold(work: Sequence[PhotoWork]) -> list[PhotoWork]:
    """Return the refused photos whose users are still to be told, those that an earlier run refused among them."""
    rows = [(one, one.row) for one in work if one.row and one.row.verdict]
    return [one for one, row in rows if row.status != "accepted" and row.notice not in ("sent", "off")]


def one_of_each_user(photos: Sequence[PhotoWork]) -> list[list[PhotoWork]]:
    """Split photos so that a user's second one is held against the profile that the first one made."""
    batches: list[list[PhotoWork]] = []
    counts: dict[str, int] = {}
    for one in photos:
        turn = counts[one.entry.user_id] = counts.get(one.entry.user_id, -1) + 1
        if turn == len(batches):
            batches.append([])
        batches[turn].append(one)
    return batches


def outcome(one: PhotoWork, status: str, why: str = "") -> Outcome:
    """Return what became of a photo, as its claim tells it; `why` is one line on a failure."""
    verdict = one.row.verdict if one.row else None
    reasons = verdict.reasons if verdict else ()
    values = {"uri": one.entry.uri, "user_id": one.entry.user_id, "status": status, "reasons": reasons}
    order = one.row.upload_order if one.row else ""
    return Outcome.model_validate({**values, "why": why, "photo": one.photo, "upload_order": order})
