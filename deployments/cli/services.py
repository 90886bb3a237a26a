"""The commands that run until they are stopped: worker, bridge, up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from deployments import logs
from selfiegate.backends.insightface.pack import falls_back
from selfiegate.cli import console
from selfiegate.errors import BackendMisconfigured
from selfiegate.settings import load_settings

app = typer.Typer()


@app.command()
def worker(
    pool: Annotated[
        str, typer.Option(help="The work pool to take runs from; made where it is not there.")
    ] = "selfiegate",
    name: Annotated[str | None, typer.Option(help="What the UI calls this worker; default: a random name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=256, help="Runs at once.")] = 8,
    patience: Annotated[float, typer.Option(min=0, help="Seconds that runs get to end after SIGTERM.")] = 30.0,
    health: Annotated[bool, typer.Option(help="Answer on PREFECT_WORKER_WEBSERVER_PORT (8080) at /health.")] = True,
    verbose: console.Verbose = False,
) -> None:
    """Take flow runs from a Prefect work pool and run them in this process, models loaded once, until SIGTERM."""
    os.environ.setdefault("PREFECT_WORKER_WEBSERVER_HOST", "127.0.0.1")  # Prefect's own default is all of the network
    settings = load_settings()
    if settings.backend == "insightface" and falls_back(settings.insightface):
        raise BackendMisconfigured(
            "a worker takes no small pack by itself: set SELFIEGATE_INSIGHTFACE__PACK to buffalo_l, which is "
            "downloaded on first use, to another pack, or to selfiegate_tiny for a try"
        )
    console.prepared()
    logs.quiet_prefect(verbose)
    from deployments.worker import serve

    logs.log_to_stderr()
    serve(pool, name, limit, patience, health)


@app.command()
def up(
    folder: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(".up"),
    database: Annotated[
        str | None,
        typer.Option(
            help="`postgresql`: faces and records in a PostgreSQL that is started, too, for three workers with a home "
            "each. Or the address of one that runs, which keeps them."
        ),
    ] = None,
) -> None:
    """Run everything on this machine until Ctrl-C: Prefect, worker, bridge, and a stand-in for AWS (moto)."""
    load_settings()
    from deployments.local.up import up  # boto3 is an extra

    logs.log_to_stderr()
    up(folder, database)


@app.command()
def bridge(verbose: console.Verbose = False) -> None:
    """Hand photo events to Prefect, until it is stopped: from SQS (SELFIEGATE_AWS__QUEUE_URL), else from PostgreSQL.

    With SELFIEGATE_BRIDGE__TOKEN it takes events at POST /events, too.
    SIGTERM or Ctrl-C: what no run has claimed goes back to the queue. A second one ends it at once.
    """
    settings = console.connected()
    logs.quiet_prefect(verbose)
    from deployments.bridge.serve import serve

    serve(settings)
