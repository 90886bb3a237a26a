"""What all tests share: settings of their own, no waiting between retries, weights where they can be had."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.insightface.pack import PackSettings
from selfiegate.model import PhotoRef
from selfiegate.runtime import MemoryRuntime
from tests.postgres import PostgresServer

# On a busy machine any example may take long. The same examples are drawn each time, except for `make chaos`.
settings.register_profile("steady", deadline=None, derandomize=os.environ.get("CHAOS") is None, database=None)
settings.load_profile("steady")

SHARED = Path(__file__).parents[2] / "shared"

for name in [name for name in os.environ if name.startswith("SELFIEGATE_") and "INSIGHTFACE" not in name]:
    del os.environ[name]
os.environ["SELFIEGATE_RETRIES__FIRST_DELAY_S"] = "0"  # read when the tasks are imported
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "12"  # 5 by default: on a busy machine its SQLite is locked for longer
# Prefect's SQLite turns clients away while it writes events ("database is locked"); nothing here reads them.
for service in ("EVENT_PERSISTER", "TASK_RUN_RECORDER", "TRIGGERS"):
    os.environ[f"PREFECT_SERVER_SERVICES_{service}_ENABLED"] = "false"
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="eu-west-1")  # noqa: S106
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
os.environ.setdefault("SELFIEGATE_INSIGHTFACE__PACK", "selfiegate_tiny")
if root := os.environ.get("SELFIEGATE_INSIGHTFACE__ROOT"):  # tests have working folders of their own
    os.environ["SELFIEGATE_INSIGHTFACE__ROOT"] = str(Path(root).absolute())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test of many processes once more where it fails, for machines without time; never what shows a promise.

    The summary counts and names what was run again.
    """
    for item in items:
        if item.get_closest_marker("system") and not item.get_closest_marker("promise"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests of this process; each makes a database of its own."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def rt() -> MemoryRuntime:
    """A runtime in memory, for scripted photos."""
    from selfiegate.runtime import memory_runtime

    return memory_runtime()


@pytest.fixture
def ann(rt: MemoryRuntime) -> PhotoRef:
    """The reference of Ann's selfie."""
    from selfiegate.backends.scripted import scripted_photo

    return rt.photos.add("ann/selfie.png", scripted_photo("ann"))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Let processes that tests start hear Ctrl-C: a shell that runs the tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _sessions_as_before() -> Iterator[None]:
    """Give AWS clients the environment's credentials again: tests that race open stores with a session of their own."""
    yield
    clients = sys.modules.get("selfiegate.aws.clients")
    if clients and clients._access_of is not clients.access_of_environment:
        clients.take_access_from(clients.access_of_environment)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """See that a test leaves the signals alone: a process started where SIGTERM is ignored ignores it too."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """One Prefect server with an empty database, for the whole session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of moto's server: S3, DynamoDB, SNS, SES, SQS."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def scripted_rekognition(moto: str) -> Iterator[Any]:
    """A Rekognition endpoint that sees scripted photos."""
    from selfiegate.backends.scripted import ScriptedAnalyser
    from tests.rekognition import RekognitionServer

    with RekognitionServer(ScriptedAnalyser(), s3_url=moto, port=0) as server:
        yield server


@pytest.fixture
def empty_moto(moto: str) -> str:
    """moto's server, without what other tests made."""
    import requests

    requests.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    return moto


@pytest.fixture
def aws(empty_moto: str, scripted_rekognition: Any) -> AwsSettings:
    """Settings that lead to empty buckets, tables and an empty collection."""
    import boto3

    from tests.aws.local import create, settings

    scripted_rekognition.reset()
    found = settings(empty_moto, scripted_rekognition.url)
    create(found)
    boto3.client("rekognition", endpoint_url=scripted_rekognition.url).create_collection(CollectionId=found.collection)
    return found


@pytest.fixture(scope="session")
def pack() -> PackSettings:
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
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the workshop's photos, or with others that get the same verdicts."""
    from deployments.local.demo_photos import draw

    folder = SHARED / "photos" / "workshop"
    if not folder.is_dir():
        folder = tmp_path_factory.mktemp("workshop")
        draw(folder)
    return folder


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: no power fails here, and a killed process loses nothing that it wrote, so disks only cost."""
    fast = Path("/dev/shm")  # noqa: S108  a folder of our own in it
    with tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else None) as folder:
        yield Path(folder)
