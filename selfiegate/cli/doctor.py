"""Looks at everything that a run needs and says what to do where something is missing."""

from __future__ import annotations

from collections.abc import Callable

import typer
from rich.table import Table

from selfiegate.backends.insightface.pack import DEFAULT, TINY, falls_back
from selfiegate.cli import checkout
from selfiegate.cli.console import counted, out, shown
from selfiegate.matching import NOBODY_DECIDES
from selfiegate.runtime import runtime
from selfiegate.settings import load_settings

app = typer.Typer()

_MANY = 1000
"""Rows that are counted, at most."""


@app.command()
def doctor() -> None:
    """Check settings, models, stores and the Prefect API, and say how to mend what is wrong.

    Exit 1: something is wrong.
    """
    load_settings()  # a wrong one ends it with 2: nothing else can be looked at
    checks = {"settings": _settings, "weights": _weights, "device": _device, "stores": _stores, "review": _review}
    if prefect := checkout.prefect():
        checks["Prefect API"] = prefect.check_api
    table = Table(box=None, show_header=False, padding=(0, 1))
    said = set[str]()
    results = [_checked(table, name, check, said) for name, check in checks.items()]
    out.print(table)
    raise typer.Exit(0 if all(results) else 1)


def _checked(table: Table, name: str, check: Callable[[], str], said: set[str]) -> bool:
    try:
        found = check()
    except Exception as error:  # whatever is wrong, the other checks go on
        table.add_row("[red]✗[/]", name, "as above" if str(error) in said else shown(str(error)))
        said.add(str(error))
        return False
    table.add_row("[green]✓[/]", name, shown(found))
    return True


def _settings() -> str:
    settings = load_settings()
    faces = f", faces in {settings.gallery}" if settings.backend == "insightface" else ""
    return f"backend {settings.backend}{faces}, records in {settings.records}, home {settings.folder}"


def _weights() -> str:
    settings, model = load_settings(), runtime().faces.model
    if settings.backend != "insightface":
        return model
    pack = settings.insightface
    if falls_back(pack):
        return f"{TINY}, for no pack is set: {model} loaded; it is small, not for production, see `selfiegate settings`"
    return f"{pack.pack or DEFAULT}: {model} loaded"


def _device() -> str:
    return runtime().faces.try_out()


def _review() -> str:
    waiting = runtime().ledger.to_review()
    if load_settings().matching.review_threshold is None:
        return f"no photo is left to a person; {waiting} still wait" if waiting else "no photo is left to a person"
    return f"{waiting} photos wait: {NOBODY_DECIDES}"


def _stores() -> str:
    rt = runtime()
    faces, waiting = rt.faces.stats(), len(rt.ledger.unfinished(before=2**62, limit=_MANY))
    rt.profiles.get("doctor")
    more = " or more" if waiting == _MANY else ""
    return f"{counted(faces)}; {waiting}{more} photos not finished"
