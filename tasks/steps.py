"""Makes a blocking function of the product a Prefect task: retried, timed out, off the event loop.

`task_of` makes one of a step (see `selfiegate.steps`), and `as_task` takes steps by their tasks.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun

from selfiegate import leases
from selfiegate.errors import BackendUnavailable
from selfiegate.runtime import Runtime, open_with, runtime
from selfiegate.settings import load_settings
from selfiegate.steps import in_thread
from selfiegate.stuck import end_process_when_stuck, watched
from tasks.blocks import open_with_blocks

P = ParamSpec("P")
R = TypeVar("R")

open_with(open_with_blocks)

_retries = load_settings().retries
_log = logging.getLogger(__name__)

if "PREFECT__FLOW_RUN_ID" in os.environ:  # Prefect's own worker started this process for one run
    end_process_when_stuck(_log.critical)


async def opened() -> Runtime:
    """Return this process's runtime; the first call opens it, and again where a store does not answer, as in a step."""
    for attempt in range(_retries.attempts - 1):
        try:
            return await in_thread(runtime)
        except (BackendUnavailable, TimeoutError) as error:
            _log.warning("the runtime could not be opened: %s", error)
        await asyncio.sleep(_retries.first_delay_s * 2**attempt)
    return await in_thread(runtime)


async def may_help(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Say whether another attempt may help: only where a store or model did not answer."""
    error = await state.result(raise_on_failure=False)  # type: ignore[misc]  # sync or async by context
    return isinstance(error, BackendUnavailable | TimeoutError)


def step(
    name: str, timeout_s: float | None = _retries.step_timeout_s
) -> Callable[[Callable[P, R]], Task[P, Coroutine[Any, Any, R]]]:
    """Make a task of a blocking function; `name` is a template over its parameters, shown in the UI.

    Delays double from `retries.first_delay_s` and are stretched by up to as much again, so that runs which
    failed together do not come back together.
    """

    def decorate(fn: Callable[P, R]) -> Task[P, Coroutine[Any, Any, R]]:
        @functools.wraps(fn)
        async def off_the_loop(*args: P.args, **kwargs: P.kwargs) -> R:
            return await in_thread(fn, *args, **kwargs)

        return task(
            task_run_name=name,
            retries=_retries.attempts - 1,
            retry_delay_seconds=[_retries.first_delay_s * 2**n for n in range(_retries.attempts - 1)],
            retry_jitter_factor=1 if _retries.first_delay_s else None,
            retry_condition_fn=may_help,
            timeout_seconds=timeout_s,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(off_the_loop)

    return decorate


def task_of(
    taken: Callable[Concatenate[Runtime, P], R], name: str, timeout_s: float | None = _retries.step_timeout_s
) -> Task[P, Coroutine[Any, Any, R]]:
    """Make a task of a step: it takes all that the step takes but the runtime, which is this process's own."""

    made = step(name, timeout_s)(_with_runtime(taken))
    _takes[taken] = made
    return made


def _with_runtime(taken: Callable[Concatenate[Runtime, P], R]) -> Callable[P, R]:
    @functools.wraps(taken)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        rt = runtime()
        with watched(taken.__name__, rt.settings.stuck_after_s):
            return taken(rt, *args, **kwargs)

    signature = inspect.signature(taken)
    called.__signature__ = signature.replace(  # type: ignore[attr-defined]  # Prefect names a task's inputs by it
        parameters=list(signature.parameters.values())[1:]
    )
    return called


async def _give_up(lease: leases.Lease[Any]) -> None:
    """Give up a lease without a task: that must not wait for Prefect's server."""
    await in_thread(_with_runtime(leases.give_up), lease)


_takes: dict[Callable[..., Any], Callable[..., Coroutine[Any, Any, Any]]] = {leases.give_up: _give_up}


async def as_task(taken: Callable[Concatenate[Runtime, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Take a step by its task; a step without one is a fault of ours and raises `KeyError`."""
    return cast(R, await _takes[taken](*args, **kwargs))
