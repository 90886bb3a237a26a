"""A process is killed while it takes a face back from the younger of two users; the next one ends what it began."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from selfiegate.audit.rounds import orphans
from selfiegate.backends.embedding import EmbeddingBackend
from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.clock import LAST_MOMENT
from selfiegate.enrolment.sequence import process_photo
from selfiegate.late_looks import LATE, look_again
from selfiegate.model import Claim, Match
from selfiegate.reconciliation import Restarts, reconcile
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.thumbnails import home as home_of
from tests.chaos.rounds import PATIENCE_S, context
from tests.present import present
from tests.protocol.meetings import WRITES_OF_A_LOSS
from tests.runtimes import THRESHOLDS, Meanwhile, ScriptedRuntime, replacing, scripted_runtime

pytestmark = [pytest.mark.system, pytest.mark.promise]


def opened(home: Path) -> ScriptedRuntime:
    return scripted_runtime(home, Settings(home=home, recheck_after_s=0.001))


class Misses:
    """A gallery whose searches find nothing: its recall at its worst."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def search(self, *_: Any) -> list[Match]:
        return []


def accept(rt: ScriptedRuntime, user_id: str) -> None:
    """Accept the one person for a user while searches find nothing."""
    path = rt.settings.folder / user_id / "1.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(scripted_photo("one person", size=(320, 240 + len(user_id))))
    photos: Any = rt.photos
    real: Any = rt.faces
    gallery: Any = Misses(real._gallery)
    missing = EmbeddingBackend(ScriptedAnalyser(), gallery, photos, rt.settings.photos, THRESHOLDS)
    rt = replacing(rt, "faces", missing)
    row = asyncio.run(process_photo(rt, inline(rt), rt.photos.find(str(path)), user_id, "a run"))
    assert row.status == "accepted", row.verdict


def look_and_die(home: Path, part: str, method: str, after: bool) -> None:
    """Look accepted faces up once more, and be killed at one of the calls."""
    rt = opened(home)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    look_again(replacing(rt, part, Meanwhile(getattr(rt, part), method, after, die)))


def reconciled(rt: ScriptedRuntime) -> list[tuple[str, str]]:
    async def photo(row: Claim) -> str:
        return present(
            (await process_photo(rt, inline(rt), row.photo, row.user_id, "next", notify=False)).verdict
        ).outcome

    async def none(_: object = None) -> Any:
        return 0

    done = asyncio.run(reconcile(rt, inline(rt), Restarts(photo, none, none)))
    return [(line.found, line.user) for line in done.lines]


def killed(home: Path, part: str, method: str, after: bool) -> ScriptedRuntime:
    """Accept one person for two users, and let a process that looks be killed at a call."""
    rt = opened(home)
    for user_id in ("ann", "robert"):
        accept(rt, user_id)
    process = context.Process(target=look_and_die, args=(home, part, method, after), daemon=True)
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL
    return rt


def assert_held_by_ann(rt: ScriptedRuntime) -> None:
    """Hold that nothing is left of the other user but a refusal that was told once."""
    (row,) = rt.ledger.claims_of("robert")
    due = {row.user_id for row in rt.ledger.to_look_at(LAST_MOMENT, 10)}
    assert (row.status, row.notice, due - {"ann"}) == ("rejected", "sent", set())
    assert [verdict.user_id for verdict in rt.notifier.sent] == ["robert"]
    assert [profile.user_id for profile in rt.profiles.all()] == ["ann"]
    assert [face.user_id for face in rt.faces.faces()] == ["ann"]
    assert all(key.startswith(home_of("ann")) for key in rt.thumbnails.keys())  # noqa: SIM118  a store
    assert orphans(rt) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("part", "method"), WRITES_OF_A_LOSS)
def test_a_process_that_is_killed_leaves_the_rest_to_the_next(
    tmp_path: Path, part: str, method: str, after: bool
) -> None:
    rt = killed(tmp_path, part, method, after)
    found = reconciled(rt) + reconciled(rt)

    told = (part, method, after) == ("ledger", "lose", True)
    assert found == [("untold user" if told else LATE, "robert")]
    assert_held_by_ann(rt)


@pytest.mark.parametrize(("part", "method"), WRITES_OF_A_LOSS[:-1])
def test_a_backfill_that_lists_the_photo_meanwhile_changes_nothing(tmp_path: Path, part: str, method: str) -> None:
    rt = killed(tmp_path, part, method, after=True)
    (row,) = rt.ledger.claims_of("robert")
    with ThreadPoolExecutor(1) as vision, ThreadPoolExecutor(2) as io:
        listed = [Entry(uri=row.photo.uri, user_id="robert")]
        outcomes, to_retry = Chunk(rt, "a backfill", vision, io, local=True).run(listed)

    assert ([one.status for one in outcomes], list(to_retry)) == (["skipped"], [])
    assert rt.ledger.claims_of("robert") == [row]
    reconciled(rt)
    assert_held_by_ann(rt)
