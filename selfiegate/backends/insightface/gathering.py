"""Lets the calls that many threads make in the same moment share one call of a model.

There is no thread beside the callers: the first to arrive leads. It waits for those who are preparing their input,
takes all that arrived, calls the model for them, and hands each its own answer. While a call is under way the next
callers gather, so a busy device is given full batches without anybody waiting for them, and a caller alone does not
wait at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from selfiegate.errors import BackendUnavailable

T = TypeVar("T")
R = TypeVar("R")

PATIENCE_S = 60.0
"""The longest that a caller waits for another's call; a call that hangs itself is found by `selfiegate.stuck`."""


class _Place(Generic[T, R]):
    """One caller's input, and what comes of it."""

    def __init__(self, item: T) -> None:
        self.item, self.arrived_at = item, time.monotonic()
        self.woken = threading.Event()
        """Set once there is an answer or an error, or once the caller has to lead."""
        self.leads = self.left = False
        self.answer: list[R] = []
        self.error: Exception | None = None

    @property
    def ended(self) -> bool:
        return bool(self.answer) or self.error is not None


class Gathering(Generic[T, R]):
    """Calls a model for up to `size` callers at once; may be used from any number of threads."""

    def __init__(
        self,
        model: Callable[[Sequence[T]], Sequence[R]],
        size: int,
        wait_s: float,
        at_once: int = 2,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`model` returns an answer for each input, in their order; `at_once` calls of it may be under way.

        A caller waits at most `wait_s` for others who prepare their input, and for calls that are under way.
        """
        self._model, self._size, self._wait_s = model, size, wait_s
        self._at_once, self._patience_s = at_once, patience_s
        self._changed = threading.Condition()
        self._waiting: list[_Place[T, R]] = []
        self._preparing = self._under_way = 0
        self._leader: _Place[T, R] | None = None

    def __call__(self, prepare: Callable[[], T]) -> R:
        """Return the model's answer for the input that `prepare` makes.

        Raises what the model raises for this input alone, and `BackendUnavailable` where the others' call hangs.
        """
        place = self._arrive(prepare)
        try:
            while not place.ended:
                if not place.woken.wait(self._patience_s):
                    raise BackendUnavailable(f"the model gave no answer for {self._patience_s:.0f} s; it may hang")
                if place.leads and not place.ended:
                    self._lead(place)
        finally:
            self._leave(place)
        if place.error:
            raise place.error
        return place.answer[0]

    def _arrive(self, prepare: Callable[[], T]) -> _Place[T, R]:
        with self._changed:
            self._preparing += 1
        arrived: list[_Place[T, R]] = []
        try:
            arrived.append(_Place(prepare()))
        finally:
            with self._changed:
                self._preparing -= 1
                self._waiting += arrived
                self._appoint()
                self._changed.notify_all()  # the leader alone waits here
        return arrived[0]

    def _appoint(self) -> None:
        """Let the first in the row lead, where nobody does and a call may be made."""
        if self._leader is None and self._waiting and self._under_way < self._at_once:
            self._leader = self._waiting[0]
            self._leader.leads = True
            self._leader.woken.set()

    def _lead(self, place: _Place[T, R]) -> None:
        """Gather, call the model, and give everybody their answer."""
        with self._changed:
            until = place.arrived_at + self._wait_s
            while self._preparing and len(self._waiting) < self._size and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            self._under_way += 1
            self._retire(place)
        try:
            self._answer(batch)
        finally:
            with self._changed:
                self._under_way -= 1
                # Where this thread was interrupted, the others' turn comes again.
                self._waiting[:0] = [one for one in batch if not (one.ended or one.left or one is place)]
                self._appoint()

    def _retire(self, place: _Place[T, R]) -> None:
        if self._leader is place:
            place.leads, self._leader = False, None
            place.woken.clear()
        self._appoint()

    def _leave(self, place: _Place[T, R]) -> None:
        """Let the others go on without a caller who has an answer, or gave up."""
        with self._changed:
            place.left = True
            if place in self._waiting:
                self._waiting.remove(place)
            self._retire(place)

    def _answer(self, batch: Sequence[_Place[T, R]]) -> None:
        """Call the model for all, or where that fails for each alone: an error is then of the input that caused it."""
        try:
            answers = self._model([place.item for place in batch])
        except Exception as error:  # whatever a runtime raises
            if len(batch) == 1:
                batch[0].error = error
                batch[0].woken.set()
                return
            for place in batch:
                self._answer([place])
            return
        for place, answer in zip(batch, answers, strict=True):
            place.answer.append(answer)
            place.woken.set()
