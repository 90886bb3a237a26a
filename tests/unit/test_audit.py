"""An audit in pages: it goes on where it stopped, holds little, and touches nothing that it cannot tell."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from selfiegate import audit
from selfiegate import thumbnails as thumbs
from selfiegate.audit import Kind
from selfiegate.audit.rounds import Bookmark
from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment import protocol
from selfiegate.enrolment.sequence import finish
from selfiegate.model import Claim, PhotoRef, Verdict
from selfiegate.paging import Page
from selfiegate.reconciliation import Line, Restarts, reconcile
from selfiegate.records import Erasure
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.runtimes import Meanwhile, ScriptedRuntime, replacing, scripted_runtime


@pytest.fixture
def rt(tmp_path: Path) -> ScriptedRuntime:
    return scripted_runtime(tmp_path, Settings(home=tmp_path, audit_pause_s=0))


def upload(rt: Runtime, name: str) -> PhotoRef:
    path = rt.settings.folder / f"{name}.png"
    path.write_bytes(scripted_photo(name))
    return rt.photos.find(str(path))


def enrolled(rt: Runtime, *users: str) -> list[PhotoRef]:
    """Let each user enrol."""
    photos = [upload(rt, user_id) for user_id in users]
    for photo, user_id in zip(photos, users, strict=True):
        finish(rt, protocol.claim_photo(rt, photo, user_id, "run"))
    return photos


def left_by_a_sleeper(rt: Runtime, user_id: str) -> None:
    """Leave face and thumbnails of a photo that was refused meanwhile."""
    photo = upload(rt, f"{user_id} and two")
    claim = rt.ledger.claim(photo, user_id, "run", 60, notify=False)
    rt.faces.enrol(photo, user_id)
    rt.thumbnails.put(f"{thumbs.folder(photo, user_id)}/250x250.jpg", b"", "image/jpeg")
    verdict = Verdict(status="rejected", user_id=user_id, photo=photo, model="m", policy="p")
    rt.ledger.decide(claim, verdict)


def audited(rt: Runtime, repair: bool = True) -> Sequence[Line]:
    """Audit as `reconcile` does; nothing else is to be done."""

    async def never(_: Claim | Erasure) -> str:
        raise AssertionError("nothing is to be run again")

    async def no_runs() -> int:
        return 0

    done = asyncio.run(reconcile(rt, inline(rt), Restarts(never, never, no_runs), audit=True, repair=repair))
    assert not done.failures
    return done.lines


def test_what_a_sleeper_left_is_removed_and_all_else_stays(rt: ScriptedRuntime) -> None:
    enrolled(rt, "ann", "bob")
    left_by_a_sleeper(rt, "eve")

    assert sorted(line.found for line in audited(rt)) == [Kind.FACE, Kind.THUMBNAIL]
    assert {face.user_id for face in rt.faces.faces()} == {"ann", "bob"}
    assert len(rt.thumbnails.keys()) == 2
    assert audited(rt) == []


def test_an_audit_that_was_killed_is_gone_on_with_where_it_was(rt: ScriptedRuntime) -> None:
    enrolled(rt, "ann", "bob")
    for stage in (Bookmark(stage="profiles"), Bookmark(stage="thumbnails")):
        audit.advance(rt, audit.begin(rt))

        assert audit.begin(rt).at == stage
    assert audited(rt) == []
    assert audit.begin(rt).at == Bookmark()


def test_what_was_found_and_not_repaired_is_found_again(rt: ScriptedRuntime) -> None:
    left_by_a_sleeper(rt, "eve")
    killed = audit.begin(rt)
    while not killed.found:
        audit.advance(rt, killed)

    assert audit.begin(rt).at == Bookmark()
    assert sorted(line.found for line in audited(rt)) == [Kind.FACE, Kind.THUMBNAIL]


def test_an_audit_whose_time_is_up_says_where_the_next_goes_on(rt: ScriptedRuntime) -> None:
    enrolled(rt, "ann", "bob")
    left_by_a_sleeper(rt, "eve")
    hasty = replace(rt, settings=rt.settings.model_copy(update={"audit_run_s": 0}))
    found = list[str]()
    for _ in range(20):
        lines = audited(hasty)
        found += [line.found for line in lines if line.found != "audit that stopped"]
        if not any(line.found == "audit that stopped" for line in lines):
            break

    assert sorted(found) == [Kind.FACE, Kind.THUMBNAIL]
    assert audited(rt) == []


class Small:
    """A store that gives out one thing a page."""

    def __init__(self, real: object) -> None:
        self._real = real

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def page(self, after: str = "", limit: int = 1, *more: object) -> Page[object]:
        page: Page[object] = self._real.page(after, 1, *more)  # type: ignore[attr-defined]
        return page

    def folders(self, after: str = "", limit: int = 1) -> Page[str]:
        page: Page[str] = self._real.folders(after, 1)  # type: ignore[attr-defined]
        return page

    def undecided(self, after: str = "", limit: int = 1) -> Page[tuple[str, str]]:
        page: Page[tuple[str, str]] = self._real.undecided(after, 1)  # type: ignore[attr-defined]
        return page


def in_small_pages(rt: ScriptedRuntime) -> ScriptedRuntime:
    for part in ("faces", "profiles", "thumbnails", "ledger"):
        rt = replacing(rt, part, Small(getattr(rt, part)))
    return rt


def test_pages_of_one_find_the_same(rt: ScriptedRuntime) -> None:
    photos = enrolled(rt, "ann", "bob", "carl", "dora")
    left_by_a_sleeper(rt, "eve")
    rt.ledger.claim(upload(rt, "fred"), "fred", "a run at work", 60)
    rt.thumbnails.put(f"{thumbs.folder(upload(rt, 'fred'), 'fred')}/1.jpg", b"", "image/jpeg")
    rt.thumbnails.remove(thumbs.folder(photos[0], "ann"))
    rt.faces.discard(photos[1], "bob")
    whole = audit.orphans(rt)
    one_by_one = audit.orphans(in_small_pages(rt))

    assert {orphan.kind for orphan in whole} == {Kind.FACE, Kind.THUMBNAIL, Kind.BARE_PROFILE, Kind.PROFILE}
    assert sorted(whole, key=repr) == sorted(one_by_one, key=repr)


@pytest.mark.parametrize(
    "damage",
    ["UPDATE profiles SET profile = ? WHERE user_id = 'ann'", "UPDATE claims SET photo = ? WHERE user_id = 'ann'"],
)
def test_nothing_of_a_user_whose_row_cannot_be_read_is_touched(rt: ScriptedRuntime, damage: str) -> None:
    enrolled(rt, "ann", "bob")
    with closing(sqlite3.connect(rt.settings.folder / "records.db")) as database, database:
        database.execute(damage, (json.dumps({"odd": 1}),))
    before = sorted(face.user_id for face in rt.faces.faces()), sorted(rt.thumbnails.keys())

    assert {line.found for line in audited(rt)} <= {Kind.UNREADABLE}
    assert (sorted(face.user_id for face in rt.faces.faces()), sorted(rt.thumbnails.keys())) == before


def test_a_run_ends_when_it_found_enough(rt: ScriptedRuntime) -> None:
    for n in range(audit.KEPT + 20):
        rt.thumbnails.put(f"user_{n}-0123456789abcdef/{n:032x}/1.jpg", b"", "image/jpeg")
    first, then = (Counter(line.found for line in audited(rt, repair=False)) for _ in range(2))

    assert first == {Kind.THUMBNAIL: audit.KEPT, "audit that stopped": 1}
    assert then == {Kind.THUMBNAIL: 20}


def anew(rt: ScriptedRuntime) -> None:
    """Let a new user enrol, and ann's photo be replaced."""
    enrolled(rt, "zoe")
    path = rt.settings.folder / "ann anew.png"
    path.write_bytes(scripted_photo("ann", size=(320, 250)))
    assert finish(rt, protocol.claim_photo(rt, rt.photos.find(str(path)), "ann", "run")).status == "accepted"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("part", "method"),
    [
        ("faces", "page"),
        ("profiles", "of"),
        ("profiles", "page"),
        ("faces", "held"),
        ("thumbnails", "folders"),
        ("ledger", "undecided"),
    ],
)
def test_what_changes_during_an_audit_is_no_finding(rt: ScriptedRuntime, part: str, method: str, after: bool) -> None:
    enrolled(rt, "ann", "bob")
    with ThreadPoolExecutor() as others:
        meanwhile = Meanwhile(getattr(rt, part), method, after, lambda: others.submit(anew, rt).result())

        assert audited(replacing(rt, part, meanwhile)) == []
        assert not meanwhile.left
    users = ["ann", "bob", "zoe"]
    assert sorted(face.user_id for face in rt.faces.faces()) == users
    assert sorted(profile.user_id for profile in rt.profiles.all()) == users
    assert len(rt.thumbnails.keys()) == 3
