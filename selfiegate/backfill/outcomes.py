"""What became of the photos of a backfill, one by one and counted; no count holds on to a photo."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

from pydantic import Field

from selfiegate import advice
from selfiegate.model import PhotoRef, Reason, ReasonCode
from selfiegate.report import code
from selfiegate.values import Value

Status = Literal["accepted", "rejected", "needs_review", "skipped", "failed"]
"""How a photo of a backfill ends; a skipped one was decided before."""

_STEPS_SHOWN = 8


class Outcome(Value):
    """What became of one photo in a backfill."""

    uri: str
    user_id: str
    status: Status
    reasons: tuple[Reason, ...] = ()
    why: str = Field("", description="Of a failure, one line")
    before: str = Field("", description="In a dry run: the stored status, for the diff")
    photo: PhotoRef | None = None
    upload_order: str = Field("", exclude=True, description="When it was uploaded: see `Claim.upload_rank`")


class Summary:
    """Counts and times of a backfill, from its construction until `finish`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps: dict[str, float] = {}
        self._statuses: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._clock, self._began = clock, clock()
        self._ended: float | None = None

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count these; reasons of skipped photos were counted when they were decided."""
        for outcome in outcomes:
            self._statuses[outcome.status] += 1
            if outcome.status != "skipped":
                self._reasons.update(str(reason.code) for reason in outcome.reasons)

    def add_seconds(self, step: str, seconds: float) -> None:
        """Add the time that a step took; of steps side by side the sum is longer than the clock's."""
        self.steps[step] = self.steps.get(step, 0.0) + seconds

    def slowest(self, n: int) -> list[tuple[str, float]]:
        """Return the `n` steps that took longest, with their seconds."""
        return sorted(self.steps.items(), key=lambda item: (-item[1], item[0]))[:n]

    def finish(self) -> None:
        """Stop the clock, once."""
        if self._ended is None:
            self._ended = self._clock()

    @property
    def failed_share(self) -> float:
        """The failed among the photos that were not skipped, 0..1."""
        return self._statuses["failed"] / self._worked_on if self._worked_on else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the counts, the time, and the photos a second that were worked on; frequent reasons first."""
        seconds = (self._clock() if self._ended is None else self._ended) - self._began
        return {
            "photos": self._statuses.total(),
            **{status: self._statuses[status] for status in get_args(Status)},
            "seconds": round(seconds, 2),
            "photos_per_second": round(self._worked_on / seconds, 1) if seconds > 0 else 0.0,
            "reasons": dict(sorted(self._reasons.items(), key=lambda item: (-item[1], item[0]))),
        }

    def __str__(self) -> str:
        """Return the counts of those that are there, for a line."""
        counts = ((status, self._statuses[status]) for status in get_args(Status))
        return ", ".join(f"{count} {status}" for status, count in counts if count) or "no photos"

    def markdown(self) -> str:
        """Return a page for Prefect's UI: counts, reasons with what to do about them, slowest steps."""
        found = self.as_json()
        seconds, speed = found["seconds"], found["photos_per_second"]
        counts = [(status.replace("_", " "), f"{found[status]:,}") for status in get_args(Status)]
        reasons = [(code(name), f"{count:,}", _advice(name)) for name, count in found["reasons"].items()]
        steps = [(code(step).replace("|", r"\|"), f"{took:,.1f}") for step, took in self.slowest(_STEPS_SHOWN)]
        blocks = [
            f"{found['photos']:,} photos in {seconds:,.1f} s; **{speed:,.1f} photos/s** without the skipped",
            _table("| photos | |", "|---|---:|", counts),
            _table("| reason | photos | advice |", "|---|---:|---|", reasons),
            _table("| step | seconds, summed |", "|---|---:|", steps),
        ]
        return "\n\n".join(["# Backfill", *filter(None, blocks)])

    @property
    def _worked_on(self) -> int:
        return self._statuses.total() - self._statuses["skipped"]


def _advice(name: str) -> str:
    return advice.reason(ReasonCode(name)).message


def _table(head: str, line: str, rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join([head, line, *(f"| {' | '.join(row)} |" for row in rows)]) if rows else ""
