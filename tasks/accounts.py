"""What a person sees of a backfill while it runs and when it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self
from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact

from selfiegate.backfill.files import ContactSheet, JsonLines
from selfiegate.backfill.outcomes import Outcome, Summary
from selfiegate.runtime import runtime
from tasks.artifacts import attached
from tasks.chunks import Done
from tasks.steps import in_thread

_SHOWN_EVERY_S = 2.0

watchers: list[Callable[[int, int], None]] = []
"""Told how many photos of how many are done: a progress bar in this process."""


class _Teller(Protocol):
    def add(self, outcomes: Iterable[Outcome]) -> None: ...


class Account:
    """Counts outcomes, writes them into the files that are asked for, and shows how far a backfill is."""

    def __init__(self, total: int, report: str | None, html: str | None) -> None:
        self.summary = Summary()
        self._total, self._done, self._shown_at = total, 0, 0.0
        self._artifact: UUID | None = None
        self._files = ExitStack()
        self._tellers: list[_Teller] = [self.summary]
        if report:
            self._tellers.append(self._files.enter_context(JsonLines(Path(report))))
        if html:
            photos, limits = runtime().photos, runtime().settings.photos
            self._tellers.append(self._files.enter_context(ContactSheet(Path(html), photos, limits)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    async def add(self, done: Done) -> None:
        """Count a chunk."""
        await in_thread(self._tell, done.outcomes)
        for step, seconds in done.seconds.items():
            self.summary.add_seconds(step, seconds)
        self._done += len(done.outcomes)
        if time.monotonic() - self._shown_at > _SHOWN_EVERY_S or self._done == self._total:
            await self._show()

    async def close(self) -> None:
        """Attach the summary to the run."""
        self.summary.finish()
        page = self.summary.markdown()
        await attached(acreate_markdown_artifact(page, key="backfill", description="What became of the photos"))

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        for teller in self._tellers:
            teller.add(outcomes)

    async def _show(self) -> None:
        self._shown_at = time.monotonic()
        for watch in watchers:
            watch(self._done, self._total)
        share = 100 * self._done / max(self._total, 1)
        if self._artifact is None:
            self._artifact = await attached(acreate_progress_artifact(share, key="backfill-progress"))
        else:
            await attached(aupdate_progress_artifact(self._artifact, share))
