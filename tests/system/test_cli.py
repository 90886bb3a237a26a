"""The command line as a person uses it: real processes, real files, what is printed where."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from prefect.settings import PREFECT_API_URL

from selfiegate.backends.insightface.pack import TINY

pytestmark = [
    pytest.mark.system,
    pytest.mark.weights,
    pytest.mark.usefixtures("prefect_api", "pack"),
]


def selfiegate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value(), "COLUMNS": "200"}
    command = [sys.executable, "-m", "selfiegate", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    about_the_pack = [line for line in run.stderr.splitlines(keepends=True) if line.startswith(TINY)]
    assert len(about_the_pack) <= 1
    run.stderr = run.stderr.replace("".join(about_the_pack), "")
    return run


def test_the_workshops_photos_get_their_verdicts(workshop: Path) -> None:
    happy = workshop / "1_happy_face.jpg"
    accepted = selfiegate("process", happy, "--user", "user_a", "--json")
    duplicate = selfiegate("process", happy, "--user", "user_e", "--json")
    again = selfiegate("process", happy, "--user", "user_a", "--json")
    group = selfiegate("process", workshop / "3_multiple_faces.jpg", "--user", "user c/ü", "--json")

    first = json.loads(accepted.stdout)
    assert first.keys() == {
        "verdict", "user_id", "photo", "reasons", "face_id", "matched_user_id", "score", "thumbnails"
    }  # fmt: skip
    assert (first["verdict"], first["reasons"]) == ("accepted", [])
    assert max(Image.open(first["thumbnails"]["250x250"]).size) == 250
    assert json.loads(again.stdout) == first
    assert json.loads(duplicate.stdout)["matched_user_id"] == "user_a"
    assert [reason["code"] for reason in json.loads(duplicate.stdout)["reasons"]] == ["face_already_enrolled"]
    assert [reason["code"] for reason in json.loads(group.stdout)["reasons"]] == ["multiple_faces"]
    assert [run.returncode for run in (accepted, duplicate, again, group)] == [0] * 4
    told = [run.stderr.splitlines() for run in (accepted, duplicate, again, group)]
    assert [[line.partition("/runs/flow-run/")[0] for line in lines] for lines in told] == [
        [f"Recorded: {PREFECT_API_URL.value().removesuffix('/api')}"]
    ] * 4

    stats = json.loads(selfiegate("gallery", "stats", "--json").stdout)
    assert (stats["faces"], stats["users"]) == (1, 1)
    assert json.loads(selfiegate("profile", "user_a", "--json").stdout)["face_id"] == first["face_id"]


def test_explain_shows_why_in_a_picture_and_as_json(workshop: Path, tmp_path: Path) -> None:
    run = selfiegate("explain", workshop / "2_sunglass_face.jpg", "--json")
    found = json.loads(run.stdout)

    assert [reason["code"] for reason in found["reasons"]] == ["sunglasses"]
    assert Image.open(tmp_path / found["picture"]).width > 600
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(selfiegate("gallery", "stats", "--json").stdout)["faces"] == 0


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("empty.jpg", b"", "unreadable_photo"),
        ("text.jpg", b"not a photo at all", "unsupported_format"),
        ("grey\nname.png", None, "no_face"),
    ],
)
def test_a_file_that_is_no_selfie_is_refused_with_its_reason(
    tmp_path: Path, name: str, data: bytes | None, code: str
) -> None:
    if data is None:
        out = io.BytesIO()
        Image.new("CMYK", (300, 300)).convert("RGB").save(out, "PNG")
        data = out.getvalue()
    (tmp_path / name).write_bytes(data)
    run = selfiegate("process", tmp_path / name, "--user", "ann", "--json")

    assert run.returncode == 0
    assert [reason["code"] for reason in json.loads(run.stdout)["reasons"]] == [code]
    assert [line for line in run.stderr.splitlines() if not line.startswith("Recorded: ")] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["process", "nowhere.jpg", "--user", "ann"], "cannot read the photo 'nowhere.jpg': No such file"),
        (["process", ".", "--user", "ann"], "it is not a file"),
        (["process", "nowhere.jpg", "--user", "x" * 300], "300 characters; it needs 1 to 255"),
        (["process", "nowhere.jpg", "--user", ""], "0 characters"),
        (["process", "nowhere.jpg", "--user", "a\nb"], "control or invisible"),
        (["process", "nowhere.jpg"], "--user"),
        (["proces"], "proces"),
    ],
)
def test_wrong_usage_is_named_and_ends_with_2(arguments: list[str], words: str) -> None:
    run = selfiegate(*arguments)

    assert run.returncode == 2
    assert run.stdout == ""
    assert words in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("command", ["process a.jpg --user ann", "doctor"])
def test_a_wrong_setting_is_told_in_a_sentence(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    monkeypatch.setenv("SELFIEGATE_RULES__MAX_YAW", "left")
    run = selfiegate(*command.split())

    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: the setting SELFIEGATE_RULES__MAX_YAW (rules.max_yaw in selfiegate.toml)")
    assert len(run.stderr.splitlines()) == 1


def test_a_prefect_server_that_is_not_there_ends_with_1_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    run = subprocess.run(
        [sys.executable, "-m", "selfiegate", "process", str(tmp_path / "a.jpg"), "--user", "ann"],
        capture_output=True, text=True, env=environment, timeout=300, check=False,
    )  # fmt: skip

    assert run.returncode == 1
    assert "selfiegate doctor" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_doctor_finds_everything_in_order_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = selfiegate("doctor")
    monkeypatch.setenv("SELFIEGATE_INSIGHTFACE__PACK", "/nowhere")
    ill = selfiegate("doctor")

    assert healthy.returncode == 0, healthy.stdout
    assert healthy.stdout.count("✓") == 6
    assert re.search(r"✓ +device +CPUExecutionProvider", healthy.stdout)
    assert ill.returncode == 1
    assert "SELFIEGATE_INSIGHTFACE__PACK" in ill.stdout


@pytest.mark.slow
def test_a_folder_is_backfilled_and_what_is_broken_is_listed(workshop: Path, tmp_path: Path) -> None:
    for photo in sorted(workshop.glob("*.jpg")):
        for copy in range(5):
            target = tmp_path / "photos" / photo.stem / f"{photo.stem}-{copy}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(photo.read_bytes())
    (tmp_path / "photos" / "3_multiple_faces" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    asked = ("--key-template", "*/{user_id}.jpg", "--report", tmp_path / "r.jsonl", "--html", tmp_path / "r.html")
    first = selfiegate("backfill", tmp_path / "photos", *asked, "--json")
    found = json.loads(first.stdout)

    assert (first.returncode, first.stderr) == (0, "")
    assert (found["photos"], found["accepted"], found["rejected"], found["failed"]) == (21, 1, 20, 0)
    assert found["reasons"] == {
        "multiple_faces": 5, "no_face": 5, "sunglasses": 5, "face_already_enrolled": 4, "unreadable_photo": 1
    }  # fmt: skip
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 21
    assert "broken.jpg" in (tmp_path / "r.html").read_text()

    again = selfiegate("backfill", tmp_path / "photos", *asked[:2])
    assert again.returncode == 0
    assert "21 skipped" in again.stdout


@pytest.mark.slow
def test_a_folder_is_backfilled_on_a_dask_cluster(workshop: Path, tmp_path: Path) -> None:
    for photo in sorted(workshop.glob("*.jpg")):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / photo.name).write_bytes(photo.read_bytes())
    run = selfiegate("backfill", tmp_path / "photos", "--key-template", "{user_id}.jpg", "--engine", "dask", "--json")
    found = json.loads(run.stdout)

    assert (found["photos"], found["accepted"], found["rejected"], found["failed"]) == (4, 1, 3, 0)


def test_a_source_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    run = selfiegate("backfill", tmp_path / "nowhere")

    assert run.returncode == 2
    assert "nowhere" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_a_user_is_shown_what_is_held_and_then_forgotten(workshop: Path, tmp_path: Path) -> None:
    photo = tmp_path / "selfie.jpg"
    photo.write_bytes((workshop / "1_happy_face.jpg").read_bytes())
    selfiegate("process", photo, "--user", "ann", "--json")
    written = selfiegate("export", "ann", "--out", tmp_path / "ann.json")
    asked = selfiegate("forget", "ann")
    held = json.loads((tmp_path / "ann.json").read_text())
    forgotten = selfiegate("forget", "ann", "--photos", "--yes", "--json")

    assert (len(held["faces"][0]["embedding"]), len(held["thumbnails"]), len(held["photos"])) == (512, 1, 1)
    assert (tmp_path / "ann.json").stat().st_mode & 0o777 == 0o600
    assert (written.returncode, asked.returncode) == (0, 1)
    assert "Aborted" in asked.stderr
    receipt = json.loads(forgotten.stdout)
    assert {"face": 1, "ledger row": 1, "photo": 1, "profile": 1, "thumbnail": 1}.items() <= receipt["removed"].items()
    assert (forgotten.stderr, forgotten.returncode) == ("", 0)
    assert not photo.exists()
    left = json.loads(selfiegate("export", "ann").stdout)
    assert not any(left[name] for name in ("profile", "faces", "thumbnails", "photos"))
    assert left["erasure"]["removed"] == receipt["removed"]


def test_reconcile_says_what_it_found() -> None:
    run = selfiegate("reconcile", "--audit", "--json")

    assert (run.returncode, json.loads(run.stdout)) == (0, {})


def test_without_an_api_no_prefect_is_loaded_and_stderr_says_that_nothing_is_recorded(workshop: Path) -> None:
    photo = workshop / "1_happy_face.jpg"
    code = f"""
