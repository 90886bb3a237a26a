"""Whole runs in processes of their own, and then a search of all that Prefect kept of them and all that they wrote."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import sqlite3
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import boto3
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.local.demo_photos import ANOTHER, draw
from deployments.local.parts import BATCHES
from deployments.local.processes import Part, answers, free_port
from tests.hostile.leaks import Secrets, everything_in

pytestmark = [
    pytest.mark.system,
    pytest.mark.weights,
    pytest.mark.slow,
]

ROOT = Path(__file__).parents[2]
DOMAIN = "riders.example"
LOUD = "import logging; logging.getLogger('selfiegate').setLevel('DEBUG')\n"
COMMAND = LOUD + "from selfiegate.__main__ import main; main()"
EVENT = f"""{LOUD}
import asyncio, json, sys
from flows.process_event import process_event
print(asyncio.run(process_event(json.loads(sys.argv[1]))))
"""


TOGETHER = f"""{LOUD}
import asyncio, sys
from flows.process_photos import process_photos
from selfiegate.runtime import runtime
find = runtime().photos.find
photos = [{{"photo": find(uri), "user_id": f"user_{{n}}"}} for n, uri in enumerate(sys.argv[1:])]
print(asyncio.run(process_photos(photos)))
"""


class Runs(NamedTuple):
    """What was left behind by runs of each kind."""

    folder: Path
    """Prefect's home, and all that was printed."""
    home: Path
    report: Path
    sheet: Path
    secrets: Secrets


def enrolled(home: Path) -> tuple[list[NDArray[np.float32]], list[bytes]]:
    """Return all embeddings and thumbnails."""
    with closing(sqlite3.connect(home / "gallery.db")) as gallery:
        stored = [np.frombuffer(blob, np.float16) for (blob,) in gallery.execute("SELECT embedding FROM faces")]
    embeddings = [one.astype(np.float32) / np.linalg.norm(one.astype(np.float32)) for one in stored]
    return embeddings, [file.read_bytes() for file in (home / "thumbnails").rglob("*.jpg")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, workshop: Path, pack: object, moto: str) -> Runs:
    """Run photos to each kind of end, with everything logged that can be, beside a Prefect server of their own."""
    folder, home = tmp_path_factory.mktemp("seen"), tmp_path_factory.mktemp("kept") / "home"
    broken = home.with_name("broken")
    broken.mkdir()
    (broken / "thumbnails").write_text("where a folder should be")
    bucket, port = f"photos-{uuid.uuid4().hex[:8]}", free_port()
    boto3.client("s3", endpoint_url=moto).create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    draw(drawn := tmp_path_factory.mktemp("drawn"))
    other = drawn / ANOTHER
    boto3.client("s3", endpoint_url=moto).put_object(Bucket=bucket, Key="user_s/me.jpg", Body=other.read_bytes())
    boto3.client("ses", endpoint_url=moto).verify_email_identity(EmailAddress="ops@selfiegate.example")
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        **BATCHES,
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "selfiegate",
        "SELFIEGATE_HOME": str(home),
        "SELFIEGATE_RETRIES__ATTEMPTS": "1",
        "SELFIEGATE_AWS__ENDPOINT_URL": moto,
        "SELFIEGATE_NOTICES": '["log", "ses"]',
        "SELFIEGATE_AWS__SENDER": "ops@selfiegate.example",
        "SELFIEGATE_AWS__EMAIL_TEMPLATE": "{user_id}@" + DOMAIN,
    }
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--host", "127.0.0.1"]
    health = f"http://127.0.0.1:{port}/api/health"
    server = Part("prefect", [*prefect, "--port", str(port)], env, folder / "server.log", lambda: answers(health))

    def run(name: str, *arguments: str | Path, ends_with: int = 0, **more: str) -> None:
        command = [sys.executable, *map(str, arguments)]
        with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
            given = {"env": {**env, **more}, "cwd": home.parent, "stdout": out, "stderr": err}
            ended = subprocess.run(command, timeout=300, check=False, umask=0, **given)  # type: ignore[call-overload]
        assert ended.returncode == ends_with, (folder / f"{name}.err").read_text()[-2000:]

    ours, happy = ("-c", COMMAND), workshop / "1_happy_face.jpg"
    photos, report, sheet = home.parent / "photos", home.parent / "report.jsonl", home.parent / "sheet.html"
    photos.mkdir()
    for photo in workshop.glob("[1-4]_*.jpg"):
        shutil.copy(photo, photos)
    event = json.dumps({"userId": "user_s", "s3Bucket": bucket, "s3Key": "user_s/me.jpg"})
    try:
        server.start()
        server.wait_until_ready()
        run("accepted", *ours, "process", happy, "--user", "user_a", "--verbose")
        run("refused", *ours, "process", workshop / "2_sunglass_face.jpg", "--user", "user_b", "--verbose")
        run("enrolled", *ours, "process", happy, "--user", "user_e", "--verbose", "--json")
        fails = {"SELFIEGATE_HOME": str(broken), "ends_with": 1}
        run("failed", *ours, "process", happy, "--user", "user_f", "--verbose", **fails)  # type: ignore[arg-type]
        run("event", "-c", EVENT, event)
        run("together", "-c", TOGETHER, happy, workshop / "4_no_face.jpg")
        run("reconcile", *ours, "reconcile", "--audit", "--verbose")
        files = ("--report", report, "--html", sheet)
        run("backfill", *ours, "backfill", photos, "--key-template", "{user_id}.jpg", "--notify", "--verbose", *files)
        run("explain", *ours, "explain", happy)
        embeddings, thumbnails = enrolled(home)
        run("forget", *ours, "forget", "user_s", "--yes", "--verbose", "--json")
    finally:
        server.stop()
    assert len(embeddings) == len(thumbnails) == len(enrolled(home)[0]) + 1 >= 2
    pictures = [*(photo.read_bytes() for photo in workshop.iterdir()), *thumbnails]
    return Runs(folder, home, report, sheet, Secrets(embeddings, pictures, [DOMAIN.encode()]))


