"""Makes a blocking function of the product a Prefect task: retried, timed out, off the event loop."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun

from selfiegate.errors import BackendUnavailable
from selfiegate.runtime import open_with
from selfiegate.settings import load_settings
from tasks.blocks import open_with_blocks

P = ParamSpec("P")
R = TypeVar("R")

open_with(open_with_blocks)

_retries = load_settings().retries
_log = logging.getLogger(__name__)


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


async def in_thread(fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a blocking function in a thread; where this is cancelled, wait for it all the same.

    A thread cannot be stopped. What follows a timeout or a cancellation (the next attempt, the clean-up)
    must not run beside it: a late write would land after it was taken back. The stores' own timeouts
    bound the wait.
    """
    work = asyncio.ensure_future(asyncio.to_thread(fn, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
