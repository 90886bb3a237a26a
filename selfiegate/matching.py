"""When two faces are one person: the scale of each backend's similarities, and the thresholds on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from selfiegate.ports import Thresholds
from selfiegate.setting_types import UNSET, Group


@dataclass(frozen=True)
class Scale:
    """A backend's similarities. A threshold lies between `low` and `high`; the others are used where none is set.

    At `high` a threshold would find no face but a copy of the same photo, and every duplicate would be accepted.
    """

    name: str
    low: float
    high: float
    match: float
    verify: float
    unclear: float


NOBODY_DECIDES = (
    "photos like another user's at SELFIEGATE_MATCHING__REVIEW_THRESHOLD or above, and below the match threshold, wait "
    "for a person (needs_review); no command decides them yet, and their rows expire after SELFIEGATE_REJECTED_DAYS"
)
"""Said wherever that setting is used: the verdict needs_review is a dead end so far."""

COSINE = Scale("cosine similarity", low=0, high=1, match=0.40, verify=0.30, unclear=0.32)
"""The defaults are for the MobileFaceNet recogniser of buffalo_s and buffalo_sc.

On all LFW photos in turn, 0.40 refuses 1.0 % of new people, of which wrong labels are most, and misses 2.7 % of
returning ones (`benchmarks.duplicates`). `verify` is lower, for there are no strangers to be told from.
"""

REKOGNITION = Scale("Rekognition's similarity", low=1, high=100, match=90.0, verify=80.0, unclear=80.0)
"""Rekognition's go from 0 to 100; up to 1 is a cosine that was left over. AWS's own default is 80; the workshop used
70 for both. `unclear` has no effect so far: Rekognition tells no quality.
"""

SCALES = {"insightface": COSINE, "rekognition": REKOGNITION}


_Threshold = Annotated[float | None, UNSET]


class Matching(Group):
    """When two faces are one person; scores are the backend's own: cosine -1..1, or Rekognition's 0..100."""

    match_threshold: _Threshold = Field(
        None,
        gt=0,
        lt=100,
        description="Another user's face at or above this: already enrolled; empty: 0.40, or Rekognition's 90",
    )
    verify_threshold: _Threshold = Field(
        None,
        gt=0,
        lt=100,
        description="The user's own face below this: a different person; empty: 0.30, or Rekognition's 80; "
        "not above the match threshold",
    )
    review_threshold: _Threshold = Field(
        None,
        gt=0,
        lt=100,
        description="Another user's face at or above this, below the match threshold: needs_review; empty: never",
    )
    unclear_threshold: _Threshold = Field(
        None,
        gt=0,
        lt=100,
        description="Another user's face at or above this, below the match threshold, and the photo's quality below "
        "clear_quality: unclear_match; empty: 0.32, or Rekognition's 80",
    )
    clear_quality: float = Field(
        85.0,
        ge=0,
        le=100,
        description="Faces of this quality or better, or of unknown quality, are never an unclear_match; 0: none is",
    )

    def on(self, scale: Scale) -> Thresholds:
        """Take what is set, else the scale's own."""
        match = scale.match if self.match_threshold is None else self.match_threshold
        verify = scale.verify if self.verify_threshold is None else self.verify_threshold
        review = match if self.review_threshold is None else self.review_threshold
        unclear = min(scale.unclear, match) if self.unclear_threshold is None else self.unclear_threshold
        return Thresholds(match=match, verify=verify, review=review, unclear=unclear)

    def faults(self, backend: str) -> Iterator[tuple[str, float, str]]:
        """Yield each threshold off the backend's scale or out of order: its field, its value and what is allowed."""
        scale, used = SCALES[backend], self.on(SCALES[backend])
        for field in (name for name in type(self).model_fields if name.endswith("_threshold")):
            value = getattr(self, field)
            if value is not None and not scale.low < value < scale.high:
                allowed = f"above {scale.low:g} and below {scale.high:g}"
                yield field, value, f"with SELFIEGATE_BACKEND={backend} it is a {scale.name}, {allowed}"
        for name in ("verify", "review", "unclear"):
            if (value := getattr(used, name)) > used.match:
                yield f"{name}_threshold", value, f"it is above the match threshold, {used.match:g}"
