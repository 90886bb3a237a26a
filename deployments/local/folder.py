"""The folder of `selfiegate up`: one at a time has it, and finds it empty."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfiegate.errors import WrongInput

_LOCK = "up.pid"


@contextmanager
def taken(folder: Path) -> Iterator[int]:
    """Empty a folder and hold its lock; refuse one that is in use, or that holds what `up` did not make.

    Every part holds the lock, too: what a killed `up` leaves running keeps the folder.
    """
    lock = folder / _LOCK
    if folder.exists() and not folder.is_dir():
        raise WrongInput(f"{str(folder)!r} is no folder: name another --folder")
    if folder.exists() and any(folder.iterdir()) and not lock.exists():
        raise WrongInput(f"{str(folder)!r} is not empty, and `selfiegate up` did not make it: name another --folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise WrongInput(f"cannot use {str(lock)!r}: {error.strerror}; name another --folder") from None
    with os.fdopen(handle, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WrongInput(
                f"{str(folder)!r} is in use by `selfiegate up`, pid {file.read()}, or by what that left running: "
                "end it with Ctrl-C, or name another --folder"
            ) from None
        for entry in folder.iterdir():  # AWS's part kept nothing, so what the last one left is of no use
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != lock:
                entry.unlink()
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()
