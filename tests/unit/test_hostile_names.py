"""Names and paths from strangers: in logs, on terminals, in messages, on disk; and what listens to whom."""

from __future__ import annotations

import ast
import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, Task
from typer.testing import CliRunner

from deployments.cli import app
from deployments.local.processes import Part
from selfiegate.aws.clients import translated
from selfiegate.backends.insightface.pack import PackSettings, pack_folder
from selfiegate.backfill.files import JsonLines
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongInput
from selfiegate.ingestion.messages import uploads
from selfiegate.model import PhotoRef, Profile
from selfiegate.report import code, markdown
from selfiegate.runtime import memory_runtime, using
from selfiegate.settings import Settings
from selfiegate.stores.folder import FolderPhotos
from selfiegate.thumbnails import ThumbnailSettings, key
from tests.contract.records import verdict
from tests.unit.test_tasks import TASKS

ROOT = Path(__file__).parents[2]
HOSTILE = "a\x1b]0;x\x07\r\nERROR forged\x9b31m\u202e`<!channel>` [x](https://evil.example)|.jpg"
PHOTO = PhotoRef(bucket="photos", key=f"ann/{HOSTILE}", version="v1")


def is_one_plain_line(text: str) -> bool:
    return text.isprintable()


def test_a_key_cannot_forge_a_line_in_what_an_aws_error_says() -> None:
    from botocore.exceptions import ReadTimeoutError

    with pytest.raises(BackendUnavailable) as error, translated(f"s3:GetObject on {PHOTO.uri}"):
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1")
    assert is_one_plain_line(str(error.value))


def test_a_path_cannot_forge_a_line_in_what_a_disk_error_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "open", broken)
    with pytest.raises(BackendUnavailable, match="Input/output error") as error:
        FolderPhotos(Limits()).read(PhotoRef(bucket="/disk", key=HOSTILE.replace("/", ""), version="v1"))

    assert is_one_plain_line(str(error.value))


def test_a_verdicts_page_shows_names_as_they_are() -> None:
    found = verdict("rejected", None).model_copy(update={"photo": PHOTO, "matched_user_id": HOSTILE, "score": 1.0})

    assert code(HOSTILE).count("`") == 2
    assert not [line for line in markdown(found).splitlines() if line.startswith("ERROR")]
    assert "\x1b" not in markdown(found)


@pytest.mark.parametrize("options", [["--json"], []])
def test_a_profile_on_the_terminal_is_ascii(options: list[str]) -> None:
    rt = memory_runtime()
    values = {"thumbnails": {}, "model": "m", "newness": "1", "enrolled_at": "2026-11-20T00:00:00Z"}
    rt.profiles.put(Profile.model_validate({"user_id": "ann", "photo": PHOTO, "face_id": "f", **values}), None)
    with using(rt):
        ended = CliRunner().invoke(app.app, ["profile", "ann", *options])

    assert ended.exit_code == 0
    assert ended.output.replace("\n", "").isascii()
    assert ended.output.replace("\n", "").isprintable()
    if options:
        assert json.loads(ended.output)["photo"]["key"] == PHOTO.key


@pytest.mark.parametrize("user_id", ["../../etc", "..", "/", "a/../../b", "\\..\\", ".", "~root", "%2e%2e", "x" * 255])
def test_a_user_id_is_one_folder_of_its_own(user_id: str) -> None:
    parts = key(PHOTO, user_id, "250x250", ThumbnailSettings()).split("/")

    assert len(parts) == 3
    assert not {"", ".", ".."} & set(parts)


@pytest.mark.parametrize("pack", ["../../x", "..", "/nowhere/x", "models/../../x"])
def test_a_pack_is_a_name_or_a_folder_that_is_there(pack: str, tmp_path: Path) -> None:
    with pytest.raises(BackendMisconfigured):
        pack_folder(PackSettings(pack=pack, root=tmp_path / "root"))
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("bucket", ["/etc", "../x", "file:///etc", "arn:aws:s3:::x", "s3:", "a\nb", "x" * 300])
def test_an_event_cannot_name_a_file_of_this_machine(bucket: str) -> None:
    with pytest.raises(WrongInput, match="no name of a bucket"):
        uploads({"userId": "ann", "s3Bucket": bucket, "s3Key": "passwd"})


def test_a_subscription_that_asks_to_be_confirmed_is_not_followed() -> None:
    assert uploads({"Type": "SubscriptionConfirmation", "SubscribeURL": "http://169.254.169.254/"}) == []


def test_a_report_is_for_its_owner_alone_also_where_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    path.write_text("of last time, and longer than what comes now")
    path.chmod(0o644)
    JsonLines(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == ""


def test_the_bridge_answers_to_this_machine_alone_unless_told_otherwise() -> None:
    assert Settings().bridge.host == "127.0.0.1"


def flows() -> list[Flow[..., Any]]:
    import importlib

    modules = [importlib.import_module(f"flows.{path.stem}") for path in ROOT.glob("flows/*.py")]
    return list({id(one): one for module in modules for one in vars(module).values() if isinstance(one, Flow)}.values())


def test_no_result_is_kept_and_no_error_as_a_pickle() -> None:
    every: list[Flow[..., Any] | Task[..., Any]] = [*flows(), *TASKS]

    assert len(every) > 15
    assert [one.name for one in every if one.persist_result is not False] == []
    assert {one.result_serializer for one in flows()} == {"json"}  # Prefect writes a failed flow's error all the same


def test_our_code_reads_no_pickles() -> None:
    words = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal", "allow_pickle", "load_results", "fromfile"}
    files = [file for part in ("selfiegate", "tasks", "flows", "deployments") for file in (ROOT / part).rglob("*.py")]
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
            names += [str(getattr(node, name)) for name in ("id", "attr", "arg", "module") if hasattr(node, name)]
            found |= {(file.name, name) for name in names if name in words}
            if isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name):
                found |= {(file.name, "np.load")} if node.value.id in ("np", "numpy") else set()

    assert len(files) > 60
    assert found == set()


def test_what_up_starts_makes_private_files_and_has_a_private_log(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        part = Part(
            "one", [sys.executable, "-c", "open('database', 'w')"], os.environ, tmp_path / "one.log", cwd=tmp_path
        )
        part.start()
        assert part.process is not None
        assert part.process.wait(120) == 0
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*[ge]")} == {0o600}
    assert (tmp_path / "database").exists()
