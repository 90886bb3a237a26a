"""`selfiegate explain`, on scripted photos."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from deployments.cli.app import app
from selfiegate.backends.scripted import scripted_photo
from selfiegate.runtime import Runtime, using
from tests.runtimes import scripted_runtime


@pytest.fixture
def rt(tmp_path: Path) -> Runtime:
    """A runtime whose gallery holds Ann's face as the user `ann`."""
    Path("ann.png").write_bytes(scripted_photo("ann"))
    rt = scripted_runtime(tmp_path / "home")
    rt.faces.enrol(rt.photos.find("ann.png"), "ann")
    return rt


def explained(rt: Runtime, *arguments: str) -> dict[str, Any]:
    with using(rt):
        run = CliRunner().invoke(app, ["explain", *arguments, "--json"], catch_exceptions=False)
    assert run.exit_code == 0
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_a_face_that_is_enrolled_is_found_and_nothing_is_enrolled(rt: Runtime) -> None:
    found = explained(rt, "ann.png")

    assert not found["usable"]
    assert [reason["code"] for reason in found["reasons"]] == ["face_already_enrolled"]
    assert found["gallery"] == {
        "enrolled_by_another_user": True,
        "unclear_match": False,
        "matched_user_id": "ann",
        "score": pytest.approx(1, abs=1e-5),
        "own_score": None,
        "match_threshold": 0.4,
        "unclear_threshold": 0.32,
        "clear_quality": 85,
    }
    assert rt.faces.stats().faces == 1
    assert list(rt.ledger.claims_of("ann")) == []


def test_a_poor_photo_that_is_merely_like_another_users_face_is_told(rt: Runtime) -> None:
    Path("poor.png").write_bytes(scripted_photo("ann~~~~~", quality=82, covered_parts=["eyes"], covered=0.1))
    found = explained(rt, "poor.png")
    with using(rt):
        told = CliRunner().invoke(app, ["explain", "poor.png"]).stdout

    assert [reason["code"] for reason in found["reasons"]] == ["unclear_match"]
    assert (found["gallery"]["enrolled_by_another_user"], found["gallery"]["unclear_match"]) == (False, True)
    assert 0.32 < found["gallery"]["score"] < 0.4
    assert (found["faces"][0]["quality"], found["faces"][0]["covered_parts"]) == (82, ["eyes"])
    assert {"name": "quality", "value": 82, "limit": "≥ 76", "passed": True} in found["checks"]
    assert "too unclear to be told from another user's face: similarity 0.3" in told


def test_ones_own_face_is_not_somebody_elses(rt: Runtime) -> None:
    found = explained(rt, "ann.png", "--user", "ann")

    assert found["usable"]
    assert not found["gallery"]["enrolled_by_another_user"]


def test_a_new_face_is_usable(rt: Runtime) -> None:
    Path("bob.png").write_bytes(scripted_photo("bob"))
    found = explained(rt, "bob.png")

    assert (found["usable"], found["gallery"]["enrolled_by_another_user"]) == (True, False)


def test_the_face_of_an_unusable_photo_is_not_looked_up(rt: Runtime) -> None:
    Path("dark.png").write_bytes(scripted_photo("ann", brightness=1.0))
    found = explained(rt, "dark.png")

    assert ([reason["code"] for reason in found["reasons"]], found["gallery"]) == (["too_dark"], None)


def test_the_picture_lies_where_it_is_told_for_its_owner_alone(rt: Runtime, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        here, there = explained(rt, "ann.png"), explained(rt, "ann.png", "--out", str(tmp_path / "there.png"))
    finally:
        os.umask(before)

    assert here["picture"] == "ann.explained.png"
    assert Image.open(there["picture"]).format == "PNG"
    assert (tmp_path / "there.png").stat().st_mode & 0o777 == 0o600


def test_people_read_whether_the_face_is_enrolled(rt: Runtime) -> None:
    Path("bob.png").write_bytes(scripted_photo("bob"))
    with using(rt):
        known = CliRunner().invoke(app, ["explain", "ann.png"])
        new = CliRunner().invoke(app, ["explain", "bob.png"])

    assert "already enrolled by another user: similarity 1.000 to ann" in known.stdout
    assert "already enrolled by another user: no" in new.stdout


def test_people_read_that_a_photo_was_turned(rt: Runtime) -> None:
    Path("lying.png").write_bytes(scripted_photo("bob", turned=90))
    with using(rt):
        turned, upright = (CliRunner().invoke(app, ["explain", name]) for name in ("lying.png", "ann.png"))

    assert "judged as it is when turned 90 degrees clockwise" in turned.stdout
    assert "turned" not in upright.stdout


def test_pictures_of_faces_are_not_committed() -> None:
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()

    assert "*.explained.png" in ignored
