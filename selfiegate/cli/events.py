"""The commands about the queue of photo events in PostgreSQL; SQS has its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from selfiegate.cli import console
from selfiegate.databases import open_postgres_queue
from selfiegate.errors import WrongInput

app = typer.Typer(no_args_is_help=True, help="Look at the queue of photo events in PostgreSQL.")


@app.command()
def stats(as_json: console.AsJson = False) -> None:
    """Count the events that wait, that a bridge keeps, and that are dead."""
    found = open_postgres_queue(console.connected()).stats()
    if as_json:
        print(json.dumps(found._asdict()))
    else:
        console.out.print(
            f"{found.waiting} wait, a bridge keeps {found.kept}, {found.dead} are dead; "
            f"the oldest came {found.oldest_s:.0f} s ago",
            soft_wrap=True,
        )


@app.command()
def dead(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most, the latest first.")] = 100,
    as_json: console.AsJson = False,
) -> None:
    """List the dead events, each with its number and its reason."""
    found = open_postgres_queue(console.connected()).dead(limit)
    if as_json:
        print(json.dumps([one._asdict() for one in found]))
        return
    for one in found:
        died = datetime.fromtimestamp(one.died_at, UTC).isoformat(timespec="seconds")
        console.out.print(f"[bold]{one.id}[/]  {died}  {console.shown(one.reason)}", soft_wrap=True)
        console.out.print(f"    {console.shown(one.body[:500])}", soft_wrap=True)


@app.command()
def redrive(
    number: Annotated[int | None, typer.Argument(min=1, help="The event's number, from `events dead`.")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All dead events.")] = False,
) -> None:
    """Let a bridge take dead events again, as if they were new."""
    if (number is None) != all_of_them:
        raise WrongInput("name one event by its number, or say --all; `selfiegate events dead` lists them")
    count = open_postgres_queue(console.connected()).redrive(number)
    if number is not None and not count:
        raise WrongInput(f"no dead event has the number {number}; `selfiegate events dead` lists them")
    console.out.print(f"events that a bridge may take again: {count}")
