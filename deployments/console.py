"""What all commands share: quiet Prefect defaults, and errors as sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from selfiegate.errors import SelfiegateError, WrongInput
from selfiegate.report import plain

out = Console()
err = Console(stderr=True, highlight=False)

_QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # runs are logged to the API all the same
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a first start migrates its database
}


def quiet_prefect(verbose: bool) -> None:
    """Keep Prefect's log off the terminal unless it is asked for; call before Prefect is imported."""
    for name, value in _QUIET.items():
        if verbose and "LOGGING" in name:
            continue
        os.environ.setdefault(name, value)


@contextmanager
def faults_as_sentences() -> Iterator[None]:
    """End with 2 on wrong input and 1 on any other fault, with one message and no traceback."""
    try:
        yield
    except WrongInput as error:
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
