"""Answers of PostgreSQL that are lost on the way, after what was asked for has happened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.sequence import process_photo
from selfiegate.model import PhotoRef
from selfiegate.steps import inline
from tests.lines import Line
from tests.postgres import PostgresServer
from tests.runtimes import ScriptedRuntime, assert_consistent, runtime_on_postgres

pytestmark = [pytest.mark.system, pytest.mark.promise]

MOST_ANSWERS = 400
"""That one photo takes, by far."""


@pytest.fixture
def line(postgres: PostgresServer) -> Iterator[Line]:
    with closing(Line(postgres.port)) as line:
        yield line


@pytest.fixture
def rt(postgres: PostgresServer, line: Line, tmp_path: Path) -> ScriptedRuntime:
    url = postgres.database("answers").replace(f":{postgres.port}/", f":{line.port}/")
    return runtime_on_postgres(tmp_path, url, tmp_path / "thumbnails")


def test_any_answer_may_be_lost(rt: ScriptedRuntime, line: Line) -> None:
    done = list[tuple[PhotoRef, str]]()

    def enrol(nth: int, user: str) -> str:
        path = rt.settings.home / f"{user}-{nth}.png"
        path.write_bytes(scripted_photo(f"person-{nth}", size=(320, 240 + len(user))))
        done.append((rt.photos.find(str(path)), f"{user}_{nth}"))
        line.lose(nth)
        again = inline(rt, attempts=4, first_delay_s=0.02)
        return asyncio.run(process_photo(rt, again, *done[-1], f"run {user} {nth}")).status

    for nth in range(1, MOST_ANSWERS):
        assert enrol(nth, "first") == "accepted"
        whole = not line.was_cut
        assert enrol(nth, "second") == "rejected"
        if whole and not line.was_cut:
            break

    line.lose(0)
    assert 10 < nth < MOST_ANSWERS - 1
    assert_consistent(rt, *done)
