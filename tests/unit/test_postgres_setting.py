"""SELFIEGATE_DATABASE: what it puts where, what is refused, and that its password is never shown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from selfiegate.databases import open_records
from selfiegate.errors import WrongSetting
from selfiegate.settings import load_settings
from selfiegate.settings_table import rows
from tests.postgres import PATIENCE_S, PostgresServer

SECRET = "hunter2"  # noqa: S105  of nothing


def _selfiegate(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selfiegate", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_one_setting_puts_the_records_into_postgresql(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", postgres.database("one"))
    ids = {open_records(load_settings()).known_gallery.records_id for _ in range(2)}

    assert (load_settings().records, load_settings().gallery) == ("postgres", "postgres")
    assert len(ids) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///",
        "postgres://db",
        "postgresql://ann:a%40b@one:5432,two:5433/faces?target_session_attrs=any",
        "postgresql://[::1]:5432/faces",
        "postgresql:///faces?host=/run/postgresql&sslmode=verify-full",
    ],
)
def test_addresses_as_libpq_knows_them_are_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", url)
    database = load_settings().database

    assert database is not None
    assert database.get_secret_value() == url


def test_records_may_lie_elsewhere_beside_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", "postgresql://db/selfiegate")
    monkeypatch.setenv("SELFIEGATE_RECORDS", "dynamodb")

    assert (load_settings().records, load_settings().gallery) == ("dynamodb", "postgres")


def test_records_in_postgresql_need_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_RECORDS", "postgres")

    with pytest.raises(WrongSetting, match=r"SELFIEGATE_RECORDS .* needs a database; .*SELFIEGATE_DATABASE="):
        load_settings()


@pytest.mark.parametrize("wanted", [{"SELFIEGATE_GALLERY": "sqlite"}, {"SELFIEGATE_RECORDS": "sqlite"}], ids=str)
def test_one_of_records_and_faces_in_postgresql_and_the_other_in_a_file_is_refused(
    wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", "postgresql://db/selfiegate")
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(WrongSetting, match=r"SELFIEGATE_RECORDS .*: with SELFIEGATE_GALLERY=.* accepted twice"):
        load_settings()


def test_a_gallery_in_postgresql_needs_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_GALLERY", "postgres")

    with pytest.raises(WrongSetting, match=r"SELFIEGATE_GALLERY .* needs a database; .*SELFIEGATE_DATABASE="):
        load_settings()


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://ann:{SECRET}@db/faces",
        f"ann:{SECRET}@db",
        f"postgresql:ann:{SECRET}@db",
        f"postgresql://ann:a@{SECRET}@db/faces",
        f"postgresql://ann:a/{SECRET}@db/faces",
        f"postgresql://ann@127.0.0.1:{SECRET}/faces",
    ],
)
def test_what_is_no_address_is_refused_and_never_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", url)

    with pytest.raises(WrongSetting, match=r"SELFIEGATE_DATABASE .*: it is no postgresql://USER") as refused:
        load_settings()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@127.0.0.1:1/faces",
        f"postgresql://ann:{SECRET}@127.0.0.1:1/faces?nonsense={SECRET}",
        f"postgresql://ann:{SECRET}%zz@127.0.0.1:1/faces",
    ],
)
def test_no_command_shows_the_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", url)
    monkeypatch.setenv("SELFIEGATE_BACKEND", "rekognition")
    failed, doctor, shown = _selfiegate("database", "upgrade"), _selfiegate("doctor"), _selfiegate("settings")

    assert failed.returncode != 0
    assert "Traceback" not in failed.stderr
    for told in (failed, doctor, shown):
        assert SECRET not in told.stdout + told.stderr
    assert SECRET not in repr(load_settings()) + repr(rows(load_settings()))


def test_the_command_makes_the_tables(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_DATABASE", postgres.database("upgraded"))
    first, second = _selfiegate("database", "upgrade"), _selfiegate("database", "upgrade")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "the tables in postgres are as this version needs them" in first.stdout
