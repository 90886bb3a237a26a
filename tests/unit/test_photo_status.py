"""What is told of a user's photos: by the command, and by the flow's table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect.settings import PREFECT_UI_URL, temporary_settings
from typer.testing import CliRunner

from deployments.cli.app import app
from selfiegate.backends.scripted import scripted_photo
from selfiegate.cli import run_inline
from selfiegate.clock import in_us, now_us
from selfiegate.model import PhotoRef
from selfiegate.photo_status import status_of
from selfiegate.runtime import MemoryRuntime, memory_runtime, using
from selfiegate.settings import Settings
from tasks.photo_status import markdown
from tests.present import present

RUN = "39d1eece-4885-483d-8534-5eabf53b0196"


@pytest.fixture
def rt() -> MemoryRuntime:
    return memory_runtime(Settings(lease_s=60))


def processed(rt: MemoryRuntime, user_id: str, name: str, scene: str) -> PhotoRef:
    photo = rt.photos.add(f"{user_id}/{name}", scripted_photo(scene))
    with using(rt):
        run_inline.verdicts([(photo, user_id)])
    return photo


def told(rt: MemoryRuntime, *arguments: str, exits: int = 0) -> str:
    with using(rt):
        run = CliRunner().invoke(app, ["status", *arguments])
    assert run.exit_code == exits, run.output
    return run.stdout


def as_json(rt: MemoryRuntime, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(rt, *arguments, "--json"))
    return found


def test_the_newest_photo_comes_first_and_the_profiles_is_marked(rt: MemoryRuntime) -> None:
    for name in ("1.png", "2.png"):
        processed(rt, "ann", name, "ann")
    found = status_of(rt, "ann", 50)

    assert [one.photo.rpartition("/")[2] for one in found.photos] == ["2.png", "1.png"]
    assert [(one.status, one.is_profile) for one in found.photos] == [("accepted", True), ("accepted", False)]
    assert [one.enrolled_at is not None for one in found.photos] == [True, False]
    assert found.photos[0].uploaded_at is not None


def test_a_refusal_tells_reason_advice_and_notice_and_no_other_user(rt: MemoryRuntime) -> None:
    processed(rt, "owner-of-the-face", "1.png", "ann")
    processed(rt, "ann", "1.png", "ann")
    (one,) = as_json(rt, "ann")["photos"]

    assert (one["status"], one["notice"], one["is_profile"]) == ("rejected", "told", False)
    assert [reason["code"] for reason in one["reasons"]] == ["face_already_enrolled"]
    assert one["run"].startswith("command ")
    for text in (told(rt, "ann"), told(rt, "ann", "--json"), markdown(status_of(rt, "ann", 50))):
        assert "face_already_enrolled" in text
        assert "Each person can have one account" in text
        assert "owner-of-the-face" not in text
        assert not {"score", "face_id", "embedding", "matched"} & set(text.replace('"', " ").split())


@pytest.mark.parametrize(
    ("lease_s", "words"), [(60, "its run holds it until"), (-1, "overdue: `reconcile` runs it again")]
)
def test_a_photo_under_way_names_its_run_and_whether_that_is_late(
    rt: MemoryRuntime, lease_s: float, words: str
) -> None:
    photo = rt.photos.add("ann/1.png", scripted_photo("ann"))
    rt.ledger.claim(photo, "ann", RUN, lease_s)

    shown = told(rt, "ann")

    assert "pending since" in shown
    assert words in shown
    assert f"run {RUN}" in shown


def test_a_limit_keeps_the_newest_and_tells_how_many_are_left_out(rt: MemoryRuntime) -> None:
    for n in range(5):
        photo = rt.photos.add(f"ann/{n}.png", scripted_photo("ann"))
        rt.ledger.claim(photo, "ann", RUN, 60, upload_order=f"{now_us() + n:016d}")
    found = as_json(rt, "ann", "--limit", "2")

    assert [one["photo"].rpartition("/")[2] for one in found["photos"]] == ["4.png", "3.png"]
    assert found["more"] == 3
    assert "3 older photos are not shown; --limit 5 shows them" in told(rt, "ann", "--limit", "2")
    assert "3 older photos are not shown" in markdown(status_of(rt, "ann", 2))


def test_a_user_who_is_forgotten_is_told_with_the_times(rt: MemoryRuntime) -> None:
    processed(rt, "ann", "1.png", "ann")
    with using(rt):
        run_inline.forgotten("ann", photos=False, keep_originals=False)
    found = as_json(rt, "ann")

    assert found["photos"] == []
    assert found["erasure"]["finished_at"] >= found["erasure"]["asked_at"]
    assert "forgotten 20" in told(rt, "ann")


def test_an_erasure_under_way_is_told_with_its_problem(rt: MemoryRuntime) -> None:
    from selfiegate.records import Erasure

    unfinished = Erasure(
        user_id="ann", asked_at=now_us(), run=RUN, photos=False, lease_until=in_us(60), problem="S3 did not answer"
    )
    assert rt.erasures.put(unfinished, replacing=None)

    assert f"under way in run {RUN}: S3 did not answer" in told(rt, "ann")


def test_nobody_is_said_plainly(rt: MemoryRuntime) -> None:
    told(rt, "nobody", exits=1)
    told(rt, "nobody", "--json", exits=1)

    assert "Nothing is known of this user" in markdown(status_of(rt, "nobody", 50))


def test_a_profile_of_an_older_system_counts_as_known(rt: MemoryRuntime) -> None:
    processed(rt, "ann", "1.png", "ann")
    (row,) = rt.ledger.claims_of("ann")
    assert rt.ledger.remove(row)

    assert "but a profile is" in told(rt, "ann")


def test_a_run_of_prefects_is_a_link_in_the_table(rt: MemoryRuntime) -> None:
    rt.ledger.claim(rt.photos.add("ann/a|b.png", scripted_photo("ann")), "ann", RUN, 60)
    with temporary_settings({PREFECT_UI_URL: "http://ui.example"}):
        page = markdown(status_of(rt, "ann", 50))

    assert f"[{RUN}](http://ui.example/runs/flow-run/{RUN})" in page
    assert "a\\|b.png" in present(page)
