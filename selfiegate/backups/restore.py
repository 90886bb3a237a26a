"""Puts back embedded stores that were lost, so that they fit each other and nobody who was forgotten comes back.

What is newest wins: records that are there are kept, and so is a gallery that they know. What lacks is taken from the
backup, and faces and thumbnails that the backup cannot hold are made anew from the photos that profiles name. This
happens in a folder beside the stores, which take its place at the end. A restore that was interrupted goes on there, if
it is asked for the same again; while that folder is there, no other process uses the stores.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from selfiegate.backups.copies import GALLERY, RECORDS, opened, require_embedded
from selfiegate.backups.mending import Mended, mend
from selfiegate.errors import BackendUnavailable, WrongInput
from selfiegate.galleries.bond import GalleryState
from selfiegate.galleries.bond_of_files import fits, mark_of, renewed, state_of
from selfiegate.home_use import RESTORING, used_alone
from selfiegate.known_gallery import GalleryMark
from selfiegate.records import Records
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.stores.sqlite_records import sqlite_records
from selfiegate.values import Value

_DONE = "restored"
_ENDS = ("", "-wal", "-shm")

Opener = Callable[[Records, Path], Runtime]
"""Builds a runtime over these records and the gallery at this path, which no records are held to."""


class Sources(Value):
    """What is put back: where it comes from, and as what it was seen. A restore that sees another begins anew."""

    records: Path
    gallery: Path | None
    """None: its faces are made anew."""
    gallery_is_newer: bool
    """Whether it tells more than the records do."""
    forgotten: tuple[str, ...]
    seen: str
    """The states of all files that were looked at."""


class Restored(NamedTuple):
    """What a restore did."""

    mended: Mended
    sources: Sources | None
    """None where a restore that was interrupted had only to put the files into their place."""
    set_aside: Path | None
    """Where the files lie that were replaced."""


class Restore:
    """One restore of one home folder; `run` may be called again by another process after this one died."""

    def __init__(self, settings: Settings, backup: Path | None, opener: Opener) -> None:
        require_embedded(settings)
        self._home, self._backup, self._opener = settings.folder, backup, opener
        self._work, self._settings = settings.folder / RESTORING, settings

    def run(self, forgotten: Sequence[str] | None, drop_missing: int = 0) -> Restored:
        """Restore what lacks, and return what was done.

        `forgotten` names the users who were forgotten since the backup; it must be given (or be empty) where the
        records are older than what was lost. `drop_missing` is how many profiles may be removed for their photos are
        gone: these users upload anew. Raises `WrongInput` where nothing lacks, or an answer does,
        `BackendMisconfigured` while somebody uses the home, `BackendUnavailable` where a photo's store does not answer
        or a disk is full.
        """
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with used_alone(self._home):
                sources, mended = None, Mended()
                if not (self._work / "mended").exists():
                    sources = self._gathered(forgotten)
                    mended = mend(self._opened(), sources.forgotten, sources.gallery_is_newer, drop_missing)
                    _tie(self._work)
                    _write(self._work / "mended", "")
                return Restored(mended, sources, self._move())
        except (OSError, sqlite3.Error) as error:
            raise BackendUnavailable(
                f"{self._home} is not restored yet: {error}; mend that and run it again"
            ) from error

    def _gathered(self, forgotten: Sequence[str] | None) -> Sources:
        """Bring what is to be mended into the work folder, unless a restore that was interrupted brought just that."""
        sources, note = self._sources(forgotten), self._work / "gathered.json"
        try:
            if Sources.model_validate_json(note.read_bytes()) == sources and (self._work / RECORDS).exists():
                return sources
        except (OSError, ValidationError):
            pass
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(mode=0o700)
        _copy(sources.records / RECORDS, self._work / RECORDS)
        if sources.gallery:
            _copy(sources.gallery / GALLERY, self._work / GALLERY)
        _write(note, sources.model_dump_json())
        return sources

    def _sources(self, forgotten: Sequence[str] | None) -> Sources:
        """Choose where records and gallery come from; a gallery that the records do not know is none."""
        home, backup = self._home, self._backup
        made = opened(backup) if backup else None
        mark, present = mark_of(home / RECORDS), state_of(home / GALLERY)
        if mark and present and fits(mark, present):
            raise WrongInput(f"nothing lacks in {home}: records and gallery belong together; move away what is wrong")
        records = home if mark else backup
        mark = mark or (mark_of(backup / RECORDS) if backup else None)
        if mark is None or records is None:
            raise WrongInput(
                f"{home / RECORDS} is missing or holds no row; name a backup, or delete it and {GALLERY} to begin anew"
            )
        known = _known(mark, home, backup)
        gallery = max(known, key=lambda folder: known[folder].newest, default=None)
        told = gallery == home and (records != home or known[home].relied_on > mark.newest)
        if forgotten is None and (records != home or told):
            raise WrongInput(
                "the records are older than what was lost, and do not know who was forgotten since; "
                "name these users in a file by --forgotten, or say --nobody-forgotten"
            )
        seen = f"{made} {mark} {present} {known}"
        is_newer = told and known[home].newest >= mark.newest
        return Sources(
            records=records,
            gallery=gallery,
            gallery_is_newer=is_newer,
            forgotten=tuple(forgotten or ()),
            seen=seen,
        )

    def _opened(self) -> Runtime:
        records = sqlite_records(self._work / RECORDS, self._settings.store_patience_s)
        return self._opener(records, self._work / GALLERY)

    def _move(self) -> Path | None:
        """Let the mended stores take the place of what was there, which is set aside; may be repeated."""
        aside = self._home / f"replaced-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        for name in (RECORDS, GALLERY):
            if not (self._work / name).exists():  # moved already
                continue
            for end in _ENDS:
                if (old := self._home / f"{name}{end}").exists():
                    aside.mkdir(mode=0o700, exist_ok=True)
                    old.replace(aside / old.name)
            (self._work / name).replace(self._home / name)
        _sync(self._home)
        shutil.rmtree(self._home / _DONE, ignore_errors=True)
        self._work.replace(self._home / _DONE)  # at once: half of a work folder would be taken for a restore
        shutil.rmtree(self._home / _DONE)
        return aside if aside.exists() else None


def _known(mark: GalleryMark, *folders: Path | None) -> dict[Path, GalleryState]:
    """Return the galleries that the records know, in the order of the folders."""
    found = {folder: held for folder in folders if folder and (held := state_of(folder / GALLERY))}
    return {folder: held for folder, held in found.items() if held.id == mark.gallery_id}


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True)) as old, closing(sqlite3.connect(target)) as new:
        target.chmod(0o600)
        old.backup(new)


def _tie(folder: Path) -> None:
    """Make the mended files a new pair, so that no old copy of either is ever taken for one of them."""
    mark = mark_of(folder / RECORDS)
    renewed(folder / GALLERY, folder / RECORDS, uuid.uuid4().hex, mark.newest if mark else 0)
    for name in (RECORDS, GALLERY):
        with closing(sqlite3.connect(folder / name)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # each is one file, which can be moved


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and to the disk."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
