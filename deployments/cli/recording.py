"""Whether Prefect records what a command does: where an API is named, commands are flow runs there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, Unpack

from deployments.console import err, quiet_prefect
from selfiegate.model import PhotoRef, Verdict
from selfiegate.records import Erasure

_GRACE_S = 1.5
"""For giving up the photo's lease, so that it can be processed again at once."""
_HOW = "prefect server start --background; export PREFECT_API_URL=http://127.0.0.1:4200/api"


def api_url() -> str | None:
    """Return the address of Prefect's API, or None where none is set.

    Prefect takes a second to import, so it is asked only where one of its files may name an address.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    if not any(_mentions(file, word) for file, word in _files()):
        return None
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


class BackfillAsked(TypedDict):
    """The parameters of a backfill; `flows.backfill` says what each means."""

    source: str
    key_template: str | None
    order: Literal["key", "modified"]
    dry_run: bool
    notify: bool
    engine: Literal["threads", "dask"]
    dask: str | None
    workers: int | None
    tolerate: float
    report: str | None
    html: str | None


class Runner(Protocol):
    """Runs what a command asks for, and returns what came of it; raises a `SelfiegateError` on a fault."""

    def verdicts(self, photos: Iterable[tuple[PhotoRef, str]]) -> list[Verdict]:
        """Take each photo of each user to its verdict."""

    def forgotten(self, user_id: str, photos: bool) -> Erasure:
        """Forget a user, and return the receipt."""

    def reconciled(self, *, limit: int, audit: bool, repair: bool) -> dict[str, int]:
        """Finish what died, and return how many findings of each kind there were."""

    def backfilled(
        self, watch: Callable[[int, int], None], **asked: Unpack[BackfillAsked]
    ) -> tuple[dict[str, Any], bool]:
        """Run a backfill; return its counts, and whether no more photos failed than are tolerated."""


def runner(verbose: bool, needs_prefect: bool = False) -> Runner:
    """Return what runs flows where Prefect's API is set; else what runs the same steps here, and say so on stderr.

    With `needs_prefect`, and no API, Prefect starts a server of its own for as long as the command takes.
    """
    _end_on_ctrl_c()
    if needs_prefect or api_url():
        quiet_prefect(verbose)
        from deployments.cli import run_flows  # Prefect takes a second to import

        return run_flows
    err.print(f"[dim]Not recorded in Prefect: no API is set. To have runs recorded: {_HOW}[/]", soft_wrap=True)
    from deployments.cli import run_inline

    return run_inline


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


def _files() -> list[tuple[Path, str]]:
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    here = [(Path("prefect.toml"), "url"), (Path("pyproject.toml"), "[tool.prefect"), (Path(".env"), "PREFECT_")]
    return [(profiles, "PREFECT_"), *here]


def _mentions(file: Path, word: str) -> bool:
    try:
        return word in file.read_text(errors="replace")
    except OSError:
        return False
