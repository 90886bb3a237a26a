"""Counts a backfill's outcomes while it runs, and writes them into the files that are asked for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self

from selfiegate.backfill.files import ContactSheet, JsonLines
from selfiegate.backfill.outcomes import Outcome, Summary
from selfiegate.backfill.processor import ChunkResult
from selfiegate.runtime import Runtime
from selfiegate.steps import in_thread

_SHOWN_EVERY_S = 2.0

Show = Callable[[int, int], Awaitable[None]]
"""Told how many photos of how many are done."""


class _Sink(Protocol):
    def add(self, outcomes: Iterable[Outcome]) -> None: ...


class BackfillProgress:
    """Counts outcomes; `show` is called every two seconds, and when all are done."""

    def __init__(self, rt: Runtime, total: int, report: str | None, html: str | None, show: Show) -> None:
        self.summary = Summary()
        self._total, self._done, self._shown_at, self._show = total, 0, 0.0, show
        self._files = ExitStack()
        self._sinks: list[_Sink] = [self.summary]
        if report:
            self._sinks.append(self._files.enter_context(JsonLines(Path(report))))
        if html:
            self._sinks.append(self._files.enter_context(ContactSheet(Path(html), rt.photos, rt.settings.photos)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    async def add(self, done: ChunkResult) -> None:
        """Count a chunk."""
        await in_thread(self._write, done.outcomes)
        for step, seconds in done.seconds.items():
            self.summary.add_seconds(step, seconds)
        self._done += len(done.outcomes)
        if time.monotonic() - self._shown_at > _SHOWN_EVERY_S or self._done == self._total:
            self._shown_at = time.monotonic()
            await self._show(self._done, self._total)

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        for sink in self._sinks:
            sink.add(outcomes)
