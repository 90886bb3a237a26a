"""What compose's PostgreSQL runs when it makes its data, run on a real server: a database and a role of our own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from selfiegate import databases
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.settings import Settings
from tests.postgres import PATIENCE_S, PostgresServer

SCRIPT = Path(__file__).parents[2] / "deployments" / "postgres" / "selfiegate.sh"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server as the image makes it: `prefect` may do everything, and owns a database of its name."""
    server = PostgresServer()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE prefect SUPERUSER LOGIN")
        connection.execute("CREATE DATABASE prefect OWNER prefect")
    server.ask_for_passwords("selfiegate")
    with psycopg.connect(address(server, "prefect", "prefect"), autocommit=True) as connection:
        connection.execute("ALTER ROLE selfiegate RENAME TO formerly")  # the tests' own
    yield server
    server.stop()


def address(server: PostgresServer, role: str, database: str) -> str:
    return f"postgresql://{role}@127.0.0.1:{server.port}/{database}"


def initialise(server: PostgresServer, password: str | None) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": f"{server.programs}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "POSTGRES_USER": "prefect",
        "POSTGRES_DB": "prefect",
        **({} if password is None else {"DATABASE_PASSWORD": password}),
    }
    return subprocess.run(["sh", SCRIPT], env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_our_role_may_make_its_tables_and_see_no_other_database(server: PostgresServer) -> None:
    first, again = (initialise(server, "it's secret") for _ in range(2))

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    ours = address(server, "selfiegate:it%27s%20secret", "selfiegate")
    databases.upgrade(Settings(database=ours))
    PostgresDatabase(ours).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(address(server, "selfiegate:it%27s%20secret", "prefect"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address(server, "selfiegate:other", "selfiegate"))
    with psycopg.connect(address(server, "prefect", "postgres")) as connection:
        (found,) = connection.execute(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'selfiegate'"
        ).fetchall()
    assert found == (False,)


def test_another_password_takes_the_place_of_the_first(server: PostgresServer) -> None:
    for word in ("first", "second"):
        assert initialise(server, word).returncode == 0

    psycopg.connect(address(server, "selfiegate:second", "selfiegate")).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address(server, "selfiegate:first", "selfiegate"))


def test_without_a_password_nothing_is_made(server: PostgresServer) -> None:
    run = initialise(server, None)

    assert run.returncode != 0
    assert "DATABASE_PASSWORD: set it in deployments/.env" in run.stderr
