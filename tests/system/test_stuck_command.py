"""A command whose step hangs for good: it ends, and another process gives the verdict."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selfiegate.aws.clients import client
from tests.aws.local import PHOTOS, create, settings
from tests.aws.proxy import Proxy

pytestmark = [pytest.mark.system, pytest.mark.weights, pytest.mark.usefixtures("pack")]

HASTY = {
    "SELFIEGATE_RETRIES__STEP_TIMEOUT_S": "3",
    "SELFIEGATE_STORE_PATIENCE_S": "3",
    "SELFIEGATE_LEASE_S": "2",
    "AWS_DEFAULT_REGION": "eu-west-1",
}
PATIENCE_S = 300
"""A bound on hangs of the test itself."""


@pytest.fixture
def proxy(empty_moto: str) -> Iterator[Proxy]:
    made = Proxy(empty_moto)
    yield made
    made.close()


def selfiegate(proxy: Proxy, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a Prefect server, with photos in S3 behind the proxy."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    inside = {"SELFIEGATE_AWS__ENDPOINT_URL": proxy.url, "SELFIEGATE_HOME": str(home), "PREFECT_HOME": str(home)}
    command = [sys.executable, "-m", "selfiegate", *arguments]
    environment = {**outside, **HASTY, **inside}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S, check=False)


def row_of(home: Path, user_id: str) -> tuple[str, str] | None:
    with closing(sqlite3.connect(home / "records.db")) as records:
        row: tuple[str, str] | None = records.execute(
            "SELECT status, owner FROM claims WHERE user_id = ?", [user_id]
        ).fetchone()
        return row


def test_it_ends_and_reconcile_gives_the_verdict(proxy: Proxy, empty_moto: str, workshop: Path, tmp_path: Path) -> None:
    """The photo's store sends a byte each second, which no timeout of a read ends."""
    aws, home = settings(empty_moto), tmp_path / "home"
    create(aws)
    client("s3", aws).upload_file(str(workshop / "3_multiple_faces.jpg"), PHOTOS, "user_h.jpg")
    proxy.fail("s3:GetObject", "trickle", 1)
    hung = selfiegate(proxy, home, "process", f"s3://{PHOTOS}/user_h.jpg", "--user", "user_h")
    left = row_of(home, "user_h")
    give_up = time.monotonic() + PATIENCE_S
    while (row := row_of(home, "user_h")) and row[0] == "pending":
        assert time.monotonic() < give_up
        assert selfiegate(proxy, home, "reconcile").returncode == 0

    assert hung.returncode == 1
    assert "judge_photo did not come back, so this process ends" in hung.stderr
    assert "Traceback" not in hung.stderr
    assert left
    assert left[0] == "pending"
    assert row
    assert (row[0], row[1] != left[1]) == ("rejected", True)
