"""Runs flows in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, Unpack

from prefect import State
from prefect.utilities.urls import url_for

from deployments.cli.with_prefect import api_url
from flows.backfill import backfill
from flows.forget_user import forget_user
from flows.process_photo import process_photo
from flows.reconcile import reconcile
from selfiegate.cli.console import err
from selfiegate.cli.runner import BackfillAsked
from selfiegate.errors import BackendUnavailable, PhotoInProgress, SelfiegateError
from selfiegate.model import PhotoRef, Verdict
from selfiegate.records import Erasure
from tasks import progress

T = TypeVar("T")


def verdicts(photos: Iterable[tuple[PhotoRef, str]]) -> list[Verdict]:
    """Run each photo of each user and return the verdicts; a fault ends it with a `SelfiegateError`."""

    async def verdict(photo: PhotoRef, user_id: str) -> Verdict:
        state = await process_photo(photo, user_id, return_state=True)
        _show_link(state)
        found: Verdict | None = await state.aresult()
        if found is None:
            raise PhotoInProgress(f"{state.message}; try again in a minute")
        return found

    async def run() -> list[Verdict]:
        return [await verdict(photo, user_id) for photo, user_id in photos]

    return _result(run())


def reconciled(*, limit: int, audit: bool, repair: bool) -> tuple[dict[str, int], str]:
    """Run the flow `reconcile`; return how many findings of each kind there were, and which parts failed."""

    async def run() -> State[dict[str, int]]:
        state: State[dict[str, int]] = await reconcile(limit=limit, audit=audit, repair=repair, return_state=True)
        return state

    state, found = _ended(run())
    return found, "" if state.is_completed() else str(state.message)


def forgotten(user_id: str, photos: bool, keep_originals: bool) -> Erasure:
    """Run the flow `forget_user` and return the receipt; raises `BackendUnavailable` where another run took over."""

    async def run() -> Erasure:
        receipt = await forget_user(user_id, photos, keep_originals=keep_originals)
        if receipt is None:
            raise BackendUnavailable(f"another run is forgetting {user_id}; try again when it is done")
        return receipt

    return _result(run())


def backfilled(watch: Callable[[int, int], None], **asked: Unpack[BackfillAsked]) -> tuple[dict[str, Any], bool]:
    """Run the flow `backfill`; return its counts, and whether no more photos failed than are tolerated."""
    progress.watchers.append(watch)

    async def run() -> State[dict[str, Any]]:
        state: State[dict[str, Any]] = await backfill(**asked, return_state=True)
        return state

    try:
        state, found = _ended(run())
    finally:
        progress.watchers.remove(watch)
    return found, state.is_completed()


def _ended(work: Coroutine[Any, Any, State[dict[str, T]]]) -> tuple[State[dict[str, T]], dict[str, T]]:
    """Run a flow that ends with counts, red or not; raise where it has none."""
    state = _result(work)
    found = state.result(raise_on_failure=False)
    if isinstance(found, SelfiegateError):
        raise found
    if not isinstance(found, dict):
        raise BackendUnavailable(f"{type(found).__name__}: {found}")
    return state, found


def _show_link(state: State[Any]) -> None:
    """Say where the run is to be seen; a server that Prefect started for this command alone is gone after it."""
    link = url_for("flow-run", state.state_details.flow_run_id) if api_url() else None
    if link:
        err.print(f"[dim]Recorded: {link}[/]", soft_wrap=True)


def _result(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except SelfiegateError:
        raise
    except Exception as error:  # Prefect's, when its API does not answer
        raise BackendUnavailable(f"{type(error).__name__}: {error}; `selfiegate doctor` may know more") from error
