"""The order of a reconcile, without an engine."""

from __future__ import annotations

import asyncio

from selfiegate.backends.scripted import scripted_photo
from selfiegate.reconciliation import Restarts, reconcile
from selfiegate.runtime import memory_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline


async def never(_: object = None) -> str:
    raise AssertionError("nothing died here")


async def no_runs() -> int:
    return 0


def test_the_table_says_where_findings_are_too_many_to_repair() -> None:
    rt = memory_runtime(Settings(audit_pause_s=0))
    for n in range(30):  # faces that no row knows
        rt.faces.enrol(rt.photos.add(f"{n}.png", scripted_photo(f"person {n}")), f"user_{n}")
    done = asyncio.run(reconcile(rt, inline(rt), Restarts(never, never, no_runs), audit=True, repair=True))

    assert {line.done for line in done.lines} == {"listed: too many to repair: see what happened to the stores"}
    assert rt.faces.stats().faces == 30
