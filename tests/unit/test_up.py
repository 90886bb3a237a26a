"""What `selfiegate up` says, and which folders it takes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.local.folder import taken
from deployments.local.parts import Local
from deployments.local.postgres import programs
from deployments.local.stack import make_stack
from deployments.local.up import instructions, running, switch_schedules_on
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongInput
from tests.answering import answering


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    with taken(tmp_path / "up"):
        (tmp_path / "up" / "prefect.db").write_text("in use")
        with (
            pytest.raises(WrongInput, match=f"is in use by `selfiegate up`, pid {os.getpid()}"),
            taken(tmp_path / "up"),
        ):
            pass

        assert (tmp_path / "up" / "prefect.db").read_text() == "in use"


def test_what_the_last_one_left_is_cleared(tmp_path: Path) -> None:
    with taken(tmp_path / "up"):
        (tmp_path / "up" / "home").mkdir()
        (tmp_path / "up" / "home" / "gallery.db").write_text("old")
        (tmp_path / "up" / "aws.log").write_text("old")

    with taken(tmp_path / "up"):
        assert [entry.name for entry in (tmp_path / "up").iterdir()] == ["up.pid"]


def test_a_folder_of_something_else_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")

    with pytest.raises(WrongInput, match="`selfiegate up` did not make it"), taken(tmp_path):
        pass
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WrongInput, match="is no folder"), taken(tmp_path / "file"):
        pass


def test_a_link_is_cleared_and_what_it_leads_to_is_left(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with taken(tmp_path / "up"):
        (tmp_path / "up" / "link").symlink_to(tmp_path / "mine")
    with taken(tmp_path / "up"):
        assert not (tmp_path / "up" / "link").is_symlink()
    assert (tmp_path / "mine").is_dir()


def test_the_instructions_name_endpoint_bucket_and_a_copy_that_works(tmp_path: Path) -> None:
    env = {
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
        "SELFIEGATE_AWS__ENDPOINT_URL": "http://127.0.0.1:5555",
        "SELFIEGATE_AWS__PHOTO_BUCKET": "photos",
        "AWS_ACCESS_KEY_ID": "up",
        "AWS_SECRET_ACCESS_KEY": "up",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    told = instructions(Local(tmp_path, env, {}), ".up/selfiegate", "{user_id}/{name}")

    assert "Bucket:    photos" in told
    assert (
        "AWS_ACCESS_KEY_ID=up AWS_SECRET_ACCESS_KEY=up AWS_DEFAULT_REGION=eu-west-1 "
        "aws --endpoint-url http://127.0.0.1:5555 s3 cp PHOTO.jpg s3://photos/USER/PHOTO.jpg"
    ) in told


def test_a_stack_whose_makers_reply_was_lost_is_taken(empty_moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")  # it sets its own

    assert make_stack(empty_moto) == make_stack(empty_moto)


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "up" / "up.pid").symlink_to(tmp_path / "mine.txt")

    with pytest.raises(WrongInput, match="name another --folder"), taken(tmp_path / "up"):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.fixture
def busy() -> Iterator[tuple[str, list[int]]]:
    """A server that answers as Prefect's does, after as many 503 as are asked for; the address and that number."""
    refusals = [0]

    def reply(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if method == "POST":
            return 200, json.dumps([{"id": "d", "schedules": [{"id": "s", "parameters": {}}]}]).encode()
        refusals[0] -= 1
        return (503 if refusals[0] >= 0 else 204), b""

    with answering(reply, Retry_After="0") as address:
        yield f"{address}/api", refusals


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_server_that_is_busy_for_a_while_is_asked_again(
    tmp_path: Path, busy: tuple[str, list[int]], times: int
) -> None:
    busy[1][0] = times
    env = {"PREFECT_API_URL": busy[0], "SELFIEGATE_AWS__PHOTO_BUCKET": "photos"}
    switch_schedules_on(Local(tmp_path, env, {}))

    assert busy[1][0] == -1


def test_a_server_that_stays_busy_is_told_in_the_end(tmp_path: Path, busy: tuple[str, list[int]]) -> None:
    busy[1][0] = 100
    env = {"PREFECT_API_URL": busy[0], "SELFIEGATE_AWS__PHOTO_BUCKET": "photos"}
    with pytest.raises(BackendUnavailable, match=r"schedules cannot be switched on.*503"):
        switch_schedules_on(Local(tmp_path, env, {}))


@pytest.mark.parametrize(
    ("database", "refusal", "words"),
    [
        ("mysql://ann:hunter2@127.0.0.1/faces", WrongInput, "--database takes 'postgresql', or an address"),
        ("postgresql://ann:hunter2@127.0.0.1:1/faces", BackendUnavailable, "PostgreSQL faces at 127.0.0.1:1"),
        ("postgresql://ann:hunter2/@127.0.0.1/faces", WrongInput, "write @ as %40, / as %2F"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_before_anything_starts(
    tmp_path: Path, database: str, refusal: type[Exception], words: str
) -> None:
    with pytest.raises(refusal, match=words) as refused, running(tmp_path / "up", database=database):
        pass

    assert "hunter2" not in str(refused.value)
    assert [*(tmp_path / "up").glob("*.log")] == []


def test_where_no_postgresql_is_installed_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "postgres").touch()  # a client's package, without initdb

    with pytest.raises(BackendMisconfigured, match=r"no PostgreSQL is installed here; run `make up`.*install"):
        programs([tmp_path, tmp_path / "nowhere"])
