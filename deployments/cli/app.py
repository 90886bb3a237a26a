"""The `selfiegate` command of a checkout or the image: the wheel's, and what runs or deploys flows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployments import logs
from deployments.cli import services, with_prefect
from selfiegate.cli import checkout, console
from selfiegate.cli.app import app, main

__all__ = ["app", "main"]

checkout.provide(with_prefect)
aws = typer.Typer(no_args_is_help=True, help="Look at what AWS allows.")
app.add_typer(services.app)
app.add_typer(aws, name="aws")


@aws.command("check")
def aws_check(
    photo_bucket: Annotated[str | None, typer.Option(help="Bucket of the photos, or BUCKET/PREFIX.")] = None,
    as_json: console.AsJson = False,
) -> None:
    """Try every permission that the flow needs, and change nothing.

    Exit 1: something is missing.
    """
    settings = console.connected().aws
    from deployments.aws.check import check, examine  # boto3 is an extra

    if not as_json:
        raise typer.Exit(0 if examine(settings, photo_bucket) else 1)
    findings = check(settings, photo_bucket)
    print(json.dumps([finding.model_dump() for finding in findings]))
    raise typer.Exit(1 if any(finding.status == "missing" for finding in findings) else 0)


@app.command()
def demo(
    photos: Annotated[
        Path | None,
        typer.Option(help="A folder with four photos of these names; default: pictures that are made here."),
    ] = None,
) -> None:
    """Run six uploads of four photos through the flow and show their verdicts."""
    console.prepared()
    logs.quiet_prefect(verbose=False)
    from deployments.cli.run_flows import verdicts
    from deployments.local.demo import show

    show(photos, verdicts)
