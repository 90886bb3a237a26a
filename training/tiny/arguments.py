"""What all parts of the training are told."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Return a parser for the two folders; `about` begins with a line for `--help`."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0] if about else None)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with DATA.md")
    parser.add_argument("--build", type=Path, default=Path("build/tiny"), help="folder for what the parts hand on")
    return parser
