"""What is loaded is what is set."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from selfiegate.errors import BackendMisconfigured, WrongSetting
from selfiegate.runtime import memory_runtime, open_runtime, runtime, using
from selfiegate.settings import load_settings
from tasks.cluster import cluster
from tests.postgres import PostgresServer

WITHOUT = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
from selfiegate.runtime import memory_runtime, open_photos
from selfiegate.settings import load_settings
import selfiegate.cli.app
import selfiegate.enrolment.protocol
open_photos(load_settings())
memory_runtime()
"""


@pytest.mark.parametrize("absent", [["boto3", "botocore"], ["insightface", "onnxruntime", "cv2", "faiss"], ["prefect"]])
def test_the_product_needs_only_what_is_set(absent: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(absent=absent)], capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr


def test_a_replaced_runtime_is_given_back() -> None:
    with using(memory_runtime()) as outer:
        with using(memory_runtime()) as inner:
            assert runtime() is inner
        assert runtime() is outer


def test_faces_of_one_machine_beside_records_of_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_RECORDS", "dynamodb")

    with pytest.raises(WrongSetting, match=r"SELFIEGATE_RECORDS .*'dynamodb': with SELFIEGATE_GALLERY=sqlite"):
        load_settings()


def test_thumbnails_of_one_machine_beside_records_of_many_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres: PostgresServer
) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", postgres.database("thumbnails"))
    with pytest.raises(WrongSetting, match="THUMBNAIL_BUCKET is not set, and records in postgres serve many machines"):
        open_runtime(load_settings())
    monkeypatch.setenv("SELFIEGATE_THUMBNAILS__FOLDER", str(tmp_path / "shared"))
    rt = open_runtime(load_settings())
    rt.thumbnails.put("ann/photo/250x250.jpg", b"small", "image/jpeg")

    assert (tmp_path / "shared/ann/photo/250x250.jpg").exists()


@pytest.mark.parametrize("wanted", [{}, {"SELFIEGATE_BACKEND": "rekognition"}], ids=str)
def test_a_dask_cluster_elsewhere_is_refused_where_it_cannot_share_the_stores(
    wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)

    refused = pytest.raises(BackendMisconfigured, match="tcp://elsewhere:8786 cannot share")

    async def connect() -> None:
        async with cluster("tcp://elsewhere:8786", 1):
            raise AssertionError("connected")

    with refused:
        asyncio.run(connect())
