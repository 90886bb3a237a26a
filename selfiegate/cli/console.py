"""What all commands share: options, settings, and errors as sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from selfiegate.backfill.outcomes import Status
from selfiegate.cli import checkout
from selfiegate.errors import BackendMisconfigured, SelfiegateError, WrongInput, WrongSetting
from selfiegate.extras import named_when_missing
from selfiegate.ports import GalleryStats
from selfiegate.settings import Settings, load_settings
from selfiegate.untrusted_text import plain

out = Console()
err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Prefect's log on stderr.")]


def connected() -> Settings:
    """Return the settings; where they name Prefect blocks, let the runtime be built with them."""
    settings = load_settings()
    aws = settings.aws
    if aws.credentials_block or aws.s3_block or aws.rate_limits or settings.notification_block:
        asked_by = (
            "SELFIEGATE_AWS__CREDENTIALS_BLOCK, SELFIEGATE_AWS__S3_BLOCK, SELFIEGATE_AWS__RATE_LIMITS, "
            "SELFIEGATE_NOTIFICATION_BLOCK"
        )
        checkout.needed(f"what Prefect keeps ({asked_by})").connect(settings)
    return settings


def prepared() -> Settings:
    """Do as `connected`, and see that home and model pack are there: before a server starts, or a model is loaded."""
    settings = connected()
    embedded = settings.backend == "insightface" or settings.records == "sqlite"
    there = next(path for path in (settings.folder, *settings.folder.absolute().parents) if path.exists())
    if embedded and not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise BackendMisconfigured(
            f"cannot write {settings.folder}: {there} is no folder that can be written; "
            "set SELFIEGATE_HOME to a folder that can be written"
        )
    if settings.backend == "insightface":
        from selfiegate.backends.insightface.pack import pack_folder

        pack_folder(settings.insightface)
    return settings


@contextmanager
def progress(shown: bool, what: str = "photos") -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr; gives what is to be told how many of how many are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not shown) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def counts(found: dict[str, Any]) -> str:
    """Return a backfill's counts as lines for people."""
    lines = [f"{found['photos']} photos in {found['seconds']} s, {found['photos_per_second']} a second"]
    lines += [f"  {found[name]:7} {name}" for name in get_args(Status) if found[name]]
    lines += [f"    {count:7} {code}" for code, count in found["reasons"].items()]
    return "\n".join(lines)


@contextmanager
def faults_as_sentences() -> Iterator[None]:
    """End with 2 on wrong input or settings and 1 on any other fault, with one message and no traceback."""
    try:
        with named_when_missing():
            yield
    except (WrongInput, WrongSetting) as error:
        fail(str(error), 2)
    except SelfiegateError as error:
        fail(str(error), 1)


def shown(text: str) -> str:
    """Return text that the terminal shows as it is: names come from strangers."""
    return escape("\n".join(map(plain, text.splitlines())))


def fail(message: str, code: int) -> None:
    """Print an error and end the process."""
    err.print(f"[bold red]error:[/] {shown(message)}", soft_wrap=True)
    sys.exit(code)


def counted(stats: GalleryStats) -> str:
    """Say how many faces are enrolled, and of how many users where that is known."""
    return f"{stats.faces} faces" if stats.users is None else f"{stats.faces} faces of {stats.users} users"
