"""A face is given time to be found by searches, counted from when it was indexed here."""

from __future__ import annotations

import time

from selfiegate.backends.rekognition_settling import Settling


def test_a_face_that_was_just_indexed_is_waited_for() -> None:
    settling, begun = Settling(0.3), time.monotonic()
    settling.note("face")
    settling.wait("face")

    assert time.monotonic() - begun >= 0.3


def test_the_first_time_counts_however_often_it_is_indexed_again() -> None:
    settling = Settling(3600)

    assert settling.note("face") == settling.note("face")


def test_a_face_of_another_process_is_waited_for_from_now() -> None:
    settling, begun = Settling(0.3), time.monotonic()
    settling.wait("face")

    assert time.monotonic() - begun >= 0.3


def test_old_faces_are_forgotten_and_new_ones_are_not() -> None:
    settling = Settling(0)
    first = settling.note("first")
    last = [settling.note(str(number)) for number in range(1000)][-1]

    assert settling.note("999") == last
    assert settling.note("first") > first
