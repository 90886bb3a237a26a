"""Steps that tell what became of one user's photos."""

from __future__ import annotations

from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact
from prefect.utilities.urls import url_for

from selfiegate import report
from selfiegate.clock import utc
from selfiegate.photo_status import PhotoStatus, UserStatus, erasure_in_words, in_words, status_of
from tasks.artifacts import attached
from tasks.steps import task_of

look_at_photos = task_of(status_of, "look at the photos of {user_id}")


async def show_status(found: UserStatus) -> None:
    """Attach the table to the run."""
    await attached(acreate_markdown_artifact(markdown(found), description=f"{len(found.photos)} photos"))


def markdown(found: UserStatus) -> str:
    """Return the table as a page; a run of Prefect's is a link where the address of its UI is known."""
    lines = [f"# Photos of {report.code(found.user_id)}"]
    if found.erasure:
        lines.append(_cell(erasure_in_words(found.erasure)))
    if not found.is_known:
        lines.append("Nothing is known of this user: no photo, no profile, no erasure.")
    if found.photos:
        head = ["| uploaded | photo | state | reasons | user | run |", "|---|---|---|---|---|---|"]
        lines.append("\n".join([*head, *map(_row, found.photos)]))
    if found.more:
        lines.append(f"{found.more} older photos are not shown.")
    return "\n\n".join(lines)


def _row(one: PhotoStatus) -> str:
    reasons = "; ".join(f"`{reason.code}` {reason.message}" for reason in one.reasons)
    cells = [utc(one.uploaded_at), report.code(one.photo), in_words(one), reasons, one.notice, _run(one.run)]
    return f"| {' | '.join(map(_cell, cells))} |"


def _run(run: str) -> str:
    try:
        link = url_for("flow-run", UUID(run))
    except ValueError:  # a command's
        link = None
    return f"[{run}]({link})" if link else report.code(run)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
