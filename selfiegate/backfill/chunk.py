"""Many photos at the speed of the models: the enrolment protocol over a chunk of them at a time.

The rules, and the functions that apply them, are those of a single photo (`policy`, `enrolment`, `profiles`). What
differs is when they are called: photos are looked at side by side, then each step of the protocol is taken for
all of them in one transaction, and chunks take these steps one after the other. So of two photos with one
face the one that comes first in the listing wins, whatever was looked at first.

A chunk that dies leaves claims without verdicts. Whoever runs these photos again goes on with those that had won their
face, takes back what else was half done and begins anew, so that they win and lose as they would have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from selfiegate.backfill.listing import Entry
from selfiegate.backfill.outcomes import Outcome
from selfiegate.backfill.photo_steps import PhotoSteps
from selfiegate.backfill.photo_work import PhotoWork, one_of_each_user, outcome, undecided, untold
from selfiegate.enrolment import protocol
from selfiegate.enrolment.leases import lease_of
from selfiegate.enrolment.protocol import lost
from selfiegate.enrolment.search import SearchResult
from selfiegate.errors import (
    BackendMisconfigured,
    BackendUnavailable,
    ClaimLost,
    PhotoInProgress,
    PhotoRejected,
    SelfiegateError,
)
from selfiegate.leases import Lease, kept
from selfiegate.model import Claim
from selfiegate.policy import refused_by
from selfiegate.runtime import Runtime
from selfiegate.stuck import Call, watched

Turn = AbstractContextManager[object]
"""Held while a chunk fights over faces; it puts chunks into their order."""


class Chunk:
    """Takes photos to their verdicts; one instance for one call of `run`."""

    def __init__(
        self,
        rt: Runtime,
        owner: str,
        vision_pool: Executor,
        io_pool: Executor,
        *,
        notify: bool = False,
        local: bool = False,
        patient: bool = True,
    ) -> None:
        """`vision_pool` runs the models. `io_pool` reads photos and writes results, and is another: it must not wait.

        Where records, faces and photos are `local`, the calling thread reads and writes them. More threads would only
        take turns with Python's lock, and cost the models 3 % of their speed. Without `notify` users are
        told only of photos that somebody else claimed with it. A `patient` chunk waits for photos that other runs hold;
        another leaves them to these runs.
        """
        self._rt, self._steps = rt, PhotoSteps(rt, owner, notify)
        self._vision_pool, self._io_pool = vision_pool, io_pool
        self._calls, self._patient = None if local else io_pool, patient
        self._watch = Call("a chunk", rt.settings.stuck_after_s)
        self.seconds: dict[str, float] = {}
        """Step to the time that it took; looking is done side by side with other chunks' steps."""

    def run(self, entries: Sequence[Entry], turn: Turn | None = None) -> tuple[list[Outcome], list[tuple[Entry, str]]]:
        """Return what became of the photos, and which are to be tried again later, and why.

        `turn` is held while faces are fought over, and puts chunks into their order. Raises `BackendMisconfigured`,
        and `BackendUnavailable` where that is all there is to say; what else goes wrong with a photo is its outcome.
        """
        with watched(f"a chunk of {len(entries)} photos", self._rt.settings.stuck_after_s) as self._watch:
            return self._run([PhotoWork(entry) for entry in entries], turn)

    def _run(self, work: Sequence[PhotoWork], turn: Turn | None) -> tuple[list[Outcome], list[tuple[Entry, str]]]:
        self._side_by_side("read", self._steps.pin, work, self._calls)
        with self._timed("claim"):
            self._together(self._steps.claim, work)
        with kept(lease_of(self._rt, undecided(work))) as lease:
            try:
                self._reach_verdicts(work, turn, lease)
            finally:
                lease.held = undecided(work)
        to_retry = [(one.entry, one.retry_reason) for one in work if one.retry_reason]
        unavailable = [error for _, error in to_retry if type(error) is BackendUnavailable]
        if work and len(unavailable) == len(work):
            raise unavailable[0]
        return [one.ended for one in work if one.ended], [(entry, str(error)) for entry, error in to_retry]

    def _reach_verdicts(self, work: Sequence[PhotoWork], turn: Turn | None, lease: Lease[Claim]) -> None:
        self._wait_for_others(work, lease)
        for one in work:
            if one.open and one.claim.attempt > 1:
                self._guarded(self._steps.take_over, one)
        mine = [one for one in work if one.open]
        self._side_by_side("look", self._steps.look, mine, self._vision_pool)
        self._search_together([one for one in mine if one.open and one.judgement.face and not one.reasons])
        with turn or nullcontext():
            for number, batch in enumerate(one_of_each_user(mine)):
                self._decide(batch, others_won=number > 0)
                lease.held = undecided(work)
        self._side_by_side("notify", self._steps.notify, untold(work), self._io_pool)

    def _decide(self, work: Sequence[PhotoWork], others_won: bool) -> None:
        with self._timed("search again"):
            for one in work:
                changed = others_won or one.profile != self._steps.revision(one)  # photos were accepted meanwhile
                if changed and one.open and one.judgement.face and not one.judgement.reasons:
                    self._guarded(self._steps.search, one)
        candidates = [one for one in work if one.open and one.judgement.face and not one.reasons]
        if self._rt.faces.remote:
            self._side_by_side("enrol", self._steps.enrol, candidates, self._io_pool)
        else:
            with self._timed("enrol"):  # by a transaction of its own: the faces below are durable before their ids
                self._together(self._steps.announce_face, candidates)
            with self._timed("enrol"):
                self._together(self._steps.enrol, candidates, self._rt.faces.batch())
        enrolled = [one for one in candidates if one.open and not one.reasons]
        self._side_by_side("confirm", self._steps.search_rivals, enrolled, self._calls)
        with self._timed("confirm"):
            contested = self._contend(enrolled)
            for one in contested:
                self._guarded(self._steps.confirm_alone, one)
            losers = [one for one in candidates if one.open and one.reasons]
            self._together(self._steps.withdraw, losers, self._rt.faces.batch())
        winners = [one for one in candidates if one.open and not one.reasons]
        self._side_by_side("thumbnail", self._steps.thumbnail, winners, self._io_pool)
        with self._timed("store"):
            self._together(self._steps.store, work)

    def _wait_for_others(self, work: Sequence[PhotoWork], lease: Lease[Claim]) -> None:
        """Wait for photos that other runs hold: if these died, for as long as their leases last.

        Were such photos left for later, those after them would win their faces.
        """
        if not self._patient:
            self._leave_to_others(work)
            return
        lease_s = self._rt.settings.lease_s
        give_up = time.monotonic() + 1.2 * lease_s
        with self._timed("wait for other runs"):
            while busy := [one for one in work if isinstance(one.retry_reason, PhotoInProgress)]:
                if time.monotonic() > give_up:
                    return
                time.sleep(lease_s / 50)
                for one in busy:
                    one.retry_reason = None
                self._together(self._steps.claim, busy)
                lease.held = undecided(work)  # what was claimed first is kept while the rest is waited for

    def _leave_to_others(self, work: Sequence[PhotoWork]) -> None:
        for one in work:
            if isinstance(one.retry_reason, PhotoInProgress):
                one.ended, one.retry_reason = outcome(one, "skipped", str(one.retry_reason)), None

    def _search_together(self, usable: Sequence[PhotoWork]) -> None:
        with self._timed("search"):
            together = self._steps.search_together(usable)
        if together:  # each is short now; in the models' pool they would wait for the looks of the next chunk
            self._side_by_side("search", self._steps.search, usable, self._calls)

    def _contend(self, candidates: Sequence[PhotoWork]) -> list[PhotoWork]:
        """Fight for the faces in their order; return the photos that have to wait for somebody."""
        waiting: list[PhotoWork] = []

        def contend(one: PhotoWork) -> None:
            end = protocol.contend(self._rt, one.claim, one.matches, one.unclear)
            if end.lost_to:
                one.searched = lost(self._rt, end.lost_to)
            elif not end.won:
                waiting.append(one)

        self._together(contend, candidates)
        return [one for one in waiting if one.open]

    def _together(
        self,
        step: Callable[[PhotoWork], None],
        photos: Sequence[PhotoWork],
        faces: AbstractContextManager[object] | None = None,
    ) -> None:
        """Take a step for all photos in one transaction; where that fails, nothing of it counts, and all wait.

        `faces` is the gallery's part. The ledger's lock comes first, as where an older photo's face is removed while
        the profile is saved.
        """
        before = [(one, one.row) for one in photos if one.open]
        try:
            with self._rt.ledger.batch(), faces or nullcontext():
                for one, _ in before:
                    self._guarded(step, one)
        except BackendUnavailable as error:
            for one, row in before:
                one.row, one.ended, one.retry_reason = row, None, error

    def _side_by_side(
        self, name: str, step: Callable[[PhotoWork], None], photos: Sequence[PhotoWork], pool: Executor | None
    ) -> None:
        with self._timed(name):
            each = pool.map if pool else map
            list(each(lambda one: self._guarded(step, one), photos))

    def _guarded(self, step: Callable[[PhotoWork], None], one: PhotoWork) -> None:
        """Take a step for one photo; where it fails, or the photo is gone, its face is taken back; the others go on."""
        self._watch.alive()
        try:
            step(one)
        except BackendMisconfigured:
            raise
        except PhotoRejected as gone:  # the photo vanished between two steps, or the gallery refused its face
            one.judgement, one.searched = refused_by(gone), SearchResult()
            if one.begun:
                self._guarded(self._steps.withdraw, one)
        except Exception as error:  # a photo that makes a library fail must not stop the others
            if isinstance(error, BackendUnavailable | ClaimLost):
                one.retry_reason = error
            else:
                one.ended = outcome(one, "failed", f"{type(error).__name__}: {error}")
            if one.begun:
                with suppress(SelfiegateError):  # what is left is found by its unfinished row
                    self._steps.withdraw(one)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - began
