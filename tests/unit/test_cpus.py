"""How many CPUs may be used: affinity, and the quotas of cgroups, as Linux writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfiegate.cpus import available_cpus

ALLOWED = len(os.sched_getaffinity(0))


def told(tmp_path: Path, cgroup: str, **files: str) -> int:
    """Return what is made of a /proc/self/cgroup and of files below the mount."""
    own, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    own.write_text(cgroup)
    for name, text in files.items():
        file = mounted / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return available_cpus(own, mounted)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("50000 100000", 1), ("100000 100000", 1), ("101000 100000", 2), ("9900000 100000", 99), ("max 100000", 99)],
)
def test_a_quota_of_a_container_counts(tmp_path: Path, quota: str, cpus: int) -> None:
    assert told(tmp_path, "0::/\n", cpu_dot_max=quota + "\n") == min(cpus, ALLOWED)


def test_the_least_quota_of_the_cgroups_around_counts(tmp_path: Path) -> None:
    files = {"worker_dot_slice__cpu_dot_max": "100000 100000", "worker_dot_slice__a__cpu_dot_max": "max 100000"}

    assert told(tmp_path, "0::/worker.slice/a\n", **files) == 1


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("path", ["/docker/0f3a", "/"])
def test_a_quota_of_version_1_counts(tmp_path: Path, mount: str, path: str) -> None:
    """In a container the path is the host's, and the container's own cgroup is the mount's root."""
    files = {f"{mount}__cpu.cfs_quota_us": "70000", f"{mount}__cpu.cfs_period_us": "100000"}

    assert told(tmp_path, f"5:memory:/docker/0f3a\n4:cpu,cpuacct:{path}\n", **files) == 1
    files[f"{mount}__cpu.cfs_quota_us"] = "-1"
    assert told(tmp_path, f"4:cpu,cpuacct:{path}\n", **files) == ALLOWED


@pytest.mark.parametrize("quota", ["", "max", "0 100000", "100000 0", "x y", "1 2 3", "\x00"])
def test_what_is_no_quota_limits_nothing(tmp_path: Path, quota: str) -> None:
    assert told(tmp_path, "0::/\n", cpu_dot_max=quota) == ALLOWED


def test_a_system_without_cgroups_has_its_affinity(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "nowhere", tmp_path) == ALLOWED


def test_a_process_on_one_cpu_has_one_decoder_at_a_time() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += "from selfiegate.decoding.process_pool import _shared; print(_shared._turns._value)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "1\n"
