"""What all tests share: settings of their own, no waiting between retries, weights where they can be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"

for name in [name for name in os.environ if name.startswith("SELFIEGATE_") and "INSIGHTFACE" not in name]:
    del os.environ[name]
os.environ["SELFIEGATE_RETRIES__FIRST_DELAY_S"] = "0"  # read when the tasks are imported
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
# Prefect's SQLite turns clients away while it writes events ("database is locked"); nothing here reads them.
for service in ("EVENT_PERSISTER", "TASK_RUN_RECORDER", "TRIGGERS"):
    os.environ[f"PREFECT_SERVER_SERVICES_{service}_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
if (SHARED / "insightface").is_dir():
    os.environ.setdefault("SELFIEGATE_INSIGHTFACE__ROOT", str(SHARED / "insightface"))
    os.environ.setdefault("SELFIEGATE_INSIGHTFACE__PACK", "buffalo_sc_dequant")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """One Prefect server with an empty database, for the whole session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def pack() -> object:
    """The settings of a real model pack, downloaded where that is possible."""
    from selfiegate.backends.insightface.pack import pack_folder
    from selfiegate.errors import BackendMisconfigured
    from selfiegate.settings import load_settings

    settings = load_settings().insightface
    try:
        pack_folder(settings)
    except BackendMisconfigured as error:
        pytest.skip(f"no weights: {error}")
    return settings


@pytest.fixture(scope="session")
def workshop() -> Path:
    """The folder with the workshop's photos."""
    folder = SHARED / "photos" / "workshop"
    if not folder.is_dir():
        pytest.skip(f"no workshop photos in {folder}")
    return folder
