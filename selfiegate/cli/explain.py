"""The command that shows what would become of a photo."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from selfiegate.cli import console
from selfiegate.decoding.process_pool import decode
from selfiegate.enrolment.protocol import SearchResult, judge_photo, search_photo
from selfiegate.errors import PhotoRejected, WrongInput
from selfiegate.explain import annotate
from selfiegate.explain import as_json as as_json_of
from selfiegate.model import PhotoRef
from selfiegate.policy import Judgement
from selfiegate.private_files import create_file
from selfiegate.runtime import Runtime, open_photos, runtime
from selfiegate.user_ids import user_id_of

app = typer.Typer()


@app.command()
def explain(
    photo: Annotated[str, typer.Argument(help="A path, or s3://bucket/key.")],
    user: Annotated[str | None, typer.Option(help="Whose photo it is; default: a new user's.")] = None,
    out: Annotated[Path | None, typer.Option(help="The PNG to write; default: PHOTO.explained.png here.")] = None,
    as_json: console.AsJson = False,
) -> None:
    """Show why a photo is usable or not, and whether its face is enrolled already. Enrols nothing.

    Writes a picture with every value against its limit. The picture shows the face: keep it private.
    """
    user_id = user_id_of(user) if user is not None else str(uuid.uuid4())
    settings = console.prepared()
    reference, target = open_photos(settings).find(photo), out or Path(f"{Path(photo).stem}.explained.png")
    rt = runtime()
    detection, judgement = rt.faces.detect(reference), judge_photo(rt, reference)
    searched = None if judgement.reasons else search_photo(rt, reference, user_id)
    if searched:
        judgement = replace(judgement, reasons=searched.reasons)
    _save(annotate(_picture(rt, reference), detection, judgement), target)
    if as_json:
        found = {"photo": reference.uri, "picture": str(target), "gallery": _as_json(rt, searched)}
        print(json.dumps({**found, **as_json_of(detection, judgement)}))
    else:
        _show(judgement, searched, target)


def _as_json(rt: Runtime, searched: SearchResult | None) -> dict[str, Any] | None:
    """Return what the gallery knows of the face; None where the photo is not usable, so nobody looked."""
    if searched is None:
        return None
    match = searched.match
    return {
        "enrolled_by_another_user": match is not None,
        "matched_user_id": match and match.user_id,
        "score": match and match.score,
        "own_score": searched.own_score,
        "match_threshold": rt.faces.match_threshold,
    }


def _show(judgement: Judgement, searched: SearchResult | None, target: Path) -> None:
    verdict = "refused" if judgement.reasons else "usable"
    console.out.print(f"[bold]{verdict}[/]: see {console.shown(str(target))}", soft_wrap=True)
    for reason in judgement.reasons:
        console.out.print(f"  {reason.code}: {reason.message}", soft_wrap=True)
    if searched is None:
        console.out.print("  the face was not looked up: the photo is not usable")
    elif searched.match is None:
        console.out.print("  already enrolled by another user: no")
    else:
        whose = console.shown(searched.match.user_id)
        console.out.print(f"  already enrolled by another user: similarity {searched.match.score:.3f} to {whose}")


def _picture(rt: Runtime, photo: PhotoRef) -> Image.Image | None:
    limits = rt.settings.photos
    try:
        return decode(rt.photos.read(photo), limits, limits.working_side)[0]
    except PhotoRejected:
        return None


def _save(picture: Image.Image, target: Path) -> None:
    try:
        with create_file(target) as file:
            picture.save(file, "PNG")
    except OSError as error:
        raise WrongInput(f"cannot write {str(target)!r}: {error.strerror}") from None
