"""Backups while processes enrol, and restores after all of them were killed; judged from the outside."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from selfiegate.backups.copies import back_up
from selfiegate.backups.restore import Restore
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.records import Records
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.stores.folder import FolderPhotos
from tests.backfilling import PATIENCE_S, crowd, take, taking
from tests.chaos.check import read_files, violations
from tests.chaos.galleries import in_a_process
from tests.home_folders import delete
from tests.present import present
from tests.runtimes import scripted_over

pytestmark = [pytest.mark.system, pytest.mark.promise, pytest.mark.slow]

PHOTOS, CHUNK = 240, 8


def restore(home: Path, backup: Path, ends_after_s: float = 0) -> None:
    """Be the command, with the scripted analyser in the place of the models.

    The kernel ends the process after so many seconds of its own time at mending, however busy the machine is.
    """
    settings = Settings(home=home)

    def opener(records: Records, gallery: Path) -> Runtime:
        signal.setitimer(signal.ITIMER_PROF, ends_after_s)
        return scripted_over(home, settings, records, SqliteGallery(gallery, "scripted"))

    Restore(settings, backup, opener).run(forgotten=[])


def users_without_a_face(backup: Path) -> set[str]:
    with closing(sqlite3.connect(backup / "records.db")) as records:
        named = dict(records.execute("SELECT profile ->> 'face_id', user_id FROM profiles").fetchall())
    with closing(sqlite3.connect(backup / "gallery.db")) as gallery:
        held = {face_id for (face_id,) in gallery.execute("SELECT face_id FROM faces")}
    return {named[face_id] for face_id in named.keys() - held}


def wait_for_users(home: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        with closing(sqlite3.connect(home / "records.db", timeout=30)) as records, suppress(sqlite3.OperationalError):
            if records.execute("SELECT count(*) FROM profiles").fetchone()[0]:  # else the table may not be there yet
                return
        time.sleep(0.05)
    raise AssertionError("nobody is enrolled")


def killed_under_load(home: Path, files: Sequence[str]) -> Path:
    """Let three processes enrol, take backups meanwhile, kill them all at once; return a backup from the middle."""
    with ExitStack() as stack:
        workers = [stack.enter_context(taking(home, files[n::3], CHUNK)) for n in range(3)]
        wait_for_users(home)
        for n in range(4):
            back_up(Settings(home=home), home.parent / f"backup-{n}")
            time.sleep(0.4)
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
    return home.parent / "backup-1"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return crowd(tmp_path / "crowd", PHOTOS)


@pytest.fixture
def people(files: Sequence[str]) -> dict[tuple[str, str], str]:
    photos = FolderPhotos(Limits())
    return {
        (Path(file).stem, photos.find(file).key): f"person {int(Path(file).stem) % (PHOTOS // 2)}" for file in files
    }


@pytest.mark.parametrize("lost", [("gallery.db",), ("records.db",), ("gallery.db", "records.db")], ids=" and ".join)
def test_what_is_lost_under_load_is_restored_and_every_face_is_enrolled_once(
    tmp_path: Path, files: Sequence[str], people: dict[tuple[str, str], str], lost: Sequence[str]
) -> None:
    home = tmp_path / "home"
    backup = killed_under_load(home, files)
    inconsistent = [users_without_a_face(tmp_path / f"backup-{n}") for n in range(4)]
    for name in lost:
        delete(home, name)
    ended = [
        in_a_process(restore, home, backup, 0.01),
        in_a_process(restore, home, backup),
        in_a_process(take, home, files, CHUNK),
    ]

    assert ended == [-signal.SIGPROF, 0, 0]
    assert inconsistent == [set()] * 4
    assert violations(read_files(home), people) == []


def test_a_stopped_process_keeps_a_restore_out_and_does_no_harm_when_it_wakes(
    tmp_path: Path, files: Sequence[str], people: dict[tuple[str, str], str]
) -> None:
    home = tmp_path / "home"
    with taking(home, files, CHUNK) as worker:
        wait_for_users(home)
        back_up(Settings(home=home), tmp_path / "backup")
        os.kill(present(worker.pid), signal.SIGSTOP)
        delete(home, "gallery.db")
        with pytest.raises(BackendMisconfigured, match="other processes use it"):
            restore(home, tmp_path / "backup")
        os.kill(present(worker.pid), signal.SIGCONT)
        worker.join(PATIENCE_S)
    ended = [in_a_process(restore, home, tmp_path / "backup"), in_a_process(take, home, files, CHUNK)]

    assert ended == [0, 0]
    assert worker.exitcode == 1  # it found its gallery gone
    assert violations(read_files(home), people) == []
