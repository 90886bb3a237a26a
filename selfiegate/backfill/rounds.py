"""Drives a backfill: all chunks of a listing, and then, in rounds, the photos that are to be tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from selfiegate.backfill.listing import Entry, Listing
from selfiegate.backfill.outcomes import Outcome
from selfiegate.backfill.processor import ChunkResult, Processor
from selfiegate.backfill.progress import BackfillProgress

_PAUSES_S = (1, 3, 9, 27, 81)
"""Before photos that another run is at, or that a store did not answer for, are tried again."""


async def take_all(processor: Processor, listing: Listing, size: int, progress: BackfillProgress) -> None:
    """Take all photos of a listing to their verdicts, `size` at a time; what is left in the end failed."""
    left = await in_rounds(processor, listing.chunks(size), size, progress)
    outcomes = [Outcome(uri=one.uri, user_id=one.user_id, status="failed", why=why) for one, why in left]
    outcomes += [Outcome(uri=one.where, user_id="", status="failed", why=one.why) for one in listing.faults]
    await progress.add(ChunkResult(outcomes, [], {}))


async def in_rounds(
    processor: Processor, chunks: Iterable[list[Entry]], size: int, progress: BackfillProgress
) -> Sequence[tuple[Entry, str]]:
    """Process all chunks, and then what is to be tried again; return what is left in the end, and why."""
    number, again = 0, list[tuple[Entry, str]]()
    for pause_s in (*_PAUSES_S, None):
        again = []
        async for done in under_way(processor, chunks, number):
            number += 1
            again += done.to_retry
            await progress.add(done)
        if not again or pause_s is None:
            break
        await asyncio.sleep(pause_s)
        chunks = in_chunks([entry for entry, _ in again], size)
    return again


def in_chunks(photos: list[Entry], size: int) -> Iterator[list[Entry]]:
    """Split photos."""
    return (photos[at : at + size] for at in range(0, len(photos), size))


async def under_way(processor: Processor, chunks: Iterable[list[Entry]], number: int) -> AsyncIterator[ChunkResult]:
    """Keep some chunks under way, and give their ends in their order; a chunk that raises ends all."""
    tasks: list[asyncio.Task[Any]] = []
    first = 1
    try:
        for at, photos in enumerate(chunks, start=number):
            tasks.append(asyncio.ensure_future(processor.process(at, first, photos)))
            first += len(photos)
            if len(tasks) == processor.at_once:
                yield await tasks.pop(0)
        while tasks:
            yield await tasks.pop(0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
