"""Nothing that handles a face tells anybody else: no file of a library's telemetry, no name looked up outside.

onnxruntime's telemetry is native code that begins when it is imported: it writes a device's id and a queue of events
below the home folder. Python sees neither its files nor its look-ups, so the folder is searched, and strace is asked
where there is one. Prefect's is Python: an audit hook in each process writes down whom it looks up.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

pytestmark = [pytest.mark.system, pytest.mark.weights, pytest.mark.usefixtures("pack")]

ROOT = Path(__file__).parents[2]

HOOK = """
import os, sys

def note(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        asked = arguments[1] if event == "socket.connect" else arguments[0]
        host = asked[0] if isinstance(asked, tuple) else asked
        if host not in (None, "127.0.0.1", "localhost", "::1", b"127.0.0.1", "0.0.0.0", "") and "/" not in str(host):
            with open(os.environ["ASKED_FILE"], "a") as asked_file:
                asked_file.write(f"{event} {host}\\n")

sys.addaudithook(note)
"""

CHECK = "import sys, selfiegate; assert selfiegate.check(sys.argv[1]).usable"
DASK = """
import sys, selfiegate
from distributed import Client, LocalCluster
with LocalCluster(n_workers=1, processes=True, dashboard_address=None, host="127.0.0.1") as cluster:
    with Client(cluster) as client:
        assert client.submit(selfiegate.check, sys.argv[1]).result().usable
"""
TASKS = """
import sys
import flows.process_photo
from selfiegate.runtime import runtime
rt = runtime()
assert len(rt.faces.detect(rt.photos.find(sys.argv[1])).faces) == 1
"""
STARTS = {
    "library": ["-c", CHECK],
    "command": ["-m", "selfiegate", "process", "--user", "ann", "--json"],
    "explain": ["-m", "selfiegate", "explain", "--json"],
    "doctor": ["-m", "selfiegate", "doctor"],
    "tasks": ["-c", TASKS],
    "dask": ["-c", DASK],
}


class Apart:
    """A home that is empty, and processes that know of nothing else."""

    def __init__(self, folder: Path) -> None:
        self.home, self.asked, hooks = folder / "own", folder / "asked", folder / "hooks"
        self.home.mkdir()
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(HOOK)
        kept = ("PATH", "SELFIEGATE_HOME", "SELFIEGATE_INSIGHTFACE__PACK", "SELFIEGATE_INSIGHTFACE__ROOT")
        self.env = {name: os.environ[name] for name in kept if name in os.environ}
        self.env |= {"HOME": str(self.home), "PYTHONPATH": f"{hooks}:{ROOT}", "ASKED_FILE": str(self.asked)}

    def run(self, *command: str, **more: str) -> None:
        """Run a command to its end as if from a terminal: Prefect tells of itself only there."""
        terminal, its_end = pty.openpty()
        try:
            run = subprocess.run(
                command, env=self.env | more, cwd=self.home, stdout=subprocess.PIPE, stderr=its_end, timeout=300,
                check=False,
            )  # fmt: skip
            os.close(its_end)
            assert run.returncode == 0, (run.stdout, os.read(terminal, 100_000))
        finally:
            os.close(terminal)

    def told(self) -> list[str]:
        """Return the files of telemetry, and whom the processes looked up."""
        files = [str(path) for path in self.home.rglob("*") if re.search(r"Microsoft|deviceid", str(path))]
        return files + (self.asked.read_text().splitlines() if self.asked.exists() else [])


@pytest.fixture
def apart(tmp_path: Path) -> Apart:
    return Apart(tmp_path)


@pytest.mark.parametrize(
    "start", [pytest.param(name, marks=[] if name in ("library", "command") else pytest.mark.slow) for name in STARTS]
)
def test_a_process_that_handles_a_face_tells_nobody(apart: Apart, workshop: Path, start: str) -> None:
    photo = [] if start == "doctor" else [str(workshop / "1_happy_face.jpg")]
    apart.run(sys.executable, *STARTS[start], *photo)

    assert apart.told() == []


@pytest.mark.slow
def test_a_flow_run_tells_nobody(apart: Apart, workshop: Path, prefect_api: None) -> None:
    photo = str(workshop / "1_happy_face.jpg")
    apart.run(sys.executable, *STARTS["command"], photo, PREFECT_API_URL=PREFECT_API_URL.value())

    assert apart.told() == []


@pytest.mark.slow
@pytest.mark.parametrize("start", ["library", "command"])
def test_no_name_is_looked_up_by_native_code(apart: Apart, workshop: Path, tmp_path: Path, start: str) -> None:
    strace, trace = shutil.which("strace"), tmp_path / "trace"
    if not strace or subprocess.run([strace, "-o", trace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("strace is not installed, or may not trace")
    calls = "trace=connect,sendto,sendmsg,sendmmsg,openat"
    photo = str(workshop / "1_happy_face.jpg")
    apart.run(strace, "-f", "-e", calls, "-o", str(trace), sys.executable, *STARTS[start], photo)

    lines = trace.read_text(errors="replace").splitlines()
    assert [line for line in lines if re.search(r"AF_INET|/etc/hosts|/etc/resolv|Microsoft", line)] == []
