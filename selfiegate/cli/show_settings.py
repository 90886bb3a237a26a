"""The command that lists the settings."""

from __future__ import annotations

import json

import typer

from selfiegate.cli import console
from selfiegate.settings import load_settings
from selfiegate.settings_table import as_set, rows

app = typer.Typer()


@app.command()
def settings(as_json: console.AsJson = False) -> None:
    """List every setting: its value, where that comes from, what it is for, what is allowed, and the default."""
    found = rows(load_settings())
    if as_json:
        print(json.dumps([row.as_json() for row in found]))
        return
    for row in found:
        origin = row.source if row.source == "default" else f"{row.source}; default: {as_set(row.default) or 'not set'}"
        allowed = f"{row.type}, {row.allowed}" if row.allowed else row.type
        value = console.shown(as_set(row.value))
        console.out.print(f"[bold]{row.name}[/]={value}  [dim]({console.shown(origin)})[/]", soft_wrap=True)
        console.out.print(f"    {console.shown(f'{row.description} ({allowed})')}", soft_wrap=True)
