"""One row that cannot be read keeps nobody else back."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import UnreadableRow
from selfiegate.model import Claim, PhotoRef
from selfiegate.privacy.export import export_user
from selfiegate.privacy.sequence import forget_user
from selfiegate.reconciliation import Reconciled, Restarts, reconcile
from selfiegate.records import Erasure
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.runtimes import ScriptedRuntime, scripted_runtime

DAMAGE = {
    "claim": "UPDATE claims SET status = 'paused' WHERE user_id = 'ann'",
    "claim's verdict": "UPDATE claims SET verdict = substr(verdict, 2) WHERE user_id = 'ann'",
    "profile": "UPDATE profiles SET profile = substr(profile, 2) WHERE user_id = 'ann'",
    "erasure": "INSERT INTO erasures (user_id, revision, finished, erasure) VALUES ('ann', 3, 0, '{')",
}


@pytest.fixture
def rt(tmp_path: Path) -> ScriptedRuntime:
    return scripted_runtime(tmp_path, Settings(home=tmp_path, audit_pause_s=0))


def uploaded(rt: ScriptedRuntime, user_id: str, person: str = "") -> PhotoRef:
    path = rt.settings.folder / f"{user_id}.png"
    path.write_bytes(scripted_photo(person or user_id))
    return rt.photos.find(str(path))


def damage(rt: ScriptedRuntime, sql: str) -> None:
    with closing(sqlite3.connect(rt.settings.folder / "records.db")) as database, database:
        database.execute(sql)


async def at_once(_: float) -> None:
    """Wait for no lease."""


def reconciled(rt: ScriptedRuntime, repair: bool = False) -> tuple[Reconciled, list[str]]:
    again = list[str]()

    async def photo(row: Claim) -> str:
        again.append(row.user_id)
        return "Accepted"

    async def erasure(erasure: Erasure) -> str:
        again.append(f"erasure of {erasure.user_id}")
        return "Forgotten"

    async def no_runs() -> int:
        return 0

    restarts = Restarts(photo, erasure, no_runs)
    return asyncio.run(reconcile(rt, inline(rt, attempts=1), restarts, audit=repair, repair=repair)), again


@pytest.mark.parametrize(
    "sql",
    [
        DAMAGE["claim"],
        "UPDATE claims SET photo = '[]' WHERE user_id = 'ann'",
        "UPDATE claims SET contests = '[' WHERE user_id = 'ann'",
        "UPDATE claims SET attempt = 'often' WHERE user_id = 'ann'",
        "UPDATE claims SET photo = CAST(x'ff' AS TEXT) WHERE user_id = 'ann'",
    ],
)
def test_reconcile_runs_the_others_and_lists_the_row(rt: ScriptedRuntime, sql: str) -> None:
    for user_id in ("ann", "bob"):
        rt.ledger.claim(uploaded(rt, user_id), user_id, "dead", -60)
    damage(rt, sql)
    damage(rt, DAMAGE["erasure"])
    done, again = reconciled(rt)

    assert again == ["bob"]
    assert done.counts["unreadable row"] == 2
    assert {line.user for line in done.lines if line.found == "unreadable row"} == {"ann"}
    assert done.failures == ""


@pytest.mark.parametrize("kind", ["claim", "claim's verdict", "profile"])
def test_a_repair_leaves_alone_whose_rows_it_cannot_read(rt: ScriptedRuntime, kind: str) -> None:
    for user_id in ("ann", "bob"):
        finish(rt, claim_photo(rt, uploaded(rt, user_id), user_id, "run"))
    damage(rt, DAMAGE[kind])
    done, _ = reconciled(rt, repair=True)

    assert done.failures == ""
    assert len(rt.faces.faces_of("ann")) == 1
    assert len(rt.thumbnails.keys()) == 2
    assert kind == "claim's verdict" or "ann" in {line.user for line in done.lines if "read" in line.found}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_user_with_such_a_row_is_forgotten(rt: ScriptedRuntime, kind: str) -> None:
    photo = uploaded(rt, "ann")
    for user_id in ("ann", "bob"):
        finish(rt, claim_photo(rt, uploaded(rt, user_id), user_id, "run"))
    damage(rt, DAMAGE[kind])
    receipt = asyncio.run(forget_user(rt, inline(rt, attempts=1), "ann", "forget-run", sleep=at_once))

    assert receipt.finished_at
    assert receipt.removed["face"] == receipt.removed["thumbnail"] == 1
    assert sum(receipt.removed.get(name, 0) for name in ("profile", "unreadable profile")) == 1
    assert sum(receipt.removed.get(name, 0) for name in ("ledger row", "unreadable ledger row")) == 1
    found = export_user(rt, "ann")
    assert (found["profile"], found["faces"], found["thumbnails"], found["photos"]) == (None, [], {}, [])
    assert rt.ledger.get(photo, "ann") is None
    assert rt.profiles.get("bob")


@pytest.mark.parametrize("kind", DAMAGE)
def test_others_are_enrolled_and_that_user_is_told_why_not(rt: ScriptedRuntime, kind: str) -> None:
    photo = uploaded(rt, "ann")
    finish(rt, claim_photo(rt, photo, "ann", "run"))
    damage(rt, DAMAGE[kind])

    assert finish(rt, claim_photo(rt, uploaded(rt, "bob"), "bob", "run")).status == "accepted"
    new = uploaded(rt, "ann", "somebody else")
    if kind in ("profile", "erasure"):
        with pytest.raises(UnreadableRow, match="of 'ann' cannot be read"):
            finish(rt, claim_photo(rt, new, "ann", "run"))
    else:
        with pytest.raises(UnreadableRow, match="of 'ann' cannot be read"):
            claim_photo(rt, photo, "ann", "run")


@pytest.mark.parametrize("kind", ["claim", "claim's verdict"])
def test_a_face_whose_row_cannot_be_read_is_not_enrolled_twice(rt: ScriptedRuntime, kind: str) -> None:
    finish(rt, claim_photo(rt, uploaded(rt, "ann"), "ann", "run"))
    damage(rt, DAMAGE[kind])
    twin = uploaded(rt, "twin", "ann")

    with pytest.raises(UnreadableRow, match="of 'ann' cannot be read"):
        finish(rt, claim_photo(rt, twin, "twin", "run"))
    assert rt.faces.faces_of("twin") == []
