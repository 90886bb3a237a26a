"""Commands without a Prefect server: what they say, and what one bad photo leaves of a reconcile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from selfiegate.backends.scripted import scripted_photo
from selfiegate.cli import run_inline
from selfiegate.cli.users import app
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.model import PhotoRef
from selfiegate.privacy.erasures import request_erasure
from selfiegate.runtime import MemoryRuntime, memory_runtime, using
from selfiegate.settings import Settings
from tests.runtimes import Failing, replacing


@pytest.fixture
def rt() -> Iterator[MemoryRuntime]:
    runtime = memory_runtime(Settings())
    with using(runtime):
        yield runtime


def test_forget_says_that_recorded_runs_stay(rt: MemoryRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = run_inline.forgotten("ann", photos=False, keep_originals=False)
    said = " ".join(capsys.readouterr().err.split())

    assert "run" not in receipt.removed
    assert "Runs that a Prefect server recorded of ann stay" in said
    assert "PREFECT_API_URL" in said


def test_reconcile_says_so_too_of_an_erasure_that_it_carries_on(
    rt: MemoryRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    asleep = rt.settings.model_copy(update={"lease_s": 0})
    request_erasure(replace(rt, settings=asleep), "ann", "a dead run")
    found, failures = run_inline.reconciled(limit=10, audit=False, repair=False)

    assert (found, failures) == ({"interrupted erasures": 1}, "")
    erasure = rt.erasures.get("ann")
    assert erasure
    assert erasure.finished_at
    assert "recorded of ann stay" in " ".join(capsys.readouterr().err.split())


def test_a_photo_that_makes_a_library_fail_does_not_end_a_reconcile(rt: MemoryRuntime, ann: PhotoRef) -> None:
    ben = rt.photos.add("ben.png", scripted_photo("ben"))
    rt.ledger.claim(ann, "ann", "a dead run", 0)
    rt.ledger.claim(ben, "ben", "a dead run", 0)
    detect = Failing(rt.faces, "detect", 1, after=False, error=ValueError("a library's"))
    with using(replace(rt, faces=detect)):
        found, failures = run_inline.reconciled(limit=10, audit=False, repair=False)

    assert (found, failures) == ({"unfinished photo": 2}, "")
    rows = rt.ledger.get(ann, "ann"), rt.ledger.get(ben, "ben")
    assert [row and row.status for row in rows] == ["pending", "accepted"]


def test_originals_that_cannot_go_are_told_and_given_up_on_request(rt: MemoryRuntime, ann: PhotoRef) -> None:
    rt.ledger.claim(ann, "ann", "a dead run", 0)
    short = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.1}))
    error = BackendMisconfigured("AccessDenied")
    with using(replacing(short, "photos", Failing(rt.photos, "erase", 100, after=False, error=error))):
        with pytest.raises(BackendMisconfigured, match=r"AccessDenied.*selfiegate forget ann --keep-originals"):
            run_inline.forgotten("ann", photos=True, keep_originals=False)
        receipt = run_inline.forgotten("ann", photos=False, keep_originals=True)

    assert (receipt.finished_at is not None, receipt.kept_originals) == (True, 1)
    assert rt.photos.find(ann.key) == ann


def test_originals_cannot_be_both_removed_and_kept() -> None:
    run = CliRunner().invoke(app, ["forget", "ann", "--photos", "--keep-originals"])

    assert isinstance(run.exception, WrongInput)
    assert "exclude each other" in str(run.exception)
