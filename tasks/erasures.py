"""Steps that forget a user."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.artifacts import acreate_markdown_artifact

from selfiegate import report
from selfiegate.privacy import erasures
from selfiegate.records import Erasure
from selfiegate.runtime import runtime
from tasks import run_history
from tasks.artifacts import attached
from tasks.steps import step


@step("take no more photos of {user_id}")
def order_erasure(user_id: str, run: str, photos: bool, carry_on: int | None) -> Erasure:
    """Let the user be forgotten as of now, or carry on what was interrupted."""
    return erasures.order(runtime(), user_id, run, photos, carry_on)


@step("erase {erasure.user_id}", timeout_s=None)
def erase(erasure: Erasure) -> Erasure:
    """Remove all that is held of the user."""
    return erasures.sweep(runtime(), erasure)


@step("write the receipt of {erasure.user_id}")
def write_receipt(erasure: Erasure, runs: list[str]) -> Erasure:
    """Keep counts and times, no names of faces or photos."""
    return erasures.finish(runtime(), erasure, [("run", run) for run in runs])


@step("find interrupted erasures")
def find_erasures() -> list[Erasure]:
    """Return those whose runs are dead."""
    return erasures.interrupted(runtime())


@step("expire rejected photos")
def expire_rejected() -> int:
    """Remove the rows of photos that were rejected long ago."""
    return erasures.expire(runtime())


@step("remove the runs of {user_id}", timeout_s=None)
def remove_runs(user_id: str) -> list[str]:
    """Remove the ended runs of a user's photos from Prefect, with their artifacts; return the runs' ids."""
    return run_history.remove(user_id)


async def show_receipt(receipt: Erasure) -> None:
    """Attach the receipt to the run."""
    await attached(acreate_markdown_artifact(markdown(receipt), description="receipt"))


def markdown(receipt: Erasure) -> str:
    """Return the receipt as a page."""
    lines = [f"# {report.code(receipt.user_id)} is forgotten", "", "| removed | |", "|---|---:|"]
    lines += [f"| {kind} | {count} |" for kind, count in receipt.removed.items()]
    times = f"Asked {_utc(receipt.asked_at)}, finished {_utc(receipt.finished_at or 0)}, by the run {receipt.run}."
    originals = "The original photos were removed." if receipt.photos else "The original photos were left."
    return "\n".join([*lines, "", times, originals])


def _utc(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"
