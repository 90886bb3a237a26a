"""What a person sees of a backfill in Prefect's UI: a progress bar while it runs, and a page in the end."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact

from selfiegate.backfill.outcomes import Summary
from tasks.artifacts import attached

watchers: list[Callable[[int, int], None]] = []
"""Told how many photos of how many are done: a progress bar in this process."""


class ProgressArtifact:
    """Shows how far a backfill is."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None

    async def show(self, done: int, total: int) -> None:
        """Tell the watchers, and the run's artifact."""
        for watch in watchers:
            watch(done, total)
        share = 100 * done / max(total, 1)
        if self._artifact is None:
            self._artifact = await attached(acreate_progress_artifact(share, key="backfill-progress"))
        else:
            await attached(aupdate_progress_artifact(self._artifact, share))


async def show_summary(summary: Summary) -> None:
    """Attach the summary to the run."""
    page = summary.markdown()
    await attached(acreate_markdown_artifact(page, key="backfill", description="What became of the photos"))
