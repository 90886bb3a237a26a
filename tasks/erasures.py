"""Steps that forget a user."""

from __future__ import annotations

from prefect.artifacts import acreate_markdown_artifact

from selfiegate import report
from selfiegate.clock import moment_of, utc
from selfiegate.privacy import erasures, sweeps, unreadable
from selfiegate.records import Erasure
from tasks import run_history
from tasks.artifacts import attached
from tasks.steps import step, task_of

request_erasure = task_of(erasures.request_erasure, "take no more photos of {user_id}")
drop_unreadable = task_of(unreadable.drop_unreadable, "remove rows of {ours.user_id} that cannot be read")
sweep = task_of(sweeps.sweep, "erase {ours.user_id}")
erase_originals = task_of(sweeps.erase_originals, "erase the original photos of {ours.user_id}")
put_off = task_of(erasures.put_off, "put off the erasure of {ours.user_id}")
write_receipt = task_of(erasures.write_receipt, "write the receipt of {ours.user_id}")
find_erasures = task_of(erasures.unattended, "find erasures that nobody is at")
expire_rejected = task_of(erasures.expire, "expire rejected photos")


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
    asked, finished = (utc(moment_of(us)) for us in (receipt.asked_at, receipt.finished_at or 0))
    times = f"Asked {asked}, finished {finished}, by the run {receipt.run}."
    originals = "The original photos were removed." if receipt.photos else "The original photos were left."
    if receipt.kept_originals:
        originals += f" {receipt.kept_originals} were to be removed, and could not be."
    return "\n".join([*lines, "", times, originals])
