"""The `selfiegate` command, as the wheel holds it: all that needs no flows."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from selfiegate import __version__, report
from selfiegate.backups.rebuilding import rebuild_collection
from selfiegate.cli import (
    backups,
    checkout,
    console,
    database,
    doctor,
    events,
    explain,
    move,
    runs,
    show_settings,
    status,
    users,
)
from selfiegate.cli.recording import runner
from selfiegate.model import Verdict
from selfiegate.ports import Creatable
from selfiegate.runtime import open_detector, open_photos, runtime
from selfiegate.user_ids import user_id_of

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Let one clear face per account through. Try `demo` first, then `process` with a photo of your own.",
    epilog="Exit status: 0 done, 1 a fault or a check that failed, 2 wrong usage or a wrong setting.",
)
gallery = typer.Typer(no_args_is_help=True, help="Look at the enrolled faces.")
app.add_typer(runs.app)
app.add_typer(users.app)
app.add_typer(status.app)
app.add_typer(explain.app)
app.add_typer(show_settings.app)
app.add_typer(doctor.app)
app.add_typer(backups.app)
app.add_typer(move.app)
app.add_typer(gallery, name="gallery")
app.add_typer(database.app, name="database")
app.add_typer(events.app, name="events")


def _print_version(asked: bool) -> None:
    if asked:
        print(f"selfiegate {__version__}")
        raise typer.Exit


@app.callback()
def version(
    asked: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Take what goes before a command; `_print_version` has done it by now."""


@app.command()
def process(
    photo: Annotated[str, typer.Argument(help="A path, or s3://bucket/key.")],
    user: Annotated[str, typer.Option(help="The user whose photo it is.")],
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,
) -> None:
    """Check a photo and enrol its face as the user's: accepted, or every reason why not.

    Exit 0: a verdict was reached, a refusal included.
    """
    settings = console.prepared()
    user_id, reference = user_id_of(user, settings.backend), open_photos(settings).find(photo)
    (verdict,) = runner(verbose).verdicts([(reference, user_id)])
    if as_json:
        print(json.dumps(report.as_json(verdict)))
    else:
        _show(verdict)


@gallery.command()
def stats(as_json: console.AsJson = False) -> None:
    """Count the enrolled faces and their users, and name the model that enrolled them."""
    console.connected()
    found = runtime().faces.stats()
    if as_json:
        print(found.model_dump_json())
    else:
        console.out.print(f"{console.counted(found)}, model {found.model}")


@gallery.command()
def create() -> None:
    """Create Rekognition's collection, if it is missing; the embedded gallery creates itself."""
    settings = console.connected()
    is_remote = settings.backend == "rekognition"  # then not held to records, which may rely on a lost collection
    faces = open_detector(settings, open_photos(settings)) if is_remote else runtime().faces
    if isinstance(faces, Creatable):
        faces.create()
    console.out.print(f"the gallery is there, model {faces.model}")


@gallery.command()
def rebuild(
    drop_missing: Annotated[
        int,
        typer.Option(min=0, help="How many users may lose their profile, as its photo is gone: they upload anew."),
    ] = 0,
) -> None:
    """Enrol everybody with a profile again, from their photos, where Rekognition's collection was lost.

    Creates the collection if it is missing. Nothing else works until it ends. After an interruption, run it again.
    """
    done = rebuild_collection(console.prepared(), drop_missing)
    console.out.print(f"[bold]rebuilt[/]: {done.enrolled} faces enrolled again", soft_wrap=True)
    for user_id in done.dropped:
        console.out.print(f"  without a face, to upload anew: {console.shown(user_id)}", soft_wrap=True)
    console.out.print("next: `selfiegate reconcile --audit`")


@app.command()
def profile(user: Annotated[str, typer.Argument(help="Whose profile.")], as_json: console.AsJson = False) -> None:
    """Show a user's profile: the enrolled photo, its face id and thumbnails."""
    console.connected()
    found = runtime().profiles.get(user_id_of(user))
    if found is None:
        console.fail(f"there is no profile of {user!r}", 1)
    elif as_json:
        print(json.dumps(found.model_dump(mode="json", exclude={"remains", "revision"})))
    else:  # in ASCII: terminals obey some characters beyond it
        console.out.print_json(found.model_dump_json(exclude={"remains", "revision"}), ensure_ascii=True)


def _show(verdict: Verdict) -> None:
    colour = {"accepted": "green", "rejected": "red"}.get(verdict.status, "yellow")
    console.out.print(
        f"[bold {colour}]{verdict.status}[/]  {console.shown(verdict.photo.uri)}  as {console.shown(verdict.user_id)}"
    )
    for reason in verdict.reasons:
        console.out.print(f"  {reason.code}: {reason.message}", soft_wrap=True)
    if verdict.matched_user_id:
        console.out.print(f"  similarity {verdict.score:.3f} to {console.shown(verdict.matched_user_id)}")
    for size, place in verdict.thumbnails.items():
        console.out.print(f"  thumbnail {size}: {console.shown(place)}", soft_wrap=True)


def main() -> None:
    """Run the command line; in the wheel, commands that only a checkout has say where they are to be had."""
    if checkout.prefect() is None:
        checkout.stand_in(app)
    with console.faults_as_sentences():
        app()
