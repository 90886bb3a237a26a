"""Take all four steps: `python -m training.covering --shared ../shared --out selfiegate/backends/insightface`."""

from __future__ import annotations

import argparse
import subprocess
import sys


def main() -> None:
    """Run each step in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", default="../shared")
    parser.add_argument("--pool", default="build/covering", help="folder for what lies between the steps")
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", default="1", help="that draw the pool")
    given = parser.parse_args()
    shared, pool = ["--shared", given.shared], ["--pool", given.pool]
    for step, words in (
        ("find", [*shared, *pool]),
        ("pool", [*shared, *pool, "--processes", given.processes]),
        ("fit", [*pool, "--device", given.device]),
        ("ship", [*shared, *pool, "--out", given.out]),
    ):
        print(step, flush=True)
        subprocess.run([sys.executable, "-m", f"training.covering.{step}", *words], check=True)  # noqa: S603  our own modules


if __name__ == "__main__":
    main()
