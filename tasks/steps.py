"""Makes a blocking function of the product a Prefect task: retried, timed out, off the event loop."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, ParamSpec, TypeVar

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun

from selfiegate.errors import BackendUnavailable, SelfiegateError
from selfiegate.model import Claim
from selfiegate.runtime import open_with, runtime
from selfiegate.settings import load_settings
from tasks.blocks import open_with_blocks

P = ParamSpec("P")
R = TypeVar("R")

open_with(open_with_blocks)

_retries = load_settings().retries
_log = logging.getLogger(__name__)

_renewals = ThreadPoolExecutor(1, "renewals")
"""Leases are renewed though every other thread is busy."""


async def may_help(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Say whether another attempt may help: only where a store or model did not answer."""
    error = await state.result(raise_on_failure=False)  # type: ignore[misc]  # sync or async by context
    return isinstance(error, BackendUnavailable | TimeoutError)


def step(name: str) -> Callable[[Callable[P, R]], Task[P, Coroutine[Any, Any, R]]]:
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
            timeout_seconds=_retries.step_timeout_s,
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


@asynccontextmanager
async def leased(claim: Claim) -> AsyncIterator[None]:
    """Renew a claim's lease while the block runs; give it up at once where the block does not end well."""
    ledger, lease_s = runtime().ledger, runtime().settings.lease_s

    async def renew() -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(lease_s / 3)
            try:
                await loop.run_in_executor(_renewals, ledger.renew, claim, lease_s)
            except SelfiegateError as error:
                _log.warning("the lease on %s is not renewed: %s", claim.photo.name, error)

    keeper = asyncio.create_task(renew())
    try:
        yield
    except BaseException:
        keeper.cancel()
        with suppress(SelfiegateError):  # the lease then ends by itself
            _renewals.submit(ledger.renew, claim, 0).result()  # after a renewal that is under way
        raise
    finally:
        keeper.cancel()
