"""The command `selfiegate move` as a person uses it: real processes, real models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import PostgresServer

pytestmark = [pytest.mark.system, pytest.mark.weights, pytest.mark.usefixtures("pack")]


def selfiegate(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a Prefect server."""
    command = [sys.executable, "-m", "selfiegate", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200", **settings}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def verdict(photo: Path, user_id: str, **settings: str) -> str:
    run = selfiegate("process", photo, "--user", user_id, "--json", **settings)
    assert run.returncode == 0, run.stderr
    return str(json.loads(run.stdout)["verdict"])


def test_an_installation_goes_to_postgres_and_comes_back(
    workshop: Path, tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    happy = workshop / "1_happy_face.jpg"
    there = {"SELFIEGATE_DATABASE": postgres.database("command").replace("selfiegate@", "selfiegate:secret@")}
    before = verdict(happy, "user_a")
    no_folder = selfiegate("move", "--to", there["SELFIEGATE_DATABASE"])
    monkeypatch.setenv("SELFIEGATE_THUMBNAILS__FOLDER", str(tmp_path / "home" / "thumbnails"))
    gone = selfiegate("move", "--to", there["SELFIEGATE_DATABASE"])
    refused = selfiegate("process", happy, "--user", "user_e", "--json")
    on_postgres = verdict(happy, "user_a", **there), verdict(happy, "user_e", **there)
    back = selfiegate("move", "--to", "sqlite", **there)
    after = verdict(happy, "user_a"), verdict(happy, "user_f")

    assert (no_folder.returncode, "SELFIEGATE_THUMBNAILS__FOLDER" in no_folder.stderr) == (2, True)
    assert (gone.returncode, back.returncode) == (0, 0), gone.stderr + back.stderr
    assert "moved: 1 claims, 1 profiles, 0 erasures, 1 faces" in gone.stdout
    assert "moved: 2 claims, 1 profiles, 0 erasures, 1 faces" in back.stdout
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "they have moved to PostgreSQL command at" in refused.stderr
    assert (before, on_postgres, after) == ("accepted", ("accepted", "rejected"), ("accepted", "rejected"))
    assert "secret" not in "".join(run.stdout + run.stderr for run in (gone, back, refused, no_folder))


WRONG = {
    "nothing said": ((), "say where to by --to, or --undo a move"),
    "both said": (("--to", "sqlite", "--undo"), "say where to by --to, or --undo a move"),
    "no address": (("--to", "mysql://a:secret@b/c"), "--to: it is no postgresql://"),
    "nothing there": (("--to", "postgresql://a@b/c"), "records.db to move; is SELFIEGATE_HOME right?"),
    "nothing to undo": (("--undo",), "records.db to move; is SELFIEGATE_HOME right?"),
}


@pytest.mark.parametrize(("options", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_move_is_refused_before_anything_is_made(
    options: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFIEGATE_THUMBNAILS__FOLDER", str(tmp_path / "thumbnails"))
    run = selfiegate("move", *options)

    assert (run.returncode, said in run.stderr) == (2, True), run.stderr
    assert "secret" not in run.stderr
    assert not (tmp_path / "home").exists()
