"""Steps that remove what Prefect keeps for longer than it is needed."""

from __future__ import annotations

from collections.abc import Sequence

from tasks import run_history
from tasks.run_history import Pruned
from tasks.steps import step


@step("remove runs that ended {days} days ago", timeout_s=None)  # `seconds` bounds it
def prune_runs(flows: Sequence[str], days: float, seconds: float) -> Pruned:
    """Remove ended runs of these flows that are older, with their logs and artifacts."""
    return run_history.prune(flows, days, seconds)
