"""Which photos `reconcile` runs again, where there are very many."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfiegate.model import PhotoRef
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.unfinished import back_offs, unfinished
from tests.runtimes import scripted_runtime

PHOTO = PhotoRef(bucket="bucket", key="selfie.png", version="1")


@pytest.fixture
def rt(tmp_path: Path) -> Runtime:
    return scripted_runtime(tmp_path, Settings(home=tmp_path, lease_s=60))


def left(rt: Runtime, user_id: str, attempts: int, ended_s: float) -> None:
    """Leave a row as so many runs leave it that died, the last of them so long ago."""
    for _ in range(attempts):
        rt.ledger.claim(PHOTO, user_id, "a dead run", -ended_s)


def users(rt: Runtime, limit: int) -> list[str]:
    return [row.user_id for row in unfinished(rt, limit)]


def test_rows_that_have_to_wait_hold_no_places(rt: Runtime) -> None:
    with rt.ledger.batch():
        for n in range(50):
            left(rt, f"often {n}", attempts=8, ended_s=600)  # it has to wait for an hour
    left(rt, "fresh", attempts=1, ended_s=10)

    assert users(rt, 10) == ["fresh"]


def test_a_backlog_keeps_no_new_photo_back_and_none_of_it_waits_for_ever(rt: Runtime) -> None:
    with rt.ledger.batch():
        for n in range(50):
            left(rt, f"old {n:02}", attempts=1, ended_s=10_000 - n)
    left(rt, "fresh", attempts=1, ended_s=10)
    seen = set[str]()
    assert "fresh" in users(rt, 10)
    for _ in range(20):
        for row in unfinished(rt, 10):
            seen.add(row.user_id)
            rt.ledger.claim(PHOTO, row.user_id, "it fails again", -0.001)

    assert len(seen) == 51


def test_each_attempt_doubles_the_wait_up_to_a_day() -> None:
    waits = [wait / 1e6 for wait in back_offs(60)]

    assert waits[:5] == [0, 60, 120, 240, 480]
    assert set(waits[12:]) == {86_400}
