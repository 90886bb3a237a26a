"""Who uses a home folder: every process that has its stores open, or one that replaces them."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from selfiegate.errors import BackendMisconfigured
from selfiegate.private_files import create_file

_NAME = "in-use"
RESTORING = "restoring"
"""The folder in which a restore works. While it is there the stores are not what they should be."""


def used(folder: Path) -> BinaryIO:
    """Say that this process uses the stores in a folder, until the file is closed or collected, or the process ends."""
    file = _locked(folder, fcntl.LOCK_SH, "its stores are being restored; wait until `selfiegate restore` has ended")
    if (folder / RESTORING).exists():
        file.close()
        raise BackendMisconfigured(
            f"a restore of {folder} was begun and has not ended: run `selfiegate restore` again, or, "
            f"where the right files are back, remove {folder / RESTORING}"
        )
    return file


def used_alone(folder: Path) -> BinaryIO:
    """Keep all others out of the stores in a folder; raises `BackendMisconfigured` where somebody uses them."""
    return _locked(folder, fcntl.LOCK_EX, "other processes use it; stop workers, bridge and commands first")


def _locked(folder: Path, kind: int, why_not: str) -> BinaryIO:
    file = create_file(folder / _NAME)
    with suppress(BlockingIOError):
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return file
    file.close()
    raise BackendMisconfigured(f"cannot use {folder}: {why_not}")
