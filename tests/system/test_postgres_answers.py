"""Answers of PostgreSQL that are lost on the way, after what was asked for has happened."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.enrolment.sequence import process_photo
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.model import PhotoRef
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.stores.postgres_records import postgres_records
from tests.postgres import PostgresServer
from tests.runtimes import ScriptedRuntime, assert_consistent, scripted_over

pytestmark = [pytest.mark.system, pytest.mark.promise]

MOST_ANSWERS = 400
"""That one photo takes, by far."""


class Line:
    """A line to a server, which is cut once in the place of passing on an answer."""

    def __init__(self, port: int) -> None:
        self._to, self._left = ("127.0.0.1", port), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def lose(self, nth: int) -> None:
        """Cut it in the place of the answer to this request from now; 0: never."""
        self._left = nth

    @property
    def was_cut(self) -> bool:
        """Say whether there were as many requests."""
        return self._left <= 0

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._to) as server:
            cut = False
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for one, other in ((client, server), (server, client)):
                    if one in ready:
                        data = one.recv(1 << 20)
                        if one is client and data[:1] in (b"Q", b"P", b"B"):  # a statement
                            self._left -= 1
                            cut = self._left == 0
                        if not data or (one is server and cut):
                            return
                        other.sendall(data)


@pytest.fixture
def line(postgres: PostgresServer) -> Iterator[Line]:
    with closing(Line(postgres.port)) as line:
        yield line


@pytest.fixture
def rt(postgres: PostgresServer, line: Line, tmp_path: Path) -> ScriptedRuntime:
    url = postgres.database("answers").replace(f":{postgres.port}/", f":{line.port}/")
    records = postgres_records(PostgresDatabase(url, size=4))
    gallery = SqliteGallery(tmp_path / "gallery.db", ScriptedAnalyser.model, records=records)
    return scripted_over(tmp_path, Settings(home=tmp_path), records, gallery)


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
