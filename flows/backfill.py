"""Photos that exist already, at the speed of the models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from selfiegate.backfill.listing import Listing
from selfiegate.backfill.processor import CHUNK, BackfillOptions, side_by_side
from selfiegate.backfill.progress import BackfillProgress
from selfiegate.backfill.rounds import take_all
from tasks.chunks import list_photos, processor
from tasks.progress import ProgressArtifact, show_summary
from tasks.steps import opened


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
    chunk: Annotated[int, Field(ge=1, le=1000, description="Photos a task")] = CHUNK,
    tolerate: Annotated[float, Field(ge=0, le=1, description="The share of photos that may fail")] = 0.01,
    report: Annotated[str | None, Field(description="A file for one line of JSON a photo")] = None,
    html: Annotated[str | None, Field(description="A file for a contact sheet of the refused")] = None,
) -> dict[str, Any]:
    """Take every photo of a source to its verdict; photos that have one are skipped.

    The rules are those of a single photo. On a Dask cluster, of two photos with one face that two workers look at in
    the same moment, the one that was claimed first wins. Stopped at any moment, it may be run again. Ends
    Completed, named Backfilled, or Failed where more photos failed than are tolerated.
    """
    rt = await opened()
    records_id = rt.known_gallery.records_id
    options = BackfillOptions(str(flow_run.id), workers or side_by_side(rt), notify, dry_run, records_id)
    with Listing(order) as listing:
        total = await list_photos(source, key_template, listing)
        show = ProgressArtifact().show
        async with processor(options, engine, dask) as ours:
            with BackfillProgress(rt, total, report, html, show) as progress:
                await take_all(ours, listing, chunk, progress)
    summary = progress.summary
    summary.finish()
    await show_summary(summary)
    if summary.failed_share > tolerate:
        message = f"more than {tolerate:.1%} failed: {summary}"
        return Failed(message=message, data=summary.as_json())  # type: ignore[return-value]
    return Completed(name="Backfilled", message=str(summary), data=summary.as_json())  # type: ignore[return-value]
