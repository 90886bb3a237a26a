"""Photos that exist already, at the speed of the models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from selfiegate.backfill.listing import Entry, Listing
from selfiegate.backfill.outcomes import Outcome
from tasks.accounts import Account
from tasks.chunks import Done, Processor, Way, list_photos, processor, side_by_side

_PAUSES_S = (1, 3, 9, 27, 81)
"""Before photos that another run is at, or that a store did not answer for, are tried again."""


@flow(name="backfill", flow_run_name="backfill {source}", persist_result=False, result_serializer="json")
async def backfill(
    source: Annotated[
        str, Field(description="A folder, s3://bucket/prefix, an S3 Inventory manifest.json, a batch .json")
    ],
    key_template: Annotated[str | None, Field(description="Whose photo it is; empty: SELFIEGATE_KEY_TEMPLATE")] = None,
    order: Annotated[
        Literal["key", "modified"], Field(description="Of two photos with one face the first wins")
    ] = "key",
    dry_run: Annotated[bool, Field(description="Say what would become of the photos; write nothing")] = False,
    notify: Annotated[bool, Field(description="Tell users of refusals; else nobody is ever told of these")] = False,
    engine: Annotated[
        Literal["threads", "dask"], Field(description="Threads of this process, or a Dask cluster")
    ] = "threads",
    dask: Annotated[str | None, Field(description="Address of the cluster's scheduler; empty: one here")] = None,
    workers: Annotated[int | None, Field(ge=1, le=256, description="Photos side by side; empty: one a core")] = None,
    chunk: Annotated[int, Field(ge=1, le=1000, description="Photos a task")] = 128,
    tolerate: Annotated[float, Field(ge=0, le=1, description="The share of photos that may fail")] = 0.01,
    report: Annotated[str | None, Field(description="A file for one line of JSON a photo")] = None,
    html: Annotated[str | None, Field(description="A file for a contact sheet of the refused")] = None,
) -> dict[str, Any]:
    """Take every photo of a source to its verdict; photos that have one are skipped.

    The rules are those of a single photo. On a Dask cluster, of two photos with one face that two workers look at in
    the same moment, the one that was claimed first wins. Stopped at any moment, it may be run again. Ends
    Completed, named Backfilled, or Failed where more photos failed than are tolerated.
    """
    way = Way(str(flow_run.id), workers or side_by_side(), notify, dry_run)
    with Listing(order) as listing:
        total = await list_photos(source, key_template, listing)
        with Account(total, report, html) as account, processor(way, engine, dask) as ours:
            again = await in_rounds(ours, listing.chunks(chunk), chunk, account)
            left = [Outcome(uri=one.uri, user_id=one.user_id, status="failed", why=why) for one, why in again]
            faults = [Outcome(uri=one.where, user_id="", status="failed", why=one.why) for one in listing.faults]
            await account.add(Done([*left, *faults], [], {}))
            await account.close()
    summary = account.summary
    if summary.failed_share > tolerate:
        message = f"more than {tolerate:.1%} failed: {summary}"
        return Failed(message=message, data=summary.as_json())  # type: ignore[return-value]
    return Completed(name="Backfilled", message=str(summary), data=summary.as_json())  # type: ignore[return-value]


async def in_rounds(
    ours: Processor, chunks: Iterable[list[Entry]], size: int, account: Account
) -> Sequence[tuple[Entry, str]]:
    """Process all chunks, and then what is to be tried again; return what is left in the end, and why."""
    number, again = 0, list[tuple[Entry, str]]()
    for pause_s in (*_PAUSES_S, None):
        again = []
        async for done in under_way(ours, chunks, number):
            number += 1
            again += done.again
            await account.add(done)
        if not again or pause_s is None:
            break
        await asyncio.sleep(pause_s)
        chunks = in_chunks([entry for entry, _ in again], size)
    return again


def in_chunks(photos: list[Entry], size: int) -> Iterator[list[Entry]]:
    """Split photos."""
    return (photos[at : at + size] for at in range(0, len(photos), size))


async def under_way(ours: Processor, chunks: Iterable[list[Entry]], number: int) -> AsyncIterator[Done]:
    """Keep some chunks under way, and give their ends in their order; a chunk that raises ends all."""
    tasks: list[asyncio.Task[Any]] = []
    first = 1
    try:
        for at, photos in enumerate(chunks, start=number):
            tasks.append(asyncio.ensure_future(ours.process(at, first, photos)))
            first += len(photos)
            if len(tasks) == ours.at_once:
                yield await tasks.pop(0)
        while tasks:
            yield await tasks.pop(0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
