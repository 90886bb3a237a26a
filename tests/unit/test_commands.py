"""The command line without processes: help, version, completion, wrong settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group
from typer.testing import CliRunner

from deployments.cli.app import app
from selfiegate import __version__
from selfiegate.cli import checkout, console
from selfiegate.errors import WrongSetting


@pytest.mark.parametrize(
    "arguments",
    [
        ["process", "a.jpg", "--user", "ann"], ["explain", "a.jpg"], ["backfill", "."], ["reconcile"],
        ["forget", "ann", "--yes"], ["export", "ann"], ["profile", "ann"], ["gallery", "stats"], ["gallery", "create"],
        ["upload", "a.jpg", "--user", "ann"], ["aws", "check"], ["worker"], ["bridge"], ["up"], ["demo"], ["doctor"],
        ["status", "ann"], ["settings"], ["events", "stats"], ["events", "dead"], ["events", "redrive", "--all"],
    ],
)  # fmt: skip
def test_a_wrong_setting_ends_every_command_with_2_and_a_sentence(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFIEGATE_RULES__MAX_YAWW", "3")
    run = CliRunner().invoke(app, arguments)

    assert isinstance(run.exception, WrongSetting)
    with pytest.raises(SystemExit) as ended, console.faults_as_sentences():
        raise run.exception
    assert ended.value.code == 2


def test_the_version_is_printed_and_nothing_else() -> None:
    run = CliRunner().invoke(app, ["--version"])

    assert (run.exit_code, run.stdout, run.stderr) == (0, f"selfiegate {__version__}\n", "")


def test_completion_is_shown_and_installs_nothing_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "person").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = CliRunner().invoke(app, ["--show-completion", "bash"])
    helped = CliRunner().invoke(app, ["--help"])

    assert "complete" in shown.stdout
    assert helped.exit_code == 0
    assert list((tmp_path / "person").iterdir()) == []


def in_the_wheel(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that knows of no flows, as where the wheel alone is installed."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_what_the_wheel_lacks_says_where_it_is_to_be_had() -> None:
    wheel = in_the_wheel("import typer.main, selfiegate.cli.app as a; print(*typer.main.get_command(a.app).commands)")
    missing = get_group(app).commands.keys() - wheel.stdout.split()
    run = in_the_wheel("import sys; sys.argv[1:] = 'worker --pool p'.split(); import selfiegate.cli.app as a; a.main()")

    assert missing == checkout.STAND_INS.keys()
    assert (run.returncode, run.stdout) == (2, "")
    assert "take a checkout of selfiegate" in run.stderr


@pytest.mark.parametrize(
    ("setting", "arguments"),
    [("SELFIEGATE_NOTICES", "backfill . --engine dask"), ("SELFIEGATE_NOTIFICATION_BLOCK", "export ann")],
)
def test_the_wheel_refuses_what_it_cannot_do(setting: str, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(setting, "log")
    run = in_the_wheel(f"import sys; sys.argv[1:] = {arguments.split()!r}; import selfiegate.cli.app as a; a.main()")

    assert (run.returncode, run.stdout) == (2, "")
    assert "not in the wheel" in run.stderr


def _commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    for name, command in group.commands.items():
        assert isinstance(command, TyperCommand | TyperGroup)
        yield " ".join((*path, name)), command
        if isinstance(command, TyperGroup):
            yield from _commands(command, (*path, name))


def test_every_command_and_option_has_a_help_text() -> None:
    commands = dict(_commands(get_group(app)))
    silent = [
        (name, parameter.name)
        for name, command in commands.items()
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]

    assert len(commands) > 15
    assert [name for name, command in commands.items() if not command.help] == []
    assert silent == []
