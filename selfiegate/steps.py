"""How a step is taken.

A step is a function of the product that takes the runtime first, may be repeated, and may block. The sequences
(`enrolment.sequence`, `privacy.sequence`, `reconciliation`) name the steps in their order and are given a `Take`. In a
Prefect flow that is `tasks.steps.as_task`, which runs the step's retryable task. Elsewhere it is `inline` below.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import anyio

from selfiegate.errors import BackendUnavailable
from selfiegate.runtime import Runtime
from selfiegate.stuck import watched

P = ParamSpec("P")
R = TypeVar("R")


class Take(Protocol):
    """Takes a step: calls it, and again where a store or model does not answer."""

    async def __call__(self, step: Callable[Concatenate[Runtime, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the step returns; raises `BackendUnavailable` where repeating it did not help."""


def inline(rt: Runtime, *, attempts: int | None = None, first_delay_s: float | None = None) -> Take:
    """Take steps as plain calls in this thread, without an engine or a server.

    `attempts` and the first delay, which doubles, are those of `settings.retries` unless told otherwise.
    """
    retries = rt.settings.retries
    most = retries.attempts if attempts is None else attempts
    delay_s = retries.first_delay_s if first_delay_s is None else first_delay_s

    async def take(step: Callable[Concatenate[Runtime, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(most):
            try:
                with watched(step.__name__, rt.settings.stuck_after_s):
                    return step(rt, *args, **kwargs)
            except (BackendUnavailable, TimeoutError):
                if attempt == most - 1:
                    raise
            if delay_s:
                time.sleep(delay_s * 2.0**attempt)
        raise AssertionError("there is at least one attempt")

    return take


async def in_thread(fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a blocking function in a thread; where this is cancelled, wait for it all the same.

    A thread cannot be stopped. What follows a timeout or a cancellation (the next attempt, the clean-up)
    must not run beside it: a late write would land after it was taken back. The stores' own timeouts
    bound the wait. Where these fail, too, the step is stuck, and its process is replaced (`selfiegate.stuck`).
    """
    work = asyncio.ensure_future(asyncio.to_thread(fn, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):  # Prefect's timeouts cancel again and again until the caller gives in
            while not work.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
        raise
