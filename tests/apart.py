"""Code that may crash, hang or run out of memory, in a process by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def lines_of(module: str, *arguments: str, timeout_s: float) -> list[dict[str, Any]]:
    """Return the lines of JSON that a module prints; fails with the last ones where it does not end well."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, f"after {lines[-1:]}: {run.stderr[-2000:]}"
    return lines
