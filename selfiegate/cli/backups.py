"""The commands about copies of the embedded stores: backup, restore."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from selfiegate.backups.copies import back_up, opened
from selfiegate.backups.restore import Restore, Restored
from selfiegate.cli import console
from selfiegate.errors import WrongInput
from selfiegate.gallery import Gallery
from selfiegate.records import Records
from selfiegate.runtime import Runtime, assembled
from selfiegate.user_ids import user_id_of

app = typer.Typer()


@app.command()
def backup(folder: Annotated[Path, typer.Argument(help="A new or empty folder, for its owner alone.")]) -> None:
    """Copy records and gallery as of one moment, while everything runs. The copy holds faces: keep it private.

    Photos and Prefect's database are not copied; thumbnails are made anew by a restore.
    """
    made = back_up(console.connected(), folder)
    console.out.print(f"copied {', '.join(made.files)} to {console.shown(str(folder))}", soft_wrap=True)


@app.command()
def restore(
    folder: Annotated[
        Path | None, typer.Argument(help="The backup; without one the faces are made anew from the photos.")
    ] = None,
    forgotten: Annotated[
        Path | None, typer.Option(help="A file that names the users who were forgotten since the backup, one a line.")
    ] = None,
    nobody_forgotten: Annotated[
        bool, typer.Option("--nobody-forgotten", help="Nobody was forgotten since the backup.")
    ] = False,
    drop_missing: Annotated[
        int, typer.Option(min=0, help="How many profiles may go whose photos are gone: these users upload anew.")
    ] = 0,
) -> None:
    """Put back records or a gallery that are lost, older or another's; nobody may use them meanwhile.

    What is there and newer is kept. What was replaced is set aside. After an interruption, run it again.
    """
    settings = console.prepared()
    if nobody_forgotten and forgotten:
        raise WrongInput("--forgotten names users, and --nobody-forgotten says that there are none; give one of them")
    users = [] if nobody_forgotten else _users(forgotten) if forgotten else None
    if folder:
        console.out.print(f"the backup was made at {opened(folder).made_at:%F %T %Z}")

    def gallery_at(path: Path, model: str) -> Gallery:
        from selfiegate.galleries.sqlite import SqliteGallery  # needs faiss, which other commands do without

        return SqliteGallery(path, model)

    def opener(records: Records, gallery: Path) -> Runtime:
        return assembled(settings, records, partial(gallery_at, gallery))

    _show(Restore(settings, folder, opener).run(users, drop_missing))


def _users(file: Path) -> list[str]:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(f"cannot read the users in {str(file)!r}: {error}") from None
    return [user_id_of(line.strip()) for line in lines if line.strip()]


def _show(done: Restored) -> None:
    if done.sources:
        gallery = done.sources.gallery or "the photos"
        console.out.print(f"records from {console.shown(str(done.sources.records))}", soft_wrap=True)
        console.out.print(f"gallery from {console.shown(str(gallery))}", soft_wrap=True)
    mended = done.mended
    console.out.print(
        f"[bold]restored[/]: {mended.faces} faces, of which {mended.rebuilt} were made anew from their photos; "
        f"{mended.removed} faces removed that no profile names; thumbnails made for {mended.thumbnails} photos",
        soft_wrap=True,
    )
    for user_id in mended.dropped:
        console.out.print(f"  without a face, to upload anew: {console.shown(user_id)}", soft_wrap=True)
    if done.set_aside:
        aside = console.shown(str(done.set_aside))
        console.out.print(f"what was replaced lies in {aside}: remove it once all is well", soft_wrap=True)
    console.out.print(
        "next: `selfiegate reconcile --audit`, then `selfiegate backfill SOURCE` for photos since the backup"
    )
