"""Eight processes at once: starts them, collects what they say, and holds it against the promise."""

from __future__ import annotations

import multiprocessing as mp
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

from selfiegate.runtime import Runtime
from tests.runtimes import assert_consistent

PROCESSES = 8

Racer = Callable[[Any, int, int, Barrier, Any], None]
"""Takes where to race, its number, how many rounds, the barrier and a queue for (round, number, photo, status)."""


def assert_one_is_accepted_in_every_round(
    racer: Racer, where: Any, rounds: int, opened: Callable[[], Runtime]
) -> dict[int, int]:
    """Race for one face a round; user n of round m is called `user_n_m`. Returns round to the winner's number."""
    context = mp.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES, timeout=120), context.Queue()
    racers = [
        context.Process(target=racer, args=(where, number, rounds, barrier, results), daemon=True)
        for number in range(PROCESSES)
    ]
    for process in racers:
        process.start()
    found = [results.get(timeout=300) for _ in range(PROCESSES * rounds)]
    for process in racers:
        process.join(timeout=60)

    accepted = [sum(status == "accepted" for turn, _, _, status in found if turn == n) for n in range(rounds)]
    assert accepted == [1] * rounds
    assert_consistent(opened(), *((photo, f"user_{number}_{turn}") for turn, number, photo, _ in found))
    return {turn: number for turn, number, _, status in found if status == "accepted"}
