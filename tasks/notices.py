"""Steps that tell people something."""

from __future__ import annotations

from prefect.artifacts import acreate_markdown_artifact

from selfiegate import report
from selfiegate.enrolment import protocol
from selfiegate.model import Claim, Verdict
from selfiegate.runtime import runtime
from tasks.artifacts import attached
from tasks.steps import step


@step("notify the user about {claim.photo.name}")
def notify_user(claim: Claim) -> None:
    """Tell the user what is wrong, once."""
    protocol.notify_user(runtime(), claim)


async def show_verdict(verdict: Verdict) -> None:
    """Attach the verdict to the run as a page for people."""
    description = f"{verdict.status}: {report.code(verdict.photo.name)}"
    await attached(acreate_markdown_artifact(report.markdown(verdict), description=description))
