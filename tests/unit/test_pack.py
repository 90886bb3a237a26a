"""Which folder a pack's name means, and that the packaged one holds what was measured."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import insightface
import numpy as np
import pytest
from insightface.app import FaceAnalysis
from PIL import Image
from typer.testing import CliRunner

from deployments.cli.app import app
from selfiegate.backends.insightface.pack import TINY, PackSettings, falls_back, pack_folder
from selfiegate.cli import console
from selfiegate.errors import BackendMisconfigured


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "copied"
    shutil.copytree(pack_folder(PackSettings(pack=TINY)), folder)
    return folder


def test_the_packaged_pack_needs_no_root_and_says_what_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "selfiegate"):
        folder = pack_folder(PackSettings(pack=TINY, root=tmp_path / "nowhere"))

    assert {file.name for file in folder.iterdir()} == {"det_tiny.onnx", "rec_tiny.onnx", "SHA256SUMS", "MODELCARD.md"}
    [record] = caplog.records
    assert "for demos and tests, not for production" in record.getMessage()
    assert "non-commercial" in record.getMessage()


def test_the_packaged_pack_is_small() -> None:
    folder = pack_folder(PackSettings(pack=TINY))

    assert (folder / "det_tiny.onnx").stat().st_size <= 1_000_000
    assert (folder / "rec_tiny.onnx").stat().st_size <= 3_000_000


def test_a_copy_of_the_pack_is_checked_too(copied: Path) -> None:
    assert pack_folder(PackSettings(pack=str(copied))) == copied


@pytest.mark.parametrize("name", ["det_tiny.onnx", "rec_tiny.onnx"])
def test_a_changed_file_is_refused_by_name(name: str, copied: Path) -> None:
    with (copied / name).open("ab") as file:
        file.write(b"\0")

    with pytest.raises(BackendMisconfigured, match=rf"^{name} in .* is not what its SHA256SUMS lists; .*__PACK"):
        pack_folder(PackSettings(pack=str(copied)))


def test_a_missing_file_is_refused_by_name(copied: Path) -> None:
    (copied / "rec_tiny.onnx").unlink()

    with pytest.raises(BackendMisconfigured, match=r"^rec_tiny\.onnx in "):
        pack_folder(PackSettings(pack=str(copied)))


def test_a_file_that_is_not_listed_is_refused_by_name(copied: Path) -> None:
    shutil.copy(copied / "rec_tiny.onnx", copied / "rec_other.onnx")

    with pytest.raises(BackendMisconfigured, match=r"^rec_other\.onnx in "):
        pack_folder(PackSettings(pack=str(copied)))


def test_without_a_pack_the_small_one_is_taken_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = PackSettings(root=tmp_path)
    with caplog.at_level(logging.WARNING, "selfiegate"):
        folders = {pack_folder(settings), pack_folder(settings)}

    assert falls_back(settings)
    assert [folder.name for folder in folders] == [TINY]
    [record] = caplog.records
    for words in (
        "not for production",
        "no pack is set",
        str(tmp_path / "models"),
        "PACK=buffalo_l",
        "SELFIEGATE_HOME",
    ):
        assert words in record.getMessage()


def test_without_a_pack_the_default_one_is_taken_where_it_is(tmp_path: Path, copied: Path) -> None:
    copied.rename(tmp_path / "buffalo_l")
    (tmp_path / "models").mkdir()
    (tmp_path / "buffalo_l").rename(tmp_path / "models" / "buffalo_l")
    settings = PackSettings(root=tmp_path)

    assert not falls_back(settings)
    assert pack_folder(settings) == tmp_path / "models" / "buffalo_l"


def test_a_pack_that_is_named_and_not_there_ends_a_command_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFIEGATE_INSIGHTFACE__PACK", "/nowhere")

    with pytest.raises(BackendMisconfigured, match="there is no folder '/nowhere'"):
        console.prepared()
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_ends_a_command_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELFIEGATE_HOME", str(tmp_path / "file" / "home"))

    with pytest.raises(BackendMisconfigured, match=r"cannot write .*file/home.*SELFIEGATE_HOME"):
        console.prepared()


def test_a_worker_takes_no_small_pack_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELFIEGATE_INSIGHTFACE__PACK")
    monkeypatch.setenv("SELFIEGATE_INSIGHTFACE__ROOT", str(tmp_path))
    run = CliRunner().invoke(app, ["worker"])

    assert isinstance(run.exception, BackendMisconfigured)
    assert "SELFIEGATE_INSIGHTFACE__PACK" in str(run.exception)


def test_a_download_says_nothing_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there: the download ends at once

    with pytest.raises(BackendMisconfigured, match="could not be downloaded"):
        pack_folder(PackSettings(pack="buffalo_nobody", root=tmp_path))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "download_path:" in printed.err


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_insightface_itself_loads_the_pack_and_finds_a_close_up_at_one_size(share: float) -> None:
    app = FaceAnalysis(name=str(pack_folder(PackSettings(pack=TINY))), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=-1, det_size=(640, 640))
    portrait = Path(insightface.__file__).parent / "data/images/Tom_Hanks_54745.png"
    framed = Image.new("RGB", (320, 320), "grey")
    framed.paste(Image.open(portrait).convert("RGB"), (80, 80))
    [face] = app.get(np.asarray(framed)[..., ::-1])
    left, top, right, bottom = face.bbox
    x, y, half = (left + right) / 2, (top + bottom) / 2, (bottom - top) / share / 2
    near = framed.crop((int(x - half), int(y - half), int(x + half), int(y + half))).resize((800, 800))

    [found] = app.get(np.asarray(near)[..., ::-1])

    assert 0.8 * share < (found.bbox[3] - found.bbox[1]) / 800 < 1.2 * share
    assert found.normed_embedding @ face.normed_embedding > 0.6
