"""Commands without a Prefect server: what they say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selfiegate.cli import run_inline
from selfiegate.privacy.erasures import request_erasure
from selfiegate.runtime import Runtime, memory_runtime, using
from selfiegate.settings import Settings


@pytest.fixture
def rt() -> Iterator[Runtime]:
    with using(memory_runtime(Settings(erasure_patience_s=0))) as runtime:
        yield runtime


def test_forget_says_that_recorded_runs_are_left(rt: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = run_inline.forgotten("ann", photos=False)
    said = " ".join(capsys.readouterr().err.split())

    assert "run" not in receipt.removed
    assert "Runs that a Prefect server recorded of ann stay" in said
    assert "PREFECT_API_URL" in said


def test_reconcile_says_so_too_of_an_erasure_that_it_carries_on(
    rt: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    request_erasure(rt, "ann", "a dead run")
    found = run_inline.reconciled(limit=10, audit=False, repair=False)

    assert found == {"interrupted erasures": 1}
    assert rt.erasures.get("ann").finished_at
    assert "recorded of ann stay" in " ".join(capsys.readouterr().err.split())
