"""Steps of a backfill: one task a chunk, so that orchestration costs nothing a photo."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from selfiegate.backfill.listing import Entry, Listing
from selfiegate.backfill.processor import (
    AT_ONCE,
    BackfillOptions,
    ChunkResult,
    Processor,
    take_chunk,
    turns_of,
)
from selfiegate.backfill.sources import entries
from selfiegate.runtime import runtime
from selfiegate.settings import load_settings
from tasks.cluster import cluster
from tasks.steps import step


@step("list {source}", timeout_s=None)
def list_photos(source: str, template: str | None, listing: Listing) -> int:
    """Write down what there is, in its order; return how many entries there are, faults included."""
    listing.add(entries(source, load_settings(), template))
    return len(listing) + listing.fault_count


@step("photos {first} to {last}", timeout_s=None)
def process_chunk(photos: Sequence[Entry], first: int, last: int, number: int, options: BackfillOptions) -> ChunkResult:
    """Take a chunk to its verdicts; raises `BackendUnavailable` where nothing could be done for any photo."""
    return take_chunk(runtime(), photos, number, options)


@asynccontextmanager
async def processor(options: BackfillOptions, engine: str, dask: str | None) -> AsyncIterator[Processor]:
    """Process chunks in this process, in their order, or on a Dask cluster."""
    async with AsyncExitStack() as stack:
        submit = await stack.enter_async_context(cluster(dask, options.workers)) if engine == "dask" else None
        turns = stack.enter_context(turns_of(options.owner))
        each = options._replace(workers=1) if submit else options

        async def process(number: int, first: int, photos: Sequence[Entry]) -> ChunkResult:
            asked: dict[str, Any] = {"photos": photos, "first": first, "last": first + len(photos) - 1}
            asked |= {"number": number, "options": each}
            try:
                done: ChunkResult = await (submit(process_chunk, asked) if submit else process_chunk(**asked))
                return done
            finally:
                turns.done(number)

        yield Processor(process, 2 * options.workers if submit else AT_ONCE)
