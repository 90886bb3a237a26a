"""Chunks on many machines: the tasks of a backfill on a Dask cluster, which has the settings of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Task

from selfiegate.errors import BackendMisconfigured
from selfiegate.settings import load_settings

Submit = Callable[[Task[..., Any], dict[str, Any]], Awaitable[Any]]
"""Takes a task and its parameters, and returns what it returns."""


@contextmanager
def cluster(address: str | None, workers: int) -> Iterator[Submit]:
    """Connect to the scheduler at an address, or make a cluster of so many processes on this machine.

    Raises `BackendMisconfigured` where the workers at an address would not share faces and records with this process.
    """
    settings = load_settings()
    if address and (settings.backend == "insightface" or settings.records == "sqlite"):
        raise BackendMisconfigured(
            f"a Dask cluster at {address} cannot share the faces and records of {settings.folder}; leave the "
            "address out for processes on this machine, or set SELFIEGATE_BACKEND=rekognition and "
            "SELFIEGATE_RECORDS=dynamodb"
        )
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise BackendMisconfigured("the engine dask needs prefect-dask: install selfiegate[dask]") from None
    local = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    runner = DaskTaskRunner(address=address) if address else DaskTaskRunner(cluster_kwargs=local)
    with runner:

        async def submit(task: Task[..., Any], parameters: dict[str, Any]) -> Any:
            return await asyncio.to_thread(runner.submit(task, parameters).result)

        yield submit
