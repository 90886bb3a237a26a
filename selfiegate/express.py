"""The express lane: photos that waited together are taken to their verdicts by one run.

A run a photo costs an orchestrator more than the photo costs the models. So photos that would have to wait go through
the protocol as a chunk of a backfill does (`backfill.chunk`), with their users told as in a run of their own. A photo
that fails there gets a run of its own at once, so that a run that failed names one photo.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry, pinned
from selfiegate.backfill.outcomes import Outcome
from selfiegate.backfill.processor import Turns, is_local, pools, side_by_side
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.runtime import Runtime
from selfiegate.steps import Take

_log = logging.getLogger(__name__)

AT_ONCE = 3
"""Runs that a process has under way, as in a backfill; others claim nothing yet, and are left to other processes."""
_ALONE_AT_ONCE = 4
_ALONE_S = 300.0
"""So long after the chunk no more runs of single photos are begun: `reconcile` begins those that are left."""

RunAlone = Callable[[PhotoRequest], Awaitable[tuple[str, str]]]
"""Runs a photo as a run of its own; returns the name of the state that it ended in, and the run's id."""


class End(NamedTuple):
    """What became of a photo of the lane."""

    outcome: Outcome
    run: str = ""
    """The id of its own run, where it had one."""
    state: str = ""
    """What that ended in; empty where it had none, or `reconcile` is to begin it."""

    @property
    def verdict(self) -> str:
        """What people see: the photo's status, or that of its own run."""
        return self.state or self.outcome.status


async def process_photos(
    take: Take,
    run_alone: RunAlone,
    photos: Sequence[PhotoRequest],
    owner: str,
    decided: Callable[[Sequence[Outcome]], None] = lambda _: None,
) -> list[End]:
    """Take photos to their verdicts and tell the users of those that are refused; one of a photo's uploads counts.

    Of two photos with one face the one that was uploaded first wins. Photos that another run holds are left to it.
    `decided` is told of the outcomes before any photo is run alone. Raises what `take` raises where nothing could be
    done for any photo.
    """
    async with _places():
        outcomes = await take(take_together, photos, owner)
    decided(outcomes)
    begin_before, gate = time.monotonic() + _ALONE_S, asyncio.Semaphore(_ALONE_AT_ONCE)
    requests = {(one.photo, one.user_id): one for one in in_order(photos)}

    async def end_of(outcome: Outcome) -> End:
        if outcome.status != "failed" or outcome.photo is None:
            return End(outcome)
        async with gate:
            if time.monotonic() > begin_before:
                return End(outcome)
            try:
                state, run = await run_alone(requests[outcome.photo, outcome.user_id])
            except Exception as error:  # of Prefect's client, say; the other photos go on
                _log.warning("%s is left to `reconcile`: %s", outcome.photo.name, error)
                return End(outcome)
            return End(outcome, run, state)

    return await asyncio.gather(*(end_of(one) for one in outcomes))


def take_together(rt: Runtime, photos: Sequence[PhotoRequest], owner: str) -> list[Outcome]:
    """Take photos to their verdicts as one chunk, those that failed included, first uploaded first.

    Raises `BackendUnavailable` where nothing could be done for any of them.
    """
    entries = [Entry.of(one) for one in in_order(photos)]
    vision_pool, io_pool = pools(side_by_side(rt))
    chunk = Chunk(rt, owner, vision_pool, io_pool, notify=True, local=is_local(rt, entries), patient=False)
    number = _turns.take()
    try:
        outcomes, to_retry = chunk.run(entries, _turns.turn(number))
    finally:
        _turns.done(number)
    return [*outcomes, *(_failed(rt, one, why) for one, why in to_retry)]


def in_order(photos: Sequence[PhotoRequest]) -> list[PhotoRequest]:
    """Return each photo of each user once, by its latest upload; those that were uploaded first come first."""
    by_upload = sorted(photos, key=lambda one: one.upload_order)
    return sorted({(one.photo, one.user_id): one for one in by_upload}.values(), key=lambda one: one.upload_order)


def _failed(rt: Runtime, one: Entry, why: str) -> Outcome:
    photo = pinned(rt.photos, one)
    return Outcome(uri=one.uri, user_id=one.user_id, status="failed", why=why, photo=photo)


_turns = Turns()
_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _places() -> asyncio.Semaphore:
    return _rooms.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))
