"""The table of all settings: nothing left out, nothing without a word of explanation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli.app import app
from selfiegate.matching import COSINE, REKOGNITION
from selfiegate.settings import Settings, load_settings
from selfiegate.settings_table import Row, markdown_table, rows


def row(name: str) -> Row:
    (found,) = [found for found in rows(load_settings()) if found.name == name]
    return found


def test_every_setting_has_a_description_and_a_type() -> None:
    found = rows(load_settings())

    assert len({setting.name for setting in found}) == len(found) > 60
    assert [setting.name for setting in found if not (setting.description and setting.type)] == []


def test_what_is_allowed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert row("SELFIEGATE_RULES__MAX_YAW").allowed == "≥ 0, ≤ 180"
    assert row("SELFIEGATE_RECORDS").allowed == "one of sqlite, dynamodb, postgres"
    assert row("SELFIEGATE_NOTICES").allowed == "each one of log, sns, ses"
    assert row("SELFIEGATE_THUMBNAILS__SIZES").type == "list of width x height"
    assert row("SELFIEGATE_MATCHING__MATCH_THRESHOLD").type == "number"


def test_thresholds_that_are_not_set_are_those_of_the_backends() -> None:
    match, verify = row("SELFIEGATE_MATCHING__MATCH_THRESHOLD"), row("SELFIEGATE_MATCHING__VERIFY_THRESHOLD")

    assert f"empty: {COSINE.match:.2f}, or Rekognition's {REKOGNITION.match:g}" in match.description
    unclear = row("SELFIEGATE_MATCHING__UNCLEAR_THRESHOLD")
    assert f"empty: {COSINE.unclear:.2f}, or Rekognition's {REKOGNITION.unclear:g}" in unclear.description
    assert f"empty: {COSINE.verify:.2f}, or Rekognition's {REKOGNITION.verify:g}" in verify.description


def test_each_value_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "selfiegate.toml").write_text("[rules]\nmax_yaw = 20\nmax_roll = 21\nmax_pitch = 22\n")
    Path("selfiegate.toml").write_text("[rules]\nmax_yaw = 30\nmax_roll = 31\n")
    monkeypatch.setenv("SELFIEGATE_RULES__MAX_YAW", "40")
    names = ("MAX_YAW", "MAX_ROLL", "MAX_PITCH", "MIN_SHARPNESS")
    found = [(row(f"SELFIEGATE_RULES__{name}").value, row(f"SELFIEGATE_RULES__{name}").source) for name in names]

    assert found == [
        (40, "environment"), (31, "selfiegate.toml"), (22, str(home / "selfiegate.toml")), (32, "default")
    ]  # fmt: skip


def test_the_markdown_has_a_line_for_every_setting_and_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = markdown_table()
    monkeypatch.setenv("SELFIEGATE_RULES__MAX_YAW", "41")

    assert markdown_table() == before
    assert "| `SELFIEGATE_HOME` | path |  | `~/.selfiegate` | Where the embedded stores lie |" in before
    assert len(before.splitlines()) == 2 + len(rows(Settings()))


def test_the_command_lists_them_for_people_and_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_AWS__REGION", "[red]")
    people = CliRunner().invoke(app, ["settings"], env={"SELFIEGATE_RULES__MAX_YAW": "30"})
    programs = CliRunner().invoke(app, ["settings", "--json"], env={"SELFIEGATE_RULES__MAX_YAW": "30"})

    assert "SELFIEGATE_RULES__MAX_YAW=30.0  (environment; default: 45.0)" in people.stdout
    assert "[red]" in people.stdout
    by_name = {found["name"]: found for found in json.loads(programs.stdout)}
    assert by_name["SELFIEGATE_RULES__MAX_YAW"] == {
        "name": "SELFIEGATE_RULES__MAX_YAW",
        "key": "rules.max_yaw",
        "value": 30.0,
        "source": "environment",
        "type": "number",
        "allowed": "≥ 0, ≤ 180",
        "default": 45.0,
        "description": "Degrees to either side",
    }
