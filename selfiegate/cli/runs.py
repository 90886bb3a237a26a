"""The commands that take photos by the many: upload, backfill, reconcile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from selfiegate.cli import console
from selfiegate.cli.recording import runner
from selfiegate.errors import WrongInput
from selfiegate.key_template import KeyTemplate

app = typer.Typer()


@app.command()
def upload(
    photo: Annotated[Path, typer.Argument(help="The photo's file.")],
    user: Annotated[str, typer.Option(help="The user whose photo it is.")],
    bucket: Annotated[str | None, typer.Option(help="Default: SELFIEGATE_AWS__PHOTO_BUCKET.")] = None,
) -> None:
    """Put a photo into the bucket that events come from; a worker does the rest."""
    settings = console.connected()
    bucket = bucket or settings.aws.photo_bucket
    if bucket is None:
        raise WrongInput("no bucket to upload to; name one by --bucket or SELFIEGATE_AWS__PHOTO_BUCKET")
    try:
        data = photo.read_bytes()
    except OSError as error:
        raise WrongInput(f"cannot read the photo {str(photo)!r}: {error.strerror}") from None
    from selfiegate.stores.s3 import S3Photos  # boto3 is an extra

    key = KeyTemplate(settings.key_template).key_of(user, photo.name)
    metadata = {settings.user_metadata: user} if settings.user_metadata else {}
    made = S3Photos(settings.aws, settings.photos).put(bucket, key, data, metadata)
    console.out.print(f"uploaded {console.shown(made.uri)}", soft_wrap=True)


@app.command()
def backfill(
    source: Annotated[str, typer.Argument(help="A folder, s3://bucket/prefix, a manifest.json or a batch .json.")],
    key_template: Annotated[
        str | None, typer.Option(help="Whose photo it is, e.g. '*/{user_id}.jpg'; default: SELFIEGATE_KEY_TEMPLATE.")
    ] = None,
    order: Annotated[
        Literal["key", "modified"], typer.Option(help="Of two photos with one face the first wins.")
    ] = "key",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of the photos.")] = False,
    notify: Annotated[bool, typer.Option("--notify", help="Tell users of refusals.")] = False,
    engine: Annotated[
        Literal["threads", "dask"], typer.Option(help="Threads of this process, or a Dask cluster.")
    ] = "threads",
    dask: Annotated[str | None, typer.Option(help="Address of Dask's scheduler; default: a cluster here.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Photos side by side; default: cores.")] = None,
    tolerate: Annotated[float, typer.Option(min=0, max=1, help="The share of photos that may fail.")] = 0.01,
    report: Annotated[Path | None, typer.Option(help="Write one line of JSON a photo.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a contact sheet of the refused.")] = None,
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,
) -> None:
    """Check and enrol all photos of a folder, a bucket or an inventory. Go on where an earlier one was stopped.

    Exit 1: more photos failed than --tolerate allows.
    """
    console.prepared()
    with console.progress(shown=not as_json) as watch:
        found, ended_well = runner(verbose, needs_prefect=engine == "dask").backfilled(
            watch,
            source=source,
            key_template=key_template,
            order=order,
            dry_run=dry_run,
            notify=notify,
            engine=engine,
            dask=dask,
            workers=workers,
            tolerate=tolerate,
            report=str(report) if report else None,
            html=str(html) if html else None,
        )
    if as_json:
        print(json.dumps(found))
    else:
        console.out.print(console.counts(found))
    raise typer.Exit(0 if ended_well else 1)


@app.command()
def reconcile(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Photos to run again, at most.")] = 200,
    audit: Annotated[bool, typer.Option("--audit", help="List what lacks its counterpart in the stores.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what the audit lists.")] = False,
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,
) -> None:
    """Finish photos whose runs died, and compare the stores where asked. Running it twice changes nothing more.

    Exit 1: a part of it failed; the others were done.
    """
    console.prepared()
    found, failures = runner(verbose).reconciled(limit=limit, audit=audit, repair=repair)
    if as_json:
        print(json.dumps(found))
    else:
        console.out.print("\n".join(f"{count} {kind}" for kind, count in found.items()) or "nothing to do")
    if failures:
        console.err.print(console.shown(failures), soft_wrap=True)
    raise typer.Exit(1 if failures else 0)
