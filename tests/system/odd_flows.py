"""Flows that do what no flow of ours should, to see that the worker stands it. Deployed by test_worker.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prefect import flow, task
from prefect.flow_runs import pause_flow_run, suspend_flow_run


@flow
async def slow(seconds: float) -> None:
    await asyncio.sleep(seconds)


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
async def look_for(file: str) -> bool:
    await asyncio.sleep(0.3)
    return Path(file).exists()


@flow
async def step_by_step(file: str) -> None:
    while not await look_for(file):
        pass
