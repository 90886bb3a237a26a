"""What people see of a verdict."""

from __future__ import annotations

from prefect.artifacts import acreate_markdown_artifact

from selfiegate import report
from selfiegate.model import Verdict
from tasks.artifacts import attached


async def show_verdict(verdict: Verdict) -> None:
    """Attach the verdict to the run as a page for people."""
    description = f"{verdict.status}: {report.code(verdict.photo.name)}"
    await attached(acreate_markdown_artifact(report.markdown(verdict), description=description))