def test_prefect_and_the_logs_keep_nothing_of_a_face_or_an_address(runs: Runs) -> None:
    found = {name: hits for name, data in everything_in(runs.folder) if (hits := runs.secrets.found_in(data))}

    assert found == {}
    assert runs.secrets.found_in(runs.report.read_bytes()) == []


def test_of_results_prefect_writes_the_message_of_an_error_alone_and_no_pickle(runs: Runs) -> None:
    (file,) = (file for file in (runs.folder / "prefect" / "storage").rglob("*") if file.is_file())
    written = json.loads(file.read_text())

    assert written.keys() == {"__exc_type__", "message"}
    assert written["__exc_type__"] == "selfiegate.errors.BackendMisconfigured"


def test_each_kind_of_run_was_there_to_be_searched(runs: Runs) -> None:
    with closing(sqlite3.connect(runs.folder / "prefect" / "prefect.db")) as database:
        ends = {name for (name,) in database.execute("SELECT state_name FROM flow_run")}
        logs = "\n".join(message for (message,) in database.execute("SELECT message FROM log"))
        (artifacts,) = database.execute("SELECT count(*) FROM artifact").fetchone()

    assert ends >= {"Accepted", "Rejected", "Failed", "Completed", "Reconciled", "Backfilled", "Forgotten"}
    assert "notice to user_b" in logs
    assert "cannot write" in logs
    assert artifacts >= 5


def in_parameters(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    return "UPDATE flow_run SET parameters = ?", json.dumps({"face": vector.tolist()})


def in_a_log(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    return "UPDATE log SET message = ?", f"looked at {vector!r}"


def shortened_in_a_log(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    with np.printoptions(threshold=10):
        return "UPDATE log SET message = ?", f"looked at {vector}"


def as_hex(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    return "UPDATE log SET message = ?", vector.astype(np.float16).tobytes().hex()


def as_pickle_in_base64(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    return "UPDATE log SET message = ?", base64.b64encode(pickle.dumps({"raw": vector * 21.5})).decode()


def as_bytes(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    return "UPDATE log SET message = ?", vector.astype(np.float16).tobytes()


def picture_in_base64(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    return "UPDATE artifact SET data = ?", json.dumps(base64.b64encode(picture[100:]).decode())


def part_of_a_picture(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    return "UPDATE log SET message = ?", picture[len(picture) // 3 : -len(picture) // 3]


def address(vector: np.ndarray, picture: bytes) -> tuple[str, object]:
    return "UPDATE log SET message = ?", f"mail to user_b@{DOMAIN}"


@pytest.mark.parametrize(
    "plant",
    [
        in_parameters, in_a_log, shortened_in_a_log, as_hex, as_pickle_in_base64, as_bytes, picture_in_base64,
        part_of_a_picture, address,
    ],
)  # fmt: skip
def test_the_search_finds_what_is_planted(
    runs: Runs, tmp_path: Path, plant: Callable[[np.ndarray, bytes], tuple[str, object]]
) -> None:
    copy = tmp_path / "copy" / "prefect.db"
    copy.parent.mkdir()
    sql, value = plant(runs.secrets.embeddings[0], runs.secrets.pictures[-1])
    with (
        closing(sqlite3.connect(runs.folder / "prefect" / "prefect.db")) as source,
        closing(sqlite3.connect(copy)) as to,
    ):
        source.backup(to)
        to.execute(f"{sql} WHERE id IN (SELECT id FROM {sql.split()[1]} LIMIT 1)", (value,))  # noqa: S608  ours
        to.commit()

    assert [name for name, data in everything_in(copy.parent) if runs.secrets.found_in(data)]


def test_all_that_is_kept_is_for_its_owner_alone_whatever_the_umask(runs: Runs) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (runs.home, *runs.home.rglob("*"))}
    files = {path: mode for path, mode in modes.items() if path.is_file()}

    assert {path.suffix for path in files} >= {".db", ".jpg"}
    assert set(files.values()) == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    shown = [runs.report, runs.sheet, runs.home.parent / "1_happy_face.explained.png"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in shown} == {0o600}
