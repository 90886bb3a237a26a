"""The commands about one user: forget, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from selfiegate.cli import console
from selfiegate.cli.recording import runner
from selfiegate.errors import WrongInput
from selfiegate.privacy.export import export_user
from selfiegate.private_files import create_file
from selfiegate.runtime import runtime
from selfiegate.user_ids import user_id_of

app = typer.Typer()


@app.command()
def forget(
    user: Annotated[str, typer.Argument(help="The user who is to be forgotten.")],
    photos: Annotated[
        bool,
        typer.Option(
            "--photos",
            help="Remove the original photos, too, all versions. Later it is too late: nothing names them any more.",
        ),
    ] = False,
    keep_originals: Annotated[
        bool,
        typer.Option(
            "--keep-originals",
            help="Let an unfinished erasure end without the original photos, where these cannot be removed.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,
) -> None:
    """Remove all that is held of a user: faces, thumbnails, profile, ledger rows.

    Waits for runs of the user's photos, and leaves a receipt.
    """
    user_id = user_id_of(user)
    if photos and keep_originals:
        raise WrongInput("--photos and --keep-originals exclude each other: give one of them")
    console.prepared()
    if not yes:
        originals = "with the original photos" if photos else "but not the original photos"
        typer.confirm(f"Remove all that is held of {console.shown(user_id)}, {originals}?", abort=True, err=True)
    receipt = runner(verbose).forgotten(user_id, photos, keep_originals)
    if as_json:
        print(receipt.model_dump_json())
        return
    console.out.print(f"[bold]forgotten[/]: {console.shown(user_id)}, by the run {receipt.run}", soft_wrap=True)
    for kind, count in receipt.removed.items():
        console.out.print(f"  {count} {kind}")
    if not receipt.removed:
        console.out.print("  nothing was held")
    if receipt.kept_originals:
        console.out.print(f"  {receipt.kept_originals} original photos were to be removed, and are left")


@app.command()
def export(
    user: Annotated[str, typer.Argument(help="Whose data it is.")],
    out: Annotated[Path | None, typer.Option(help="The file to write, for its owner alone; default: stdout.")] = None,
) -> None:
    """Print all that is held of a user as JSON: profile, embeddings, thumbnails, verdicts.

    The thumbnails show the face: keep the output private.
    """
    user_id = user_id_of(user)
    console.connected()
    text = json.dumps(export_user(runtime(), user_id), indent=2)
    if out is None:
        print(text)
        return
    try:
        with create_file(out) as file:
            file.write(text.encode())
    except OSError as error:
        raise WrongInput(f"cannot write {str(out)!r}: {error.strerror}") from None
    console.out.print(f"wrote {console.shown(str(out))}", soft_wrap=True)
