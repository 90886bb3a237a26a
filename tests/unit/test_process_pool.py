"""Decoding apart: whatever becomes of a decoder, the process that asked goes on, and so does the next photo."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfiegate.cpus import available_cpus
from selfiegate.decoding import decode, process_pool
from selfiegate.decoding.decode import Limits
from selfiegate.decoding.process_pool import Decoders
from selfiegate.errors import BackendUnavailable, PhotoRejected
from tests.hostile import files
from tests.hostile.faulty_decoder import slow_photo

LIMITS = Limits(inline_jpeg_max=0, max_stalled_seconds=300)  # a busy machine is no reason
IMPATIENT = LIMITS.model_copy(update={"max_seconds": 0.3, "max_stalled_seconds": 0.2})
ROOT = Path(__file__).parents[2]
PHOTO = files.encoded(Image.effect_noise((200, 150), 90).convert("RGB"), "PNG")


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    """Processes whose decoder has all faults."""
    made = Decoders("tests.hostile.faulty_decoder:decode")
    yield made
    made.close()


def refusal(decoders: Decoders, data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(PhotoRejected) as refused:
        decoders.decode(data, limits, 640)
    return refused.value.code


def children(of: int) -> set[int]:
    """Return the processes that decode for a process."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, line = (stat.parent / "cmdline").read_bytes(), stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if b"selfiegate.decoding.child" in name and line[0] != "Z" and int(line[1]) == of:
            found.add(int(stat.parent.name))
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until_gone(pids: set[int]) -> None:
    while not all(map(is_gone, pids)):  # the suite's own limit ends a test that hangs
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("max_side", [None, 100])
def test_a_photo_decoded_apart_is_the_same(kind: str, max_side: int | None) -> None:
    data = files.encoded(files._photo(), kind, exif=files.tiff([(0x0112, 3, 1, 6 << 16)]))
    apart, here = process_pool.decode(data, LIMITS, max_side), decode.decode(data, LIMITS, max_side)

    assert apart[1] == here[1]
    assert apart[0].mode == "RGB"
    assert np.array_equal(np.asarray(apart[0]), np.asarray(here[0]))


@pytest.mark.parametrize("limits", [LIMITS, Limits()], ids=["apart", "here"])
def test_a_refusal_keeps_its_reason(limits: Limits) -> None:
    decoders = Decoders()
    jpeg = files.encoded(files._photo(), "JPEG")

    assert refusal(decoders, b"GIF89a", limits) == "unsupported_format"
    assert refusal(decoders, jpeg[:900], limits) == "unreadable_photo"
    assert refusal(decoders, jpeg, limits.model_copy(update={"max_pixels": 10_000})) == "photo_too_large"
    with pytest.raises(PhotoRejected) as small:
        decoders.decode(jpeg, limits.model_copy(update={"min_side": 160}))
    assert (small.value.code, len(small.value.measured)) == ("photo_too_small", 2)
    assert len(decoders._idle) == 1
    decoders.close()


@pytest.mark.parametrize("fault", ["crash", "abort", "eat", "eat-natively", "lie"])
def test_a_photo_that_harms_its_decoder_is_unreadable_and_the_next_one_is_not(decoders: Decoders, fault: str) -> None:
    before = decoders.decode(PHOTO, LIMITS)[0].tobytes()
    little = LIMITS.model_copy(update={"max_pixels": 100_000})  # and so little memory

    assert refusal(decoders, fault.encode(), little) == "unreadable_photo"
    assert decoders.decode(PHOTO, LIMITS)[0].tobytes() == before


def test_a_photo_is_not_blamed_for_what_the_one_before_did_to_its_decoder(decoders: Decoders) -> None:
    decoders.close()
    decoders.decode(b"spoil", LIMITS, 640)

    assert decoders.decode(PHOTO, LIMITS, 640)[1] == (200, 150)


