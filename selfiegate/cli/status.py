"""The command that tells what became of a user's photos."""

from __future__ import annotations

from typing import Annotated

import typer

from selfiegate.cli import console
from selfiegate.clock import utc
from selfiegate.photo_status import PhotoStatus, erasure_in_words, in_words, status_of
from selfiegate.runtime import runtime
from selfiegate.user_ids import user_id_of

app = typer.Typer()


@app.command()
def status(
    user: Annotated[str, typer.Argument(help="Whose photos.")],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Photos to show, at most.")] = 50,
    as_json: console.AsJson = False,
) -> None:
    """Show what became of a user's photos, the newest first: verdict, reasons, notice, run.

    Exit 1: nothing is known of the user.
    """
    console.connected()
    found = status_of(runtime(), user_id_of(user), limit)
    if not found.is_known:
        console.fail(f"nothing is known of {user!r}: no photo, no profile, no erasure", 1)
    if as_json:
        print(found.model_dump_json())
        return
    if found.erasure:
        console.out.print(console.shown(erasure_in_words(found.erasure)), soft_wrap=True)
    for one in found.photos:
        _show(one)
    if found.more:
        console.out.print(f"{found.more} older photos are not shown; --limit {limit + found.more} shows them")
    if not found.photos:
        console.out.print("no photo of the user is in the ledger" + (", but a profile is" if found.has_profile else ""))


def _show(one: PhotoStatus) -> None:
    console.out.print(f"{utc(one.uploaded_at)}  [bold]{console.shown(one.photo)}[/]", soft_wrap=True)
    console.out.print(f"  {console.shown(in_words(one))}", soft_wrap=True)
    for reason in one.reasons:
        console.out.print(f"  {console.shown(f'{reason.code}: {reason.message}')}", soft_wrap=True)
    told = f", user {one.notice}" if one.notice else ""
    console.out.print(f"  [dim]run {console.shown(one.run)}{told}[/]", soft_wrap=True)
