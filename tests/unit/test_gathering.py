"""Calls that share a call: everybody gets their own answer once, whoever fails, gives up or is interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfiegate.backends.insightface.gathering import Gathering
from selfiegate.errors import BackendUnavailable

HANG_S = 120.0
"""Bound on a test that would hang."""


Kind = Literal["plain", "wrong", "unprepared", "interrupted"]
KINDS: list[Kind] = ["plain", "plain", "plain", "wrong", "unprepared", "interrupted"]


@dataclass
class Caller:
    """One thread's call, and what became of it."""

    number: int
    kind: Kind
    starts_ms: int
    prepares_ms: int
    thread: int = 0
    answer: int | None = None
    error: BaseException | None = None
    seen: int = 0
    """How often the model answered it."""

    def call(self, gathering: Gathering[Caller, int]) -> None:
        self.thread = threading.get_ident()
        time.sleep(self.starts_ms / 1000)
        try:
            self.answer = gathering(self.prepare)
        except BaseException as error:
            self.error = error

    def prepare(self) -> Caller:
        time.sleep(self.prepares_ms / 1000)
        if self.kind == "unprepared":
            raise ZeroDivisionError(self.number)
        return self


@dataclass
class Model:
    """Doubles the callers' numbers; wrong ones fail, and an interrupt ends the call of the thread that it reaches."""

    seconds: float = 0.0
    sizes: list[int] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    def __call__(self, callers: Sequence[Caller]) -> list[int]:
        self.sizes.append(len(callers))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            time.sleep(self.seconds)
            for caller in callers:
                if caller.kind == "interrupted" and caller.thread == threading.get_ident():
                    raise KeyboardInterrupt
            if wrong := [caller.number for caller in callers if caller.kind == "wrong"]:
                raise ValueError(wrong)
            for caller in callers:
                caller.seen += 1
            return [2 * caller.number for caller in callers]
        finally:
            self.under_way -= 1


def run(callers: Sequence[Caller], gathering: Gathering[Caller, int]) -> None:
    threads = [threading.Thread(target=caller.call, args=(gathering,), daemon=True) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert not any(thread.is_alive() for thread in threads)


CALLERS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 4),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=16,
).map(lambda rows: [Caller(number, *row) for number, row in enumerate(rows)])


@given(
    callers=CALLERS, size=st.integers(1, 6), at_once=st.integers(1, 3), wait_ms=st.integers(0, 3), ms=st.integers(0, 3)
)
def test_everybody_gets_their_own_answer_once(
    callers: list[Caller], size: int, at_once: int, wait_ms: int, ms: int
) -> None:
    model = Model(ms / 1000)
    gathering = Gathering(model, size, wait_ms / 1000, at_once)
    run(callers, gathering)

    for caller in callers:
        match caller.kind:
            case "plain":
                assert (caller.answer, caller.seen) == (2 * caller.number, 1)
            case "wrong":
                assert isinstance(caller.error, ValueError)
                assert caller.error.args == ([caller.number],)
            case "unprepared":
                assert isinstance(caller.error, ZeroDivisionError)
            case "interrupted":  # by an interrupt that reached it, or answered by another's call
                assert isinstance(caller.error, KeyboardInterrupt) or caller.answer == 2 * caller.number
    assert max(model.sizes, default=0) <= size
    assert model.most <= at_once
    assert gathering(lambda: Caller(99, "plain", 0, 0)) == 198


@given(callers=CALLERS, size=st.integers(1, 4), patience_ms=st.integers(1, 20), ms=st.integers(0, 20))
def test_who_gives_up_leaves_the_others_their_answers(
    callers: list[Caller], size: int, patience_ms: int, ms: int
) -> None:
    gathering = Gathering(Model(ms / 1000), size, 0.001, 1, patience_ms / 1000)
    run(callers, gathering)

    for caller in callers:
        if caller.kind == "plain":
            gave_up = isinstance(caller.error, BackendUnavailable)
            assert gave_up or (caller.answer, caller.seen) == (2 * caller.number, 1)
    assert gathering(lambda: Caller(99, "plain", 0, 0)) == 198


def test_a_caller_alone_does_not_wait_for_others() -> None:
    alone, model = Caller(1, "plain", 0, 0), Model()
    run([alone], Gathering(model, 8, wait_s=10 * HANG_S))

    assert alone.answer == 2


def test_a_caller_waits_for_one_who_prepares() -> None:
    first, second, model = Caller(1, "plain", 20, 0), Caller(2, "plain", 0, 300), Model()
    run([first, second], Gathering(model, 8, wait_s=10 * HANG_S))

    assert model.sizes == [2]


def test_a_caller_does_not_wait_longer_than_it_may() -> None:
    prepared = threading.Event()
    gathering = Gathering[int, int](lambda numbers: [2 * number for number in numbers], 8, wait_s=0.01)

    def slowly() -> int:
        prepared.wait(HANG_S)
        return 2

    slow = threading.Thread(target=gathering, args=(slowly,), daemon=True)
    slow.start()
    answer = gathering(lambda: 1)  # would hang, for nobody else lets the slow one go on
    prepared.set()
    slow.join(HANG_S)

    assert answer == 2
    assert not slow.is_alive()


def test_callers_gather_while_a_call_is_under_way() -> None:
    begun, go_on, sizes = threading.Event(), threading.Event(), list[int]()

    def model(numbers: Sequence[int]) -> Sequence[int]:
        sizes.append(len(numbers))
        begun.set()
        go_on.wait(HANG_S)
        return numbers

    gathering = Gathering(model, 8, wait_s=0, at_once=1)
    threads = [threading.Thread(target=gathering, args=(lambda: 1,), daemon=True) for _ in range(6)]
    threads[0].start()
    begun.wait(HANG_S)
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + HANG_S
    while len(gathering._waiting) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join(HANG_S)

    assert sizes == [1, 5]


def test_a_call_that_hangs_is_given_up_by_those_who_wait_for_it() -> None:
    begun, hang = threading.Event(), threading.Event()

    def model(numbers: Sequence[int]) -> Sequence[int]:
        begun.set()
        hang.wait(HANG_S)
        return numbers

    gathering = Gathering(model, 1, 0, at_once=1, patience_s=0.05)
    stuck = threading.Thread(target=gathering, args=(lambda: 1,), daemon=True)
    stuck.start()
    begun.wait(HANG_S)
    with pytest.raises(BackendUnavailable, match="the model gave no answer"):
        gathering(lambda: 2)
    hang.set()
    stuck.join(HANG_S)

    assert not stuck.is_alive()
    assert gathering(lambda: 3) == 3


def test_nothing_is_left_to_shut_down() -> None:
    before = threading.active_count()
    run([Caller(n, "plain", 0, 0) for n in range(5)], Gathering(Model(), 2, 0.001))

    assert threading.active_count() == before