@pytest.mark.parametrize("fault", ["hang", "sleep"])
def test_a_decoder_that_stands_still_is_replaced_and_its_photo_is_not_blamed(decoders: Decoders, fault: str) -> None:
    decoders.decode(PHOTO, LIMITS)
    hung = pids_of(decoders)

    with pytest.raises(BackendUnavailable, match="no answer"):
        decoders.decode(fault.encode(), IMPATIENT)
    assert any(map(is_gone, hung))
    assert decoders.decode(PHOTO, LIMITS)[1] == (200, 150)


def test_a_decoder_that_was_stopped_says_nothing_about_its_photo(decoders: Decoders) -> None:
    decoders.decode(PHOTO, LIMITS)
    stopped = pids_of(decoders)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)

    for _ in stopped:
        with pytest.raises(BackendUnavailable, match="no answer"):
            decoders.decode(PHOTO, IMPATIENT)
    assert all(map(is_gone, stopped))
    assert decoders.decode(PHOTO, LIMITS)[1] == (200, 150)


def test_the_clock_does_not_decide_while_a_decoder_gets_no_cpu(decoders: Decoders) -> None:
    decoders.close()
    decoders.decode(PHOTO, LIMITS)
    (pid,) = pids_of(decoders)
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(decoders.decode, PHOTO, LIMITS.model_copy(update={"max_seconds": 0.5}))
        time.sleep(1)
        os.kill(pid, signal.SIGCONT)

        assert asked.result()[1] == (200, 150)
    assert pids_of(decoders) == {pid}


def test_a_photo_that_spends_its_time_of_the_cpu_is_unreadable(decoders: Decoders) -> None:
    decoders.decode(PHOTO, LIMITS)
    before = pids_of(decoders)

    assert refusal(decoders, b"spin", LIMITS.model_copy(update={"max_seconds": 0.5})) == "unreadable_photo"
    assert any(map(is_gone, before))
    assert decoders.decode(PHOTO, LIMITS)[1] == (200, 150)


def test_each_photo_has_the_cpu_for_itself(decoders: Decoders) -> None:
    """What the photos before took of the same decoder is not held against this one."""
    decoders.close()
    once = LIMITS.model_copy(update={"max_seconds": 0.6})

    assert [decoders.decode(b"work", once)[1] for _ in range(3)] == [(50, 50)] * 3
    assert len(pids_of(decoders)) == 1


def pids_of(decoders: Decoders) -> set[int]:
    return {one._process.pid for one in decoders._idle}


def test_a_real_photo_that_takes_too_long_is_unreadable() -> None:
    limits = Limits(max_seconds=0.3, max_stalled_seconds=300)

    assert refusal(process_pool._shared, slow_photo(), limits) == "unreadable_photo"
    assert process_pool.decode(PHOTO, Limits())[1] == (200, 150)


@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_a_fault_of_ours_is_no_reason_against_a_photo(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    decoders = Decoders(
        "tests.hostile.faulty_decoder:decode"
    )  # it writes to the standard error that it was started with
    with pytest.raises(BackendUnavailable, match="ended with"):
        decoders.decode(fault.encode(), LIMITS)

    assert ("ZeroDivisionError" in capfd.readouterr().err) == (fault == "raise")
    assert decoders.decode(PHOTO, LIMITS)[1] == (200, 150)
    decoders.close()


def test_a_decoder_that_somebody_ended_meanwhile_is_replaced(decoders: Decoders) -> None:
    decoders.decode(PHOTO, LIMITS)
    before = pids_of(decoders)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    while not all(one.ended for one in decoders._idle):
        time.sleep(0.05)

    assert decoders.decode(PHOTO, LIMITS)[1] == (200, 150)
    assert not pids_of(decoders) & before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGALRM], ids=["somebody", "its-own-alarm"])
