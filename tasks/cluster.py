"""Chunks on many machines: the tasks of a backfill on a Dask cluster, which has the settings of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from prefect import Task

from selfiegate.errors import BackendMisconfigured
from selfiegate.settings import load_settings

R = TypeVar("R")
Submit = Callable[[Task[..., Any], dict[str, Any]], Awaitable[Any]]
"""Takes a task and its parameters, and returns what it returns."""


@asynccontextmanager
async def cluster(address: str | None, workers: int) -> AsyncIterator[Submit]:
    """Connect to the scheduler at an address, or make a cluster of so many processes on this machine.

    Raises `BackendMisconfigured` where the workers at an address would not share faces and records with this process.
    """
    settings = load_settings()
    if address and settings.is_of_one_machine:
        raise BackendMisconfigured(
            f"a Dask cluster at {address} cannot share the faces and records of {settings.folder}; leave the "
            "address out for processes on this machine, or set SELFIEGATE_DATABASE=postgresql://..., or "
            "SELFIEGATE_BACKEND=rekognition and SELFIEGATE_RECORDS=dynamodb"
        )

    def runner_of_prefect() -> Any:
        try:
            from prefect_dask.task_runners import DaskTaskRunner
        except ImportError:
            raise BackendMisconfigured("the engine dask needs prefect-dask: install selfiegate[dask]") from None
        local = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
        return DaskTaskRunner(address=address) if address else DaskTaskRunner(cluster_kwargs=local)

    # A cluster takes seconds to import, to start and to stop, and all of that belongs into one thread and one context.
    loop, context = asyncio.get_running_loop(), copy_context()
    with ThreadPoolExecutor(1, "dask") as thread:

        def call(fn: Callable[..., R], *args: Any) -> Awaitable[R]:
            return loop.run_in_executor(thread, lambda: context.run(fn, *args))

        async def submit(task: Task[..., Any], parameters: dict[str, Any]) -> Any:
            future = await call(runner.submit, task, parameters)
            return await asyncio.to_thread(future.result)

        runner = await call(runner_of_prefect)
        await call(runner.__enter__)
        try:
            yield submit
        finally:
            await call(runner.__exit__, None, None, None)
