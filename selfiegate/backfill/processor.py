"""Takes chunks of photos to their verdicts, some at a time, in one process."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.backfill.outcomes import Outcome
from selfiegate.backfill.preview import preview
from selfiegate.cpus import available_cpus
from selfiegate.errors import BackendMisconfigured
from selfiegate.runtime import Runtime
from selfiegate.steps import in_thread
from selfiegate.stuck import alive

CHUNK = 128
"""Photos a chunk."""
AT_ONCE = 3
"""Chunks under way in one process: one fights over faces, one is looked at, one is being read."""
_SIGN_S = 1.0
"""How often a chunk that waits for its turn gives a sign of life."""
_CALLS_AT_ONCE = 16
"""Photos side by side where looking at one is waiting for a network."""


class BackfillOptions(NamedTuple):
    """How all chunks of one backfill are taken."""

    owner: str
    """The run that claims the photos."""
    workers: int
    """Photos that the models look at side by side."""
    notify: bool
    """Whether users are told of refusals; else only of photos that an event or a command claimed, too."""
    dry_run: bool
    """Whether to say only what would become of the photos."""
    records_id: str
    """Of the records that the backfill works with (`KnownGallery.records_id`), in whichever process a chunk is."""


class ChunkResult(NamedTuple):
    """What became of a chunk."""

    outcomes: list[Outcome]
    to_retry: list[tuple[Entry, str]]
    """Photos to be tried again later, and why."""
    seconds: dict[str, float]
    """Step to the time that it took."""


class Processor(NamedTuple):
    """Takes a chunk's number, its first photo's number and its photos; so many at a time keep it busy."""

    process: Callable[[int, int, Sequence[Entry]], Awaitable[ChunkResult]]
    at_once: int


class Turns:
    """Lets chunks fight over faces in their order, whichever was looked at first."""

    def __init__(self) -> None:
        self._next, self._passed, self._free = 0, set[int](), threading.Condition()
        self._one, self._numbers = threading.Lock(), count()

    def take(self) -> int:
        """Return the next number, where nobody else numbers the chunks."""
        return next(self._numbers)

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait for all chunks before this one."""
        with self._free:
            while not self._free.wait_for(lambda: self._next >= number, _SIGN_S):
                alive()  # it may take long; a chunk that hangs is watched itself
        with self._one:
            yield
        self.done(number)

    def done(self, number: int) -> None:
        """Let the next ones go on, though this one never had its turn; may be repeated."""
        with self._free:
            if number >= self._next:
                self._passed.add(number)
            while self._next in self._passed:
                self._passed.remove(self._next)
                self._next += 1
            self._free.notify_all()


_turns: dict[str, Turns] = {}


@contextmanager
def turns_of(owner: str) -> Iterator[Turns]:
    """Let the chunks of one backfill, in this process, take turns while the block runs."""
    turns = _turns[owner] = Turns()
    try:
        yield turns
    finally:
        del _turns[owner]


@lru_cache(4)
def pools(workers: int) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    return ThreadPoolExecutor(workers, "vision"), ThreadPoolExecutor(2 * workers + 2, "io")


def take_chunk(rt: Runtime, photos: Sequence[Entry], number: int, options: BackfillOptions) -> ChunkResult:
    """Take a chunk to its verdicts; raises `BackendUnavailable` where nothing could be done for any photo.

    Raises `BackendMisconfigured` in a process whose settings lead to other records than the backfill's: it would accept
    faces that are enrolled.
    """
    if rt.known_gallery.records_id != options.records_id:
        raise BackendMisconfigured(
            f"this Dask worker's settings lead to other records than the backfill's (in {rt.settings.records})"
            "; start Dask's workers with the backfill's settings, above all SELFIEGATE_DATABASE"
        )
    vision_pool, io_pool = pools(options.workers)
    if options.dry_run:
        return ChunkResult(preview(rt, photos, vision_pool), [], {})
    chunk = Chunk(rt, options.owner, vision_pool, io_pool, notify=options.notify, local=is_local(rt, photos))
    turns = _turns.get(options.owner)
    return ChunkResult(*chunk.run(photos, turns.turn(number) if turns else nullcontext()), chunk.seconds)


@contextmanager
def processor_here(rt: Runtime, options: BackfillOptions) -> Iterator[Processor]:
    """Process chunks in this process, in their order, without an engine."""
    with turns_of(options.owner) as turns:

        async def process(number: int, first: int, photos: Sequence[Entry]) -> ChunkResult:
            try:
                return await in_thread(take_chunk, rt, photos, number, options)
            finally:
                turns.done(number)

        yield Processor(process, AT_ONCE)


def is_local(rt: Runtime, photos: Sequence[Entry]) -> bool:
    in_s3 = any(photo.uri.startswith("s3://") for photo in photos)
    return not (in_s3 or rt.faces.remote) and rt.settings.records == "sqlite"


def side_by_side(rt: Runtime) -> int:
    """Return how many photos are looked at side by side where nothing is said.

    One a CPU of ours, or as many as fill one call of the models while another call is under way.
    """
    if rt.faces.remote:
        return _CALLS_AT_ONCE
    return available_cpus() if rt.faces.photos_a_call == 1 else 2 * rt.faces.photos_a_call
