"""The command that takes an installation from one database to another."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from selfiegate.audit import Orphan, orphans
from selfiegate.cli import console
from selfiegate.errors import WrongInput
from selfiegate.moving.move import Move, Moved, undo
from selfiegate.moving.places import Place, place_of, require_supported, source_of
from selfiegate.runtime import assembled, open_thumbnails
from selfiegate.setting_types import Database
from selfiegate.settings import Settings

app = typer.Typer()

_ELSEWHERE = {
    "postgres": "SELFIEGATE_DATABASE to its address, and unset SELFIEGATE_RECORDS",
    "sqlite": "SELFIEGATE_DATABASE and SELFIEGATE_RECORDS back: unset both",
    "dynamodb": "SELFIEGATE_RECORDS=dynamodb, and unset SELFIEGATE_DATABASE",
}


@app.command()
def move(
    to: Annotated[
        str | None, typer.Option(help="postgresql://USER@HOST/DATABASE, or sqlite or dynamodb from there.")
    ] = None,
    leave_behind: Annotated[
        int, typer.Option(min=0, help="How many rows may stay in the source that the target cannot hold.")
    ] = 0,
    take_back: Annotated[
        bool,
        typer.Option("--undo", help="Use what lies here again. Only if nothing uses the target any more."),
    ] = False,
) -> None:
    """Move records, and InsightFace's faces with them, from where the settings lead to another database.

    Stop workers, bridge and commands before. After an interruption, run it again. The source is kept and not used any
    more; it holds faces until it is deleted. Faces in a collection of Rekognition, photos and thumbnails stay.
    """
    settings = console.prepared()
    if (to is None) != take_back:
        raise WrongInput("say where to by --to, or --undo a move")
    if to is None:
        place = undo(source_of(settings))
        console.out.print(f"what lies here is used again; let nothing use {console.shown(place)}", soft_wrap=True)
        return
    there = settings_at(settings, to)
    require_supported(settings, there)
    open_thumbnails(there)  # which stay where they are: what would not find them there is refused now
    with console.progress(shown=True, what="rows") as watch:
        moved = Move(source_of(settings), place_of(there), _audited, watch).run(leave_behind)
    _show(moved, there)


def settings_at(settings: Settings, to: str) -> Settings:
    """Return the settings of an installation that works where it moves to."""
    if to in ("sqlite", "dynamodb"):
        return settings.model_copy(update={"database": None, "records": to, "gallery": "sqlite"})
    try:
        database = TypeAdapter(Database).validate_python(to)
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise WrongInput(f"--to: {why}; or sqlite, or dynamodb") from None
    return settings.model_copy(update={"database": database, "records": "postgres", "gallery": "postgres"})


def _audited(place: Place) -> set[Orphan]:
    return set(orphans(assembled(place.settings, place.records, place.open_gallery)))


def _show(moved: Moved, there: Settings) -> None:
    counted = ", ".join(f"{count} {kind}" for kind, count in moved.counts.items())
    known = f"; the audit finds {moved.known} things, as before" if moved.known else ""
    console.out.print(f"[bold]moved[/]: {counted}, compared with the source{known}", soft_wrap=True)
    for one in moved.left:
        console.out.print(f"  stays behind: {console.shown(str(one))}", soft_wrap=True)
    console.out.print(
        f"next: set {_ELSEWHERE[there.records]}; start workers and bridge; delete the source once all is well: nobody "
        "is forgotten there any more",
        soft_wrap=True,
    )
