"""A handful of photos through the flow: the workshop's four where they are at hand, else what can be drawn."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.table import Table

from deployments.local.demo_photos import WORKSHOP, draw
from selfiegate.cli.console import out, shown
from selfiegate.errors import WrongInput
from selfiegate.model import PhotoRef, Verdict
from selfiegate.runtime import runtime


def show(folder: Path | None, verdicts: Callable[[Iterable[tuple[PhotoRef, str]]], list[Verdict]]) -> None:
    """Process the photos as user_a to user_d, the first again as user_e and again as user_a."""
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            draw(Path(scratch))
        files = _workshop(folder or Path(scratch))
        uploads = [
            (file, f"user_{letter}") for file, letter in zip([*files, files[0], files[0]], "abcdea", strict=True)
        ]
        found = verdicts([(runtime().photos.find(str(file)), user_id) for file, user_id in uploads])
    table = Table("photo", "user", "verdict", "why", box=None, header_style="bold")
    for verdict in found:
        colour = "green" if verdict.status == "accepted" else "red"
        why = "\n".join(f"{reason.code}: {reason.message}" for reason in verdict.reasons)
        if verdict.matched_user_id:
            why += f"\n(similarity {verdict.score:.2f} to {verdict.matched_user_id})"
        table.add_row(shown(verdict.photo.key), verdict.user_id, f"[{colour}]{verdict.status}[/]", why)
    out.print(table)
    out.print(f"\nThumbnails: {runtime().settings.folder / 'thumbnails'}", soft_wrap=True)
    home = os.environ.get("PREFECT_HOME")
    prefix = f"PREFECT_HOME={home} " if home else ""
    out.print(
        f"These runs in Prefect's UI: {prefix}.venv/bin/prefect server start   # then http://127.0.0.1:4200",
        soft_wrap=True,
    )


def _workshop(folder: Path) -> list[Path]:
    files = [folder / name for name in WORKSHOP]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise WrongInput(f"{folder} does not hold {', '.join(missing)}")
    return files
