"""The step of the express lane, and what people see of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prefect.artifacts import acreate_table_artifact

from selfiegate import express
from selfiegate.backfill.outcomes import Outcome
from selfiegate.express import End
from tasks.artifacts import attached
from tasks.meters import count
from tasks.steps import task_of

take_together = task_of(express.take_together, "take photos to their verdicts", timeout_s=None)


def counts_of(ends: Sequence[End]) -> dict[str, int]:
    """Count photos by what became of them, the most first."""
    counts = Counter(end.verdict for end in ends)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def meter(outcomes: Sequence[Outcome]) -> None:
    """Count the verdicts that photos got together; single runs count theirs."""
    for one in outcomes:
        if one.status not in ("skipped", "failed"):
            count(one.status, one.reasons, one.upload_order, "express")


def in_words(counts: dict[str, int]) -> str:
    """Return counts as a line."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


async def show_ends(ends: Sequence[End]) -> None:
    """Attach a row for each photo to the run, accepted ones last."""
    rows = sorted((_row(end) for end in ends), key=lambda row: row["verdict"] == "accepted")
    await attached(acreate_table_artifact(rows, key="photos", description=in_words(counts_of(ends))))


def _row(end: End) -> dict[str, str]:
    one = end.outcome
    why = ", ".join(reason.code for reason in one.reasons) or one.why
    return {"user": one.user_id, "verdict": end.verdict, "why": why, "photo": one.uri, "run of its own": end.run}
