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
from selfiegate.enrolment.likeness import code_of
from selfiegate.enrolment.protocol import judge_photo
from selfiegate.enrolment.search import SearchResult, search_photo
from selfiegate.errors import PhotoRejected, WrongInput
from selfiegate.explain import annotate, turn_of
from selfiegate.explain import as_json as as_json_of
from selfiegate.model import PhotoRef, ReasonCode
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
    searched = None
    if judgement.face and not judgement.reasons:
        searched = search_photo(rt, reference, user_id, judgement.face.quality)
    if searched:
        judgement = replace(judgement, reasons=searched.reasons)
    _save(annotate(_picture(rt, reference), detection, judgement), target)
    if as_json:
        found = {"photo": reference.uri, "picture": str(target), "gallery": _as_json(rt, searched)}
        print(json.dumps({**found, **as_json_of(detection, judgement)}))
    else:
        if turn := turn_of(detection):
            console.out.print(f"stored rotated: judged as it is when turned {turn} degrees clockwise", soft_wrap=True)
        _show(rt, judgement, searched, target)


def _as_json(rt: Runtime, searched: SearchResult | None) -> dict[str, Any] | None:
    """Return what the gallery knows of the face; None where the photo is not usable, so nobody looked."""
    if searched is None:
        return None
    match = searched.match
    code = match and code_of(rt, match)
    return {
        "enrolled_by_another_user": code is ReasonCode.FACE_ALREADY_ENROLLED,
        "unclear_match": code is ReasonCode.UNCLEAR_MATCH,
        "matched_user_id": match and match.user_id,
        "score": match and match.score,
        "own_score": searched.own_score,
        "match_threshold": rt.faces.thresholds.match,
        "unclear_threshold": rt.faces.thresholds.unclear,
        "clear_quality": rt.settings.matching.clear_quality,
    }


def _show(rt: Runtime, judgement: Judgement, searched: SearchResult | None, target: Path) -> None:
    verdict = "refused" if judgement.reasons else "usable"
    console.out.print(f"[bold]{verdict}[/]: see {console.shown(str(target))}", soft_wrap=True)
    for reason in judgement.reasons:
        console.out.print(f"  {reason.code}: {reason.message}", soft_wrap=True)
    if searched is None:
        console.out.print("  the face was not looked up: the photo is not usable")
    elif searched.match is None:
        console.out.print("  already enrolled by another user: no")
    else:
        similar = f"similarity {searched.match.score:.3f} to {console.shown(searched.match.user_id)}"
        unclear = code_of(rt, searched.match) is ReasonCode.UNCLEAR_MATCH
        found = "too unclear to be told from another user's face" if unclear else "already enrolled by another user"
        console.out.print(f"  {found}: {similar}")


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
