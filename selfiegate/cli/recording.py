"""Whether Prefect records what a command does: where an API is named, commands are flow runs there."""

from __future__ import annotations

import os
import signal
import threading

from selfiegate.cli import checkout
from selfiegate.cli.console import err, shown
from selfiegate.cli.runner import Runner
from selfiegate.stuck import end_process_when_stuck

_GRACE_S = 1.5
"""For giving up the photo's lease, so that it can be processed again at once."""
_HOW = "prefect server start --background; export PREFECT_API_URL=http://127.0.0.1:4200/api"


def runner(verbose: bool, needs_prefect: bool = False) -> Runner:
    """Return what runs flows where Prefect's API is set; else what runs the same steps here, and say so on stderr.

    With `needs_prefect`, and no API, Prefect starts a server of its own for as long as the command takes.
    """
    _end_on_ctrl_c()
    end_process_when_stuck(_complain)
    if needs_prefect:
        return checkout.needed("--engine dask").runner(verbose)
    prefect = checkout.prefect()
    if prefect and prefect.api_url():
        return prefect.runner(verbose)
    if prefect:
        _say(f"no API is set. To have runs recorded: {_HOW}")
    elif "PREFECT_API_URL" in os.environ:
        _say("the wheel holds no flows. To have runs recorded, take a checkout of selfiegate or its image")
    from selfiegate.cli import run_inline

    return run_inline


def _say(why: str) -> None:
    err.print(f"[dim]Not recorded in Prefect: {why}[/]", soft_wrap=True)


def _complain(message: str) -> None:
    err.print(f"[bold red]error:[/] {shown(message)}", soft_wrap=True)


def _end_on_ctrl_c() -> None:
    """Let the first Ctrl-C end the command within two seconds, whatever its threads are at.

    A step in a thread cannot be stopped. What it leaves half done is what a killed process leaves: `reconcile` or the
    next run finishes it.
    """

    def interrupted(*_: object) -> None:
        end = threading.Timer(_GRACE_S, os._exit, [130])
        end.daemon = True
        end.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
