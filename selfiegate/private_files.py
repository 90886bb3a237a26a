"""Files for their owner alone, whatever the umask: they show faces, or say whose they are."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def create_file(path: Path) -> BinaryIO:
    """Open a file for writing, empty; one that was there is for its owner alone from now on."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    if stat.S_ISREG(os.fstat(file).st_mode):  # not /dev/stdout
        with suppress(PermissionError):  # somebody else's, who lets us write
            os.fchmod(file, 0o600)
    return os.fdopen(file, "wb")


def make_folder(path: Path, below: Path) -> None:
    """Make a folder and what lacks between `below` and it, both included."""
    for folder in (*reversed(path.parents), path):  # `Path.mkdir` would give parents the mode of the umask
        if folder.is_relative_to(below):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
