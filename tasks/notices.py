"""Steps that tell people something."""

from __future__ import annotations

from prefect import get_run_logger
from prefect.artifacts import acreate_markdown_artifact

from selfiegate import enrolment, report
from selfiegate.model import Claim, Verdict
from selfiegate.runtime import runtime
from tasks.steps import step


@step("notify the user about {claim.photo.name}")
def notify_user(claim: Claim) -> None:
    """Tell the user what is wrong, once."""
    enrolment.notify_user(runtime(), claim)


async def show_verdict(verdict: Verdict) -> None:
    """Attach the verdict to the run as a page for people; the run does not depend on it."""
    description = f"{verdict.status}: {report.code(verdict.photo.name)}"
    try:
        await acreate_markdown_artifact(report.markdown(verdict), description=description)
    except Exception as error:  # whatever Prefect's client raises; the verdict is stored already
        get_run_logger().warning("the page of the verdict could not be attached: %s", error)
