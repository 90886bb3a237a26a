"""Settings: where they come from, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfiegate.errors import BackendMisconfigured
from selfiegate.settings import load_settings


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("selfiegate.toml").write_text("[rules]\nmax_yaw = 20\nmax_roll = 21\n")
    monkeypatch.setenv("SELFIEGATE_RULES__MAX_YAW", "30")
    rules = load_settings().rules

    assert (rules.max_yaw, rules.max_roll) == (30, 21)


def test_the_working_folders_file_goes_before_the_homes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "selfiegate.toml").write_text("[rules]\nmax_yaw = 20\nmax_roll = 21\n")
    Path("selfiegate.toml").write_text("[rules]\nmax_yaw = 30\n")
    rules = load_settings().rules

    assert (rules.max_yaw, rules.max_roll) == (30, 21)


@pytest.mark.parametrize("value", ["log,sns", "log, sns", '["log", "sns"]'])
def test_a_list_is_names_with_commas_or_json(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SELFIEGATE_NOTICES", value)

    assert load_settings().notices == ("log", "sns")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SELFIEGATE_RULES__MAX_YAW", "left", ["SELFIEGATE_RULES__MAX_YAW", "'left'", "valid number"]),
        ("SELFIEGATE_RULES__MAX_YAWN", "3", ["SELFIEGATE_RULES__MAX_YAWN", "not permitted"]),
        ("SELFIEGATE_BACKEND", "azure", ["SELFIEGATE_BACKEND", "'azure'", "'insightface'"]),
        ("SELFIEGATE_NOTICES", "log,pigeon", ["SELFIEGATE_NOTICES", "'pigeon'", "'sns'"]),
        ("SELFIEGATE_NOTICES", "[log", ["SELFIEGATE_NOTICES", "'[log'"]),
        ("SELFIEGATE_HOEM", "here", ["no setting SELFIEGATE_HOEM", "SELFIEGATE_HOME"]),
        ("SELFIEGATE_INSIGHTFACE__DETECTION_SIZES", "[]", ["SELFIEGATE_INSIGHTFACE__DETECTION_SIZES"]),
    ],
)
def test_a_wrong_setting_names_itself_and_its_mend(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(BackendMisconfigured) as error:
        load_settings()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_file_with_an_error_is_named() -> None:
    Path("selfiegate.toml").write_text("[rules\n")

    with pytest.raises(BackendMisconfigured, match=r"selfiegate\.toml cannot be read"):
        load_settings()
