"""Steps of a backfill: one task a chunk, so that orchestration costs nothing a photo."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry, Listing
from selfiegate.backfill.outcomes import Outcome
from selfiegate.backfill.preview import preview
from selfiegate.backfill.sources import entries
from selfiegate.runtime import Runtime, runtime
from selfiegate.settings import load_settings
from tasks.cluster import cluster
from tasks.steps import step

_AT_ONCE = 3
"""Chunks under way in one process: one fights over faces, one is looked at, one is being read."""
_CALLS_AT_ONCE = 16
"""Photos side by side where looking at one is waiting for a network."""


class Done(NamedTuple):
    """What became of a chunk."""

    outcomes: list[Outcome]
    again: list[tuple[Entry, str]]
    """Photos to be tried again later, and why."""
    seconds: dict[str, float]


class Turns:
    """Lets chunks fight over faces in their order, whichever was looked at first."""

    def __init__(self) -> None:
        self._next, self._passed, self._free = 0, set[int](), threading.Condition()
        self._one = threading.Lock()

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait for all chunks before this one."""
        with self._free:
            self._free.wait_for(lambda: self._next >= number)
        with self._one:
            yield
        self.done(number)

    def done(self, number: int) -> None:
        """Let the next ones go on, though this one never had its turn."""
        with self._free:
            self._passed.add(number)
            while self._next in self._passed:
                self._passed.remove(self._next)
                self._next += 1
            self._free.notify_all()


_turns: dict[str, Turns] = {}


@lru_cache(4)
def _pools(workers: int) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    return ThreadPoolExecutor(workers, "eyes"), ThreadPoolExecutor(2 * workers + 2, "hands")


class Way(NamedTuple):
    """How all chunks of one backfill are taken."""

    owner: str
    workers: int
    notify: bool
    dry_run: bool


class Processor(NamedTuple):
    """Takes a chunk's number, its first photo's number and its photos; so many at a time keep it busy."""

    process: Callable[[int, int, Sequence[Entry]], Awaitable[Done]]
    at_once: int


@step("list {source}", timeout_s=None)
def list_photos(source: str, template: str | None, listing: Listing) -> int:
    """Write down what there is, in its order; return how many entries there are, faults included."""
    listing.add(entries(source, load_settings(), template))
    return len(listing) + listing.fault_count


@step("photos {first} to {last}", timeout_s=None)
def process_chunk(photos: Sequence[Entry], first: int, last: int, number: int, way: Way) -> Done:
    """Take a chunk to its verdicts; raises `BackendUnavailable` where nothing could be done for any photo."""
    return _take(photos, number, way)


# Apart from its task, which Dask sends by value, with all globals that it names.
def _take(photos: Sequence[Entry], number: int, way: Way) -> Done:
    rt, (eyes, hands) = runtime(), _pools(way.workers)
    if way.dry_run:
        return Done(preview(rt, photos, eyes), [], {})
    chunk, turns = (
        Chunk(rt, way.owner, eyes, hands, notify=way.notify, local=_is_local(rt, photos)),
        _turns.get(way.owner),
    )
    return Done(*chunk.run(photos, turns.turn(number) if turns else nullcontext()), chunk.seconds)


def _is_local(rt: Runtime, photos: Sequence[Entry]) -> bool:
    in_s3 = any(photo.uri.startswith("s3://") for photo in photos)
    return not (in_s3 or rt.faces.remote) and rt.settings.records == "sqlite"


@contextmanager
def processor(way: Way, engine: str, dask: str | None) -> Iterator[Processor]:
    """Process chunks in this process, in their order, or on a Dask cluster."""
    with ExitStack() as stack:
        submit = stack.enter_context(cluster(dask, way.workers)) if engine == "dask" else None
        turns = _turns[way.owner] = Turns()
        stack.callback(_turns.pop, way.owner)
        each = way._replace(workers=1) if submit else way

        async def process(number: int, first: int, photos: Sequence[Entry]) -> Done:
            asked: dict[str, Any] = {"photos": photos, "first": first, "last": first + len(photos) - 1}
            asked |= {"number": number, "way": each}
            try:
                done: Done = await (submit(process_chunk, asked) if submit else process_chunk(**asked))
                return done
            finally:
                turns.done(number)

        yield Processor(process, 2 * way.workers if submit else _AT_ONCE)


def side_by_side() -> int:
    """Return how many photos are looked at side by side where nothing is said: one a core of ours."""
    if runtime().faces.remote:
        return _CALLS_AT_ONCE
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