def test_a_decoder_that_is_ended_at_work_says_nothing_about_the_photo(
    decoders: Decoders, number: signal.Signals
) -> None:
    decoders.decode(PHOTO, LIMITS)
    before = pids_of(decoders)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(decoders.decode, b"sleep", LIMITS)
        while not (at_work := before - pids_of(decoders)):
            time.sleep(0.01)
        os.kill(at_work.pop(), number)

        with pytest.raises(BackendUnavailable, match="ended with"):
            asked.result()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_leaves_decoders_at_work(decoders: Decoders, number: signal.Signals) -> None:
    """The worker drains after SIGTERM: its photos are still to be decoded."""
    decoders.decode(PHOTO, LIMITS)
    before = pids_of(decoders)
    for pid in before:
        os.kill(pid, number)

    assert decoders.decode(PHOTO, LIMITS)[1] == (200, 150)
    assert pids_of(decoders) == before


@pytest.mark.parametrize("function", ["tests.nowhere:decode", "tests.hostile.faulty_decoder:nothing"])
def test_a_decoder_that_does_not_start_is_no_photos_fault(function: str) -> None:
    with pytest.raises(BackendUnavailable, match="does not start"):
        Decoders(function).decode(PHOTO, LIMITS)


def test_no_python_to_start_is_no_photos_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(BackendUnavailable, match="no process can be started"):
        Decoders().decode(PHOTO, LIMITS)


def test_threads_share_as_many_decoders_as_there_are_cores(decoders: Decoders) -> None:
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: decoders.decode(PHOTO, LIMITS)[1], range(40)))

    assert sizes == [(200, 150)] * 40
    assert 1 <= len(pids_of(decoders)) <= available_cpus()


def test_a_decoder_knows_no_secret(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    picture, _ = decoders.decode(b"environment AWS_SECRET_ACCESS_KEY", LIMITS)

    assert picture.getpixel((0, 0)) == (0, 128, 0)


SHORT_OF_MEMORY = """
import resource
from pathlib import Path
from selfiegate.errors import BackendUnavailable
from tests.unit.test_process_pool import *

photo = files.encoded(Image.effect_noise((1000, 990), 90).convert("RGB"), "JPEG")
process_pool.decode(photo, Limits())
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000, resource.RLIM_INFINITY))
try:
    print(process_pool.decode(photo, Limits())[1])
except BackendUnavailable as error:
    print(error)
"""


def test_a_worker_that_is_short_of_memory_is_no_photos_fault() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "short of the memory" in ended.stdout


WORKER = """
import sys, threading
from selfiegate.decoding.process_pool import Decoders
from selfiegate.decoding.decode import Limits
from tests.unit.test_process_pool import PHOTO, IMPATIENT, LIMITS, pids_of

decoders = Decoders("tests.hostile.faulty_decoder:decode")
decoders.decode(PHOTO, LIMITS)
for_3_s = IMPATIENT.model_copy(update={"max_stalled_seconds": 3.0})
busy = threading.Thread(target=decoders.decode, args=(b"hang", for_3_s))
if sys.argv[1] == "busy":
    print(*pids_of(decoders), flush=True)
    busy.start()
else:
    print(*pids_of(decoders), flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_killed_process_leaves_no_decoder_behind(state: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, state], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert worker.stdout
    pids = set(map(int, worker.stdout.readline().split()))
    assert pids == children(worker.pid)
    if state == "busy":
        time.sleep(0.5)
    worker.kill()
    worker.communicate()

    wait_until_gone(pids)


def test_a_process_that_ends_ends_its_decoders() -> None:
    code = "from tests.unit.test_process_pool import *; pool = process_pool; pool.decode(PHOTO, LIMITS)"
    code += "; print(*pids_of(pool._shared))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ended.stderr == ""
    wait_until_gone({int(ended.stdout)})


def _size_in_child(_: int) -> tuple[int, int]:
    return process_pool.decode(PHOTO, LIMITS)[1]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pools_daemons_have_decoders_of_their_own(method: str) -> None:
    """Dask's workers are daemons: `multiprocessing` would let them start nothing."""
    process_pool.decode(PHOTO, LIMITS)
    with multiprocessing.get_context(method).Pool(2) as pool:
        sizes = pool.map(_size_in_child, range(4))

    assert sizes == [(200, 150)] * 4
    assert process_pool.decode(PHOTO, LIMITS)[1] == (200, 150)
