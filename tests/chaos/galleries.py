"""What may befall the gallery's file during a round, and how an operator mends it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from selfiegate.backups.copies import back_up
from selfiegate.backups.restore import Restore
from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.records import Records
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from tests.chaos.rounds import context, ended
from tests.chaos.worker import SMALL, Where
from tests.runtimes import scripted_over

Loss = Literal["away for a while", "lost", "lost, no backup", "older"]
LOSSES: Sequence[Loss] = ("away for a while", "lost", "lost, no backup", "older")


class LostGallery:
    """One loss in one round: a backup before it, the loss while workers run, the mending after they ended."""

    def __init__(self, where: Where, loss: Loss, after_s: float) -> None:
        self._where, self._loss, self._after_s = where, loss, after_s
        self._aside, self._backup = where.home / "aside", where.home / f"backup-{time.time_ns()}"
        assert in_a_process(prepare, where, self._backup) == 0

    def strike(self) -> None:
        """Take the gallery's files away, and put the backup's in their place where that is the loss."""
        home = self._where.home
        time.sleep(self._after_s)
        move(home, self._aside)
        if self._loss == "older":
            (home / "copied").write_bytes((self._backup / "gallery.db").read_bytes())
            (home / "copied").replace(home / "gallery.db")

    def mend(self) -> None:
        """Put the files back, or restore them where a process refuses to start."""
        is_refused = in_a_process(refused, self._where) == 0
        assert is_refused or self._loss == "older"  # nobody was enrolled since the copy
        if self._loss == "away for a while":
            move(self._aside, self._where.home)
        elif is_refused:
            backup = None if self._loss == "lost, no backup" else self._backup
            assert in_a_process(restored, self._where, backup) == 0


def prepare(where: Where, backup: Path) -> None:
    """Make the stores, where this is their first round, and copy them."""
    where.open()
    back_up(Settings(home=where.home), backup)


def refused(where: Where) -> None:
    with pytest.raises(BackendMisconfigured, match=r"gallery\.db"):
        where.open()


def restored(where: Where, backup: Path | None) -> None:
    settings = Settings(home=where.home, thumbnails=SMALL)

    def over(records: Records, gallery: Path) -> Runtime:
        return scripted_over(where.home, settings, records, SqliteGallery(gallery, "scripted"))

    Restore(settings, backup, over).run(forgotten=None)


def move(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in (f"gallery.db{end}" for end in ("", "-wal", "-shm")):
        if (source / name).exists():
            (source / name).replace(target / name)


def in_a_process(target: Any, *args: object) -> int | None:
    process = context.Process(target=target, args=args, daemon=True)
    process.start()
    ended(process)
    return process.exitcode
