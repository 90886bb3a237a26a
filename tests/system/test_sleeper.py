"""What a process leaves that was stopped past its lease, and what the schedules of prefect.yaml make of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment import protocol
from selfiegate.enrolment.sequence import finish, process_photo
from selfiegate.model import PhotoRef
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime, using
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.unfinished import unfinished
from tests.chaos.rounds import PATIENCE_S, context, is_stopped
from tests.flowruns import LOOP
from tests.runtimes import assert_consistent, replacing, scripted_runtime

pytestmark = [pytest.mark.system, pytest.mark.promise, pytest.mark.usefixtures("prefect_api")]

ROOT = Path(__file__).parents[2]


class Stopping:
    """A store that stops its process right before its first call of a method, and kills it right after where asked."""

    def __init__(self, real: Any, method: str, dies: bool) -> None:
        self._real, self._method, self._dies = real, method, dies

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return self._stopping(real) if name == self._method else real

    def _stopping(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._method = ""
            os.kill(os.getpid(), signal.SIGSTOP)
            result = real(*args, **kwargs)
            if self._dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def opened(home: Path) -> Runtime:
    return scripted_runtime(home, Settings(home=home, lease_s=5, audit_pause_s=0.1))


def sleep_over(home: Path, part: str, method: str, dies: bool) -> None:
    """Run a photo of ann, as far as that goes."""
    rt = opened(home)
    rt = replacing(rt, part, Stopping(getattr(rt, part), method, dies))
    try:
        asyncio.run(process_photo(rt, inline(rt), selfie(rt, "first"), "ann", "the sleeper"))
    except Exception as error:  # ClaimLost, or UserForgotten
        print(f"the sleeper ends: {error!r}")


def selfie(rt: Runtime, name: str) -> PhotoRef:
    path = rt.settings.folder / f"{name}.png"
    path.write_bytes(scripted_photo("ann", size=(320, 240 + len(name))))
    return rt.photos.find(str(path))


def run_as_scheduled(rt: Runtime, name: str) -> Any:
    """Run a deployment as prefect.yaml says, if its schedule is on."""
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (deployment,) = (one for one in found if one["name"] == name)
    assert [schedule["active"] for schedule in deployment["schedules"]] == [True]
    path, flow_name = deployment["entrypoint"].split(":")
    flow: Any = load_flow_from_entrypoint(f"{ROOT / path}:{flow_name}")

    async def run() -> Any:
        found = await flow(**deployment.get("parameters", {}))
        await asyncio.sleep(0.3)  # see tests.flowruns
        return found

    with using(rt):
        return LOOP.run(run())


def upload_anew(rt: Runtime) -> None:
    """Let the photo of the sleeper be run again, and a later photo take its place."""
    run_as_scheduled(rt, "reconcile")
    assert finish(rt, protocol.claim_photo(rt, selfie(rt, "second one"), "ann", "another run")).status == "accepted"


def forget(rt: Runtime) -> None:
    """Let the user be forgotten."""
    asyncio.run(forget_user(rt, inline(rt), "ann", "an erasure"))


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("part", "method", "meanwhile", "dies"),
    [
        ("faces", "enrol", upload_anew, False),
        ("faces", "enrol", forget, True),
        ("thumbnails", "put", upload_anew, False),
        pytest.param("faces", "enrol", upload_anew, True, marks=slow),
        pytest.param("faces", "enrol", forget, False, marks=slow),
        pytest.param("thumbnails", "put", upload_anew, True, marks=slow),
        pytest.param("thumbnails", "put", forget, False, marks=slow),
        pytest.param("thumbnails", "put", forget, True, marks=slow),
        pytest.param("profiles", "put", upload_anew, False, marks=slow),
        pytest.param("profiles", "put", upload_anew, True, marks=slow),
        pytest.param("profiles", "put", forget, False, marks=slow),
        pytest.param("profiles", "put", forget, True, marks=slow),
    ],
)
def test_the_schedules_clean_up_after_a_process_that_slept(
    tmp_path: Path, part: str, method: str, meanwhile: Callable[[Runtime], None], dies: bool
) -> None:
    rt = opened(tmp_path)
    sleeper = context.Process(target=sleep_over, args=(tmp_path, part, method, dies), daemon=True)
    sleeper.start()
    give_up = time.monotonic() + PATIENCE_S
    while not (is_stopped(sleeper) and unfinished(rt, 1)):  # past its lease
        assert time.monotonic() < give_up, "the sleeper does not come so far"
        time.sleep(0.1)
    meanwhile(rt)
    os.kill(sleeper.pid or 0, signal.SIGCONT)
    sleeper.join(PATIENCE_S)
    assert sleeper.exitcode == (-signal.SIGKILL if dies else 0)
    if meanwhile is upload_anew and part != "profiles":
        assert rt.faces.stats().faces + len(rt.thumbnails.keys()) == 3, "the sleeper left nothing"

    run_as_scheduled(rt, "reconcile")
    run_as_scheduled(rt, "audit")
    assert_consistent(rt, (selfie(rt, "second one"), "ann"))
    assert (rt.profiles.get("ann") is None) == (meanwhile is forget)
    assert run_as_scheduled(rt, "audit") == {}
