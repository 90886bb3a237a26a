"""Flows that do what no flow of ours should, to see that the worker stands it. Deployed by test_worker.py."""

from __future__ import annotations

import asyncio

from prefect import flow


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
