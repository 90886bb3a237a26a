"""Which queue the bridge takes from, the token of its intake, and the commands about the queue in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from selfiegate import databases
from selfiegate.aws.sqs_queue import SqsQueue
from selfiegate.databases import open_postgres_queue, open_queue
from selfiegate.errors import BackendMisconfigured, WrongSetting
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.settings import load_settings
from selfiegate.stores.postgres_queue import PostgresQueue
from tests.contract.queue import received
from tests.postgres import PATIENCE_S, PostgresServer

TOKEN = "hunter2-hunter2-hunter2"  # noqa: S105  of nothing


def selfiegate(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selfiegate", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_a_database_alone_holds_the_queue(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", postgres.database("alone"))
    queue = open_queue(load_settings())
    queue.check()

    assert isinstance(queue, PostgresQueue)
    assert "alone at 127.0.0.1" in queue.place


def test_a_queue_of_sqs_goes_before_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", "postgresql://nowhere.invalid/selfiegate")
    monkeypatch.setenv("SELFIEGATE_AWS__QUEUE_URL", "http://x/1/photos")
    settings = load_settings()

    assert isinstance(open_queue(settings), SqsQueue)
    with pytest.raises(BackendMisconfigured, match=r"events are in SQS .SELFIEGATE_AWS__QUEUE_URL."):
        open_postgres_queue(settings)


def test_without_either_it_is_said_what_to_set() -> None:
    with pytest.raises(BackendMisconfigured, match=r"SELFIEGATE_DATABASE=postgresql://\.\.\. or SELFIEGATE_AWS__QUEUE"):
        open_queue(load_settings())


def test_upgrade_makes_the_queues_table_too(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.database("upgraded")
    monkeypatch.setenv("SELFIEGATE_DATABASE", url)
    databases.upgrade(load_settings())
    database = PostgresDatabase(url, size=1)
    parts = {row["part"] for row in database.read("SELECT part FROM selfiegate_schema")}
    database.close()

    assert parts == {"records", "gallery", "queue"}


@pytest.mark.parametrize("wrong", ["hunter2", TOKEN + " x", TOKEN + "é", "x" * 513])
def test_what_is_no_token_is_refused_and_never_shown(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_BRIDGE__TOKEN", wrong)

    with pytest.raises(WrongSetting, match=r"SELFIEGATE_BRIDGE__TOKEN .*: it is no token: 16 to 512") as refused:
        load_settings()
    assert wrong not in str(refused.value)


def test_an_empty_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_BRIDGE__TOKEN", "")

    assert load_settings().bridge.token is None


def test_a_token_needs_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_BRIDGE__TOKEN", TOKEN)
    monkeypatch.setenv("SELFIEGATE_BRIDGE__PORT", "0")

    with pytest.raises(WrongSetting, match=r"SELFIEGATE_BRIDGE__PORT .* cannot be 0: POST /events needs") as refused:
        load_settings()
    assert TOKEN not in str(refused.value)


def test_no_command_shows_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_BRIDGE__TOKEN", TOKEN)
    shown, as_json = selfiegate("settings"), selfiegate("settings", "--json")

    assert "SELFIEGATE_BRIDGE__TOKEN=**********" in shown.stdout
    assert as_json.returncode == 0
    assert "hunter2" not in shown.stdout + shown.stderr + as_json.stdout + as_json.stderr


def test_the_commands_list_dead_events_and_send_them_again(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", postgres.database("commands"))
    queue = open_postgres_queue(load_settings())
    for number in range(3):
        queue.put(f'{{"key": "{number}/[bold]a.jpg"}}')
    for message in received(queue, 3):
        queue.bury(message, "no [bold]user\x1b[31m")
    stats, listed, one = (selfiegate("events", *words) for words in (["stats"], ["dead"], ["dead", "--json"]))
    (number, *others) = (dead["id"] for dead in json.loads(one.stdout))
    first, again = selfiegate("events", "redrive", str(number)), selfiegate("events", "redrive", str(number))
    rest, neither = selfiegate("events", "redrive", "--all"), selfiegate("events", "redrive")

    assert "0 wait, a bridge keeps 0, 3 are dead" in stats.stdout
    assert "no [bold]user�[31m" in listed.stdout
    assert "[bold]a.jpg" in listed.stdout
    assert "take again: 1" in first.stdout
    assert (again.returncode, f"no dead event has the number {number}" in again.stderr) == (2, True)
    assert "take again: 2" in rest.stdout
    assert (neither.returncode, "or say --all" in neither.stderr) == (2, True)
    assert {int(message.id) for message in received(queue, 3)} == {number, *others}
