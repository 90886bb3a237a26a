"""What every queue of photo events promises the bridge."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from selfiegate.event_queue import MOST, EventQueue, Message

PATIENCE_S = 120.0
MOST_DELIVERIES = 3
"""The queues of these tests give a message up after so many."""


class QueueContract:
    """Subclasses give `open_queue`, for handles of as many processes, and `dead`: bodies with their reasons."""

    delivers_once = False
    """To one of those who ask at the same moment; SQS may deliver to two, and so does moto's server."""

    open_queue: Callable[[], EventQueue]
    dead: Callable[[], Sequence[tuple[str, str | None]]]

    @pytest.fixture
    def queue(self) -> EventQueue:
        return self.open_queue()

    def test_what_is_put_is_received(self, queue: EventQueue) -> None:
        began = time.time()
        queue.put('{"key": "rider 7/\\u00f6 \\ud800 \\u0000"}')
        (message,) = queue.receive(10, 0, 60)

        assert message.body == '{"key": "rider 7/\\u00f6 \\ud800 \\u0000"}'
        assert abs(message.sent_at - began) < PATIENCE_S
        assert message.deliveries == 1
        assert message.id

    def test_those_that_nobody_has_are_counted(self, queue: EventQueue) -> None:
        for n in range(3):
            queue.put(str(n))
        before, (one,) = self.open_queue().waiting(), queue.receive(1, 0, 60)
        while_kept = queue.waiting()
        queue.delete(one)

        assert (before, while_kept, queue.waiting()) == (3, 2, 2)

    def test_a_large_message_is_kept_whole(self, queue: EventQueue) -> None:
        queue.put("é😀" * 40_000)
        (message,) = queue.receive(10, 0, 60)

        assert message.body == "é😀" * 40_000

    def test_a_message_that_somebody_has_is_kept_from_others(self, queue: EventQueue) -> None:
        queue.put("one")
        queue.receive(10, 0, 60)

        assert self.open_queue().receive(10, 0, 60) == []

    def test_it_comes_again_once_its_time_is_over(self, queue: EventQueue) -> None:
        queue.put("one")
        (first,) = queue.receive(10, 0, 1)
        (again,) = received(self.open_queue(), 1)

        assert (again.id, again.body, again.sent_at) == (first.id, first.body, first.sent_at)
        assert (first.deliveries, again.deliveries) == (1, 2)
        assert again.receipt != first.receipt

    def test_it_can_be_kept_for_longer(self, queue: EventQueue) -> None:
        queue.put("one")
        (message,) = queue.receive(10, 0, 1)
        kept = queue.extend(message, 60)
        time.sleep(1.5)

        assert kept
        assert self.open_queue().receive(10, 0, 60) == []

    def test_it_can_be_given_back_at_once_or_later(self, queue: EventQueue) -> None:
        queue.put("one")
        (first,) = queue.receive(10, 0, 60)
        queue.extend(first, 0)
        (second,) = queue.receive(10, 0, 60)
        queue.extend(second, 1)

        assert queue.receive(10, 0, 60) == []
        assert [message.deliveries for message in received(queue, 1)] == [3]

    def test_what_is_settled_is_gone(self, queue: EventQueue) -> None:
        queue.put("one")
        (message,) = queue.receive(10, 0, 0)
        queue.delete(message)
        queue.delete(message)

        assert not queue.extend(message, 60)
        assert queue.receive(10, 0, 60) == []
        assert self.dead() == []

    def test_one_call_returns_no_more_than_was_asked_for(self, queue: EventQueue) -> None:
        for number in range(MOST + 5):
            queue.put(str(number))
        three, most = queue.receive(3, 0, 60), queue.receive(100, 0, 60)

        assert len(three) <= 3
        assert len(most) <= MOST
        assert not {message.id for message in three} & {message.id for message in most}

    def test_of_many_who_take_at_once_somebody_has_each_message(self, queue: EventQueue) -> None:
        for number in range(200):
            queue.put(str(number))
        at_once = threading.Barrier(8, timeout=PATIENCE_S)

        def take(other: EventQueue) -> list[Message]:
            found = list[Message]()
            other.check()
            at_once.wait()
            while more := other.receive(2, 0, 600):
                found += more
            return found

        with ThreadPoolExecutor(8) as pool:
            taken = [message for each in pool.map(take, [self.open_queue() for _ in range(8)]) for message in each]

        bodies = sorted(int(message.body) for message in taken)
        assert (bodies if self.delivers_once else sorted(set(bodies))) == list(range(200))

    def test_an_empty_queue_is_waited_for_as_long_as_was_said(self, queue: EventQueue) -> None:
        began = time.monotonic()
        nothing = queue.receive(10, 1, 60)
        waited_s = time.monotonic() - began
        threading.Timer(0.5, self.open_queue().put, ["one"]).start()
        found = queue.receive(10, 20, 60)

        assert nothing == []
        assert 0.9 <= waited_s < PATIENCE_S
        assert [message.body for message in found] == ["one"]

    def test_what_is_buried_is_dead_with_its_reason(self, queue: EventQueue) -> None:
        queue.put("wrong")
        queue.put("right")
        messages = received(queue, 2)
        buried = queue.bury(
            next(one for one in messages if one.body == "wrong"), "no\x00\x1b[31m\nuser\ufffe" + 2000 * "é"
        )
        queue.extend(next(one for one in messages if one.body == "right"), 0)

        ((body, reason),) = self.dead()
        assert buried
        assert (body, reason) == ("wrong", ("no��[31m�user�" + 2000 * "é")[:1000])
        assert [message.body for message in received(queue, 1)] == ["right"]

    def test_what_was_delivered_too_often_in_vain_is_dead(self, queue: EventQueue) -> None:
        queue.put("one")
        deliveries = list[int]()
        for _ in range(MOST_DELIVERIES):
            (message,) = received(queue, 1)
            deliveries.append(message.deliveries)
            queue.extend(message, 0)

        assert deliveries == list(range(1, MOST_DELIVERIES + 1))
        assert self.open_queue().receive(10, 0, 60) == []
        assert [body for body, _ in self.dead()] == ["one"]

    def test_a_queue_that_is_there_is_fine(self, queue: EventQueue) -> None:
        queue.check()

        assert queue.place


def received(queue: EventQueue, count: int) -> list[Message]:
    """Take so many messages, however few come at once."""
    found, end = list[Message](), time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < end
        found += queue.receive(count - len(found), 1, 60)
    return found
