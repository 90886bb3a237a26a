"""Flows that do what no flow of ours should, to see that the worker stands it. Deployed by test_worker.py."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from prefect import State, flow, task
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.states import Completed


@flow
async def slow(seconds: float) -> None:
    await asyncio.sleep(seconds)


@flow
async def tells_its_process() -> State[None]:
    return Completed(message=str(os.getpid()))


@flow
async def blows_up() -> None:
    raise SystemExit(3)


@flow
async def cancels_itself() -> None:
    raise asyncio.CancelledError


@flow
def blocking() -> None:
    pass


@flow
async def suspends_itself() -> None:
    await suspend_flow_run(timeout=600)  # type: ignore[misc]  # sync or async by context


@flow
async def pauses_itself() -> None:
    await pause_flow_run(timeout=600, poll_interval=1)  # type: ignore[misc]


@task
async def look_for(file: Path) -> bool:
    await asyncio.sleep(0.3)
    return file.exists()


@flow
async def step_by_step(folder: str) -> None:
    """Go on until somebody makes the file `enough`; write down each beginning and each end."""
    with Path(folder, "journal").open("a") as journal:
        print("begins", file=journal, flush=True)
        while not await look_for(Path(folder, "enough")):
            pass
        print("ends", file=journal, flush=True)
