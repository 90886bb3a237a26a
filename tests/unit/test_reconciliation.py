"""The order of a reconcile, without an engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.errors import BackendUnavailable
from selfiegate.model import Claim
from selfiegate.privacy.erasures import put_off, request_erasure
from selfiegate.reconciliation import Reconciled, Restarts, carry_on_erasures, reconcile
from selfiegate.records import Erasure
from selfiegate.runtime import MemoryRuntime, memory_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.runtimes import Failing, replacing


@pytest.fixture
def rt() -> MemoryRuntime:
    return memory_runtime(Settings(audit_pause_s=0))


class Started:
    """What a reconcile started again, in its order; whatever is named in `faulty` raises."""

    def __init__(self, *faulty: str) -> None:
        self.names, self._faulty = list[str](), faulty

    @property
    def restarts(self) -> Restarts:
        return Restarts(self.photo, self.erasure, self.dead_runs)

    async def photo(self, row: Claim) -> str:
        self._note(row.user_id)
        return "Accepted"

    async def erasure(self, erasure: Erasure) -> str:
        self._note(f"erasure of {erasure.user_id}")
        return "Forgotten"

    async def dead_runs(self) -> int:
        self._note("dead runs")
        return 0

    def _note(self, name: str) -> None:
        self.names.append(name)
        if name in self._faulty:
            raise ValueError(f"{name} cannot be started")


def left_behind(rt: MemoryRuntime) -> None:
    """Leave two photos and two erasures whose runs died."""
    for user_id in ("user_a", "user_b"):
        rt.ledger.claim(rt.photos.add(f"{user_id}.png", scripted_photo(user_id)), user_id, "a dead run", -60)
    dying = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0}))
    for user_id in ("user_x", "user_y"):
        request_erasure(dying, user_id, "a dead run")


def reconciled(rt: MemoryRuntime, started: Started) -> Reconciled:
    return asyncio.run(reconcile(rt, inline(rt, attempts=1), started.restarts, audit=True, repair=True))


ALL = ["dead runs", "user_a", "user_b", "erasure of user_x", "erasure of user_y"]


def test_photos_do_not_wait_for_erasures(rt: MemoryRuntime) -> None:
    left_behind(rt)
    started = Started()
    reconciled(rt, started)

    assert started.names == ALL


@pytest.mark.parametrize("name", ALL)
def test_what_cannot_be_started_keeps_nothing_else_back(rt: MemoryRuntime, name: str) -> None:
    left_behind(rt)
    started = Started(name)
    done = reconciled(rt, started)

    assert started.names == ALL
    assert [f"{name} cannot be started" in line.done for line in done.lines].count(True) == 1


@pytest.mark.parametrize(
    ("part", "method", "name", "lost"),
    [
        ("ledger", "unfinished", "unfinished photos", {"user_a", "user_b"}),
        ("erasures", "unfinished", "erasures", {"erasure of user_x", "erasure of user_y"}),
        ("ledger", "expire", "expired photos", set[str]()),
        ("faces", "page", "audit", set[str]()),
    ],
)
def test_a_part_that_fails_is_told_and_the_others_run(
    rt: MemoryRuntime, part: str, method: str, name: str, lost: set[str]
) -> None:
    left_behind(rt)
    rt.faces.enrol(rt.photos.add("odd.png", scripted_photo("odd")), "of the workshop")
    started, error = Started(), BackendUnavailable("it does not answer")
    done = reconciled(replacing(rt, part, Failing(getattr(rt, part), method, 1, after=False, error=error)), started)

    assert started.names == [one for one in ALL if one not in lost]
    assert done.failures == f"{name}: BackendUnavailable: it does not answer"
    assert done.counts["failed part"] == 1


def test_the_table_says_where_findings_are_too_many_to_repair(rt: MemoryRuntime) -> None:
    for n in range(30):  # faces that no row knows
        rt.faces.enrol(rt.photos.add(f"{n}.png", scripted_photo(f"person {n}")), f"user_{n}")
    done = reconciled(rt, Started())

    assert {line.done for line in done.lines} == {"listed: too many to repair: see what happened to the stores"}
    assert rt.faces.stats().faces == 30


def test_erasures_that_there_is_no_time_for_are_left_to_the_next_reconcile(rt: MemoryRuntime) -> None:
    left_behind(rt)
    started = Started()
    asyncio.run(carry_on_erasures(inline(rt, attempts=1), started.restarts, [], for_s=0))

    assert started.names == []
    reconciled(rt, started)
    assert started.names == ALL


def test_an_erasure_that_was_put_off_is_told_with_its_reason_and_left_alone(rt: MemoryRuntime) -> None:
    erasure = request_erasure(rt, "user_x", "a run that failed", photos=True)
    put_off(rt, erasure, "BackendMisconfigured: AccessDenied")
    started = Started()
    done = reconciled(rt, started)

    assert started.names == ["dead runs"]
    assert done.counts == {"erasures put off": 1}
    assert done.lines[0].done == "goes on in 1 minutes: BackendMisconfigured: AccessDenied"
