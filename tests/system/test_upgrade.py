"""Two versions of the package at once on one home folder: an upgrade while the older one works, and the way back."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.stores.sqlite_schema import RECORDS
from tests.present import present
from tests.runtimes import assert_consistent, scripted_runtime
from tests.system.newer_version import make_newer_version

pytestmark = [pytest.mark.system, pytest.mark.promise]

WORKER = '''
"""Obeys one order a line: [what, user, photo], and says how it ended."""
import asyncio, json, sys
from pathlib import Path
from selfiegate.enrolment.protocol import claim_photo, enrol_face
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import SelfiegateError
from selfiegate.model import Verdict
from selfiegate.privacy.sequence import forget_user
from selfiegate.steps import inline
from tests.runtimes import scripted_runtime

rt, run = scripted_runtime(Path(sys.argv[1])), sys.argv[2]
print("newer" if "later" in Verdict.model_fields else "older", flush=True)
for line in sys.stdin:
    what, user, path = json.loads(line)
    try:
        if what == "forget":
            done = asyncio.run(forget_user(rt, inline(rt), user, f"{run} {user}")).removed
        else:
            claim = claim_photo(rt, rt.photos.find(path), user, f"{run} {path}")
            if what == "die":  # enrolled, and never heard of again
                enrol_face(rt, claim)
                rt.ledger.renew(claim, -1)
            done = claim.status if what == "die" or claim.verdict else finish(rt, claim).status
    except SelfiegateError as error:
        done = f"{type(error).__name__}: {error}"
    print(json.dumps(done), flush=True)
'''


class Process:
    """A process of one version."""

    def __init__(self, home: Path, version: str, package: Path, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(home), name],
            cwd=package,
            env={**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == version

    def order(self, what: str, user: str, photo: Path | str = "") -> None:
        stdin = present(self._process.stdin)
        stdin.write(json.dumps([what, user, str(photo)]) + "\n")
        stdin.flush()

    def answer(self) -> object:
        return json.loads(self._line())

    def obey(self, what: str, user: str, photo: Path | str = "") -> object:
        self.order(what, user, photo)
        return self.answer()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        line = present(self._process.stdout).readline().strip()
        assert line, "the process died"
        return line


Start = Callable[[str], Process]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    newer = make_newer_version(tmp_path / "newer-version")
    (newer / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "home").mkdir()
    started: list[Process] = []

    def begin(version: str) -> Process:
        package = newer if version == "newer" else ROOT
        started.append(Process(tmp_path / "home", version, package, f"{version} {len(started)}"))
        return started[-1]

    yield begin
    for process in started:
        process.end()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def selfie(home: Path, person: str, number: int) -> Path:
    path = home / f"{person}-{number}.png"
    path.write_bytes(scripted_photo(person, size=(320, 240 + number)))
    return path


def held(home: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(home / "records.db")) as database:
        return database.execute(sql).fetchall()


def test_older_processes_go_on_while_newer_ones_start_and_one_face_stays_one_account(home: Path, start: Start) -> None:
    older = [start("older") for _ in range(2)]
    assert older[0].obey("process", "first", selfie(home, "first", 0)) == "accepted"
    newer = [start("newer") for _ in range(2)]
    older.append(start("older"))  # what is rolled back starts beside them
    for turn in range(4):
        racers = list(enumerate([*older, *newer]))
        for number, process in racers:
            process.order("process", f"user_{number}_{turn}", selfie(home, f"person-{turn}", number))
        ends = [process.answer() for _, process in racers]

        assert sorted(map(str, ends)) == ["accepted", *["rejected"] * (len(racers) - 1)]
    assert held(home, "PRAGMA user_version") == [(len(RECORDS.migrations) + 1,)]


@pytest.mark.parametrize(("one", "other"), [("newer", "older"), ("older", "newer")])
def test_each_version_finishes_replaces_and_forgets_what_the_other_one_left(
    home: Path, start: Start, one: str, other: str
) -> None:
    first, second = start(one), start(other)
    if one == "older":
        first.end()
        first = start(one)  # after the migration
    assert first.obey("die", "ann", selfie(home, "ann", 0)) == "pending"
    assert first.obey("process", "bob", selfie(home, "bob", 0)) == "accepted"
    assert first.obey("process", "cid", selfie(home, "cid", 0)) == "accepted"
    assert second.obey("process", "eve", selfie(home, "ann", 1)) == "rejected"  # ann's claim is older
    assert second.obey("process", "ann", selfie(home, "ann", 0)) == "accepted"
    assert second.obey("process", "bob", selfie(home, "bob", 2)) == "accepted"
    assert second.obey("process", "bob", selfie(home, "bob", 0)) == "accepted"  # as it was decided
    assert second.obey("forget", "cid") != {}
    assert first.obey("process", "ann", selfie(home, "ann", 3)) == "accepted"
    assert first.obey("process", "eve", selfie(home, "ann", 1)) == "rejected"
    assert first.obey("forget", "bob") != {}

    rt = scripted_runtime(home)
    assert [profile.user_id for profile in rt.profiles.all()] == ["ann"]
    assert_consistent(rt, (rt.photos.find(str(selfie(home, "ann", 3))), "ann"))
    assert held(home, "SELECT count(*) FROM profiles WHERE profile ->> 'later' = 'unknown'") == [(1,)]
