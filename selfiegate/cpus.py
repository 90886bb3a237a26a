"""How many CPUs this process may use, which in a container is seldom what the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus(own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many CPUs this process may keep busy: its affinity, or less where a cgroup has a quota.

    Part of a CPU counts as a whole one. `own` and `mounted` say where Linux tells the cgroups; elsewhere nothing is
    told, and all of the machine's CPUs count.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([allowed, *_quotas(own, mounted)])))


def _quotas(own: Path, mounted: Path) -> Iterator[float]:
    """Yield the quota of each cgroup around this process, in CPUs; v2 first, then v1."""
    for folder in _folders(own, mounted):
        quota = (
            _text(folder / "cpu.max") or f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}"
        )
        match quota.split():
            case [used, period] if used.isdigit() and period.isdigit() and int(used) and int(period):  # else "max", -1
                yield int(used) / int(period)


def _folders(own: Path, mounted: Path) -> Iterator[Path]:
    """Yield the folders of this process's cgroups and of those around them.

    A container sees its own cgroup at the mount's root, whatever path it is told; what is not there has no file.
    """
    for line in _text(own).splitlines():
        _, _, told = line.partition(":")
        controllers, _, path = told.partition(":")
        if controllers == "" or "cpu" in controllers.split(","):
            inside = Path(path.lstrip("/"))
            for root in (mounted, mounted / controllers, mounted / "cpu"):
                yield from (root / part for part in (inside, *inside.parents))


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