import sys
from deployments.cli.app import app
app(["process", {str(photo)!r}, "--user", "ann", "--json"], standalone_mode=False)
assert "prefect" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=without_api(), check=True)

    assert json.loads(run.stdout)["verdict"] == "accepted"
    assert "Not recorded in Prefect" in run.stderr
    assert "PREFECT_API_URL=" in run.stderr


@pytest.mark.parametrize("named_in", ["profiles.toml", "prefect.toml", "pyproject.toml", ".env"])
def test_an_api_that_one_of_prefects_files_names_is_used(
    named_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {
        "profiles.toml": 'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n',
        "prefect.toml": '[api]\nurl = "http://127.0.0.1:9/api"\n',
        "pyproject.toml": '[tool.prefect.api]\nurl = "http://127.0.0.1:9/api"\n',
        ".env": "PREFECT_API_URL=http://127.0.0.1:9/api\n",
    }
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))  # the working folder, too
    (tmp_path / named_in).write_text(contents[named_in])
    code = "from deployments.cli.with_prefect import api_url; print(api_url())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=without_api(), check=True)

    assert run.stdout.strip() == "http://127.0.0.1:9/api"


def test_ctrl_c_ends_a_command_at_once_and_the_photo_is_free_again(workshop: Path) -> None:
    words = [sys.executable, "-m", "selfiegate", "process", str(workshop / "1_happy_face.jpg"), "--user", "ann"]
    command = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=without_api())
    assert command.stderr is not None
    command.stderr.readline()  # it has begun
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=120)

    assert command.returncode == 130
    assert "Traceback" not in told
    assert selfiegate("process", workshop / "1_happy_face.jpg", "--user", "ann").returncode == 0


def without_api() -> dict[str, str]:
    """Return the environment without the address of Prefect's API, which other tests set."""
    return {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
