"""The commands about the tables that records and gallery lie in."""

from __future__ import annotations

import typer

from selfiegate import databases
from selfiegate.cli import console

app = typer.Typer(no_args_is_help=True, help="Look after the database.")


@app.command()
def upgrade() -> None:
    """Bring the tables to what this version knows, as the first process that starts does where its role may.

    Safe to repeat, and while other processes work.
    """
    settings = console.connected()
    databases.upgrade(settings)
    console.out.print(f"the tables in {settings.records} are as this version needs them")
