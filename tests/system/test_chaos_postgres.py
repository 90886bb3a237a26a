"""The same races where records and faces lie in PostgreSQL, which is killed, cut off, and out of connections.

`CHAOS_ROUNDS` (`make chaos`) asks for more, with other dice each time.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.sequence import process_photo
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.chaos.play import CAST, play, strikes
from tests.chaos.rounds import BOTH, CALLS, Tally
from tests.chaos.worker import Fate, Strike, Where
from tests.lines import Line
from tests.postgres import PATIENCE_S, PostgresServer
from tests.runtimes import assert_consistent, runtime_on_postgres

pytestmark = [pytest.mark.system, pytest.mark.promise]

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "0"))
NOBODY: list[Strike | None] = [None] * len(CAST)


class Stage(NamedTuple):
    """A server of this test's own, and a line to it."""

    server: PostgresServer
    line: Line
    folder: Path
    people: dict[tuple[str, str], str]
    """Whom each photo of all rounds shows."""

    def where(self, by_line: bool = False) -> Where:
        """Return a place to race on, the same in all rounds; `by_line`: on a line that may be cut."""
        url = self.server.url("chaos")
        line = url.replace(f":{self.server.port}/", f":{self.line.port}/") if by_line else ""
        return Where(self.folder / "home", database=url, line=line, people=self.people)


@pytest.fixture
def stage(memory: Path) -> Iterator[Stage]:
    server = PostgresServer()
    try:
        server.database("chaos")
        with closing(Line(server.port)) as line:
            yield Stage(server, line, memory, {})
    finally:
        server.stop()


def killed(stage: Stage, after_s: float) -> Callable[[], None]:
    def kill() -> None:
        time.sleep(after_s)
        stage.server.kill()
        stage.server.start()

    return kill


def cut(stage: Stage, after_s: float, for_s: float) -> Callable[[], None]:
    def cut_line() -> None:
        time.sleep(after_s)
        stage.line.cut_for(for_s)
        time.sleep(for_s)

    return cut_line


@pytest.mark.parametrize("fate", ["kill before", *(pytest.param(fate, marks=pytest.mark.slow) for fate in BOTH[2:])])
def test_whatever_befalls_each_call_postgresql_keeps_the_promises(stage: Stage, fate: Fate) -> None:
    tally, where = Tally(), stage.where()
    broken = {at: found for at in range(5) if (found := play(where, at, strikes(at, fate), tally))}
    print(f"{fate}: {tally}")

    assert not broken
    assert sum(tally.fates.values()) > tally.rounds


@pytest.mark.parametrize("turns", [3, pytest.param(15, marks=pytest.mark.slow)])
def test_a_server_that_is_killed_in_every_round_keeps_the_promises(stage: Stage, turns: int) -> None:
    tally, dice = Tally(), random.Random(1)  # noqa: S311  no secret
    broken = {}
    for at in range(turns):
        if found := play(stage.where(), at, NOBODY, tally, meanwhile=killed(stage, dice.uniform(0, 0.8))):
            broken[at] = found
    print(tally)

    assert not broken


@pytest.mark.parametrize("for_s", [1.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_a_line_that_is_cut_for_a_while_in_mid_protocol_keeps_the_promises(stage: Stage, for_s: float) -> None:
    tally, dice = Tally(), random.Random(1)  # noqa: S311  no secret
    broken = {}
    for at in range(3):
        meanwhile = cut(stage, dice.uniform(0.1, 0.8), for_s)
        if found := play(stage.where(by_line=True), at, NOBODY, tally, meanwhile=meanwhile):
            broken[at] = found
    print(tally)

    assert not broken


def test_more_threads_than_connections_end_with_one_verdict_each(stage: Stage) -> None:
    home, users = stage.folder / "home", 24
    settings = Settings(home=home, store_patience_s=0.5)
    rt = runtime_on_postgres(home, stage.server.url("chaos"), home / "thumbnails", settings, size=2)
    again = inline(rt, attempts=20, first_delay_s=0.01)
    photos = []
    for n in range(users):
        path = home / f"{n}.png"
        path.write_bytes(scripted_photo(f"person {n // 3}", size=(96, 96 + n)))
        photos.append((rt.photos.find(str(path)), f"user_{n}"))

    with ThreadPoolExecutor(users) as pool:
        work = [
            pool.submit(lambda one: asyncio.run(process_photo(rt, again, *one, f"run {one[1]}")), one) for one in photos
        ]
        verdicts = [done.result(PATIENCE_S).status for done in work]

    assert [sum(status == "accepted" for status in verdicts[n : n + 3]) for n in range(0, users, 3)] == [1] * 8
    assert_consistent(rt, *photos)


@pytest.mark.skipif(not ROUNDS, reason="CHAOS_ROUNDS asks for it")
def test_the_long_run_on_postgresql(stage: Stage) -> None:
    """Strike at random: other calls, other fates, other instants each time; the seed is printed."""
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))  # noqa: S311  no secret
    dice, tally, broken = random.Random(seed), Tally(), {}  # noqa: S311
    for turn in range(ROUNDS // 5):
        fates: tuple[Fate | None, ...] = (None, *BOTH)
        blows = [Strike(dice.randint(1, CALLS), fate) if (fate := dice.choice(fates)) else None for _ in CAST]
        kind = dice.choice(["calls", "instants", "server", "line", "long cut" if turn % 10 == 9 else "line"])
        at_any_instant = dice if kind == "instants" else None
        plan = NOBODY if at_any_instant else blows
        meanwhile: Callable[[], object] = lambda: None  # noqa: E731
        if kind == "server":
            meanwhile = killed(stage, dice.uniform(0, 0.8))
        elif kind in ("line", "long cut"):
            meanwhile = cut(stage, dice.uniform(0, 0.8), 30 if kind == "long cut" else dice.uniform(0.1, 2))
        tally.fates[kind] += 1
        if found := play(stage.where("l" in kind), turn, plan, tally, at_any_instant, meanwhile=meanwhile):
            broken[turn] = (kind, plan, found)
            print(f"seed {seed}, round {turn}: {kind}, {plan}: {found}", flush=True)
        if turn % 25 == 24:
            print(f"seed {seed}: {tally}", flush=True)
    print(f"seed {seed}: {tally}")

    assert not broken
