"""Puts back embedded stores that were lost, so that they fit each other and nobody who was forgotten comes back.

What is newest wins: records that are there are kept, and so is a gallery that they know. What lacks is taken from the
backup, and faces and thumbnails that the backup cannot hold are made anew from the photos that profiles name. This
happens in a folder beside the stores, which take its place at the end. A restore that was interrupted goes on there.
"""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from selfiegate.backups.copies import GALLERY, RECORDS, opened
from selfiegate.backups.mending import Mended, mend
from selfiegate.errors import WrongInput
from selfiegate.galleries.bond import GalleryState, renewed, state_of
from selfiegate.home_use import used_alone
from selfiegate.model import Value
from selfiegate.records import GalleryMark, Records
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.stores.sqlite_records import sqlite_records

_WORK = "restoring"
_ANY_ROW = "SELECT 1 FROM claims UNION ALL SELECT 1 FROM profiles UNION ALL SELECT 1 FROM erasures LIMIT 1"
_ENDS = ("", "-wal", "-shm")

Opener = Callable[[Records, Path], Runtime]
"""Builds a runtime over these records and the gallery at this path, which no records are held to."""


class Sources(Value):
    """Where the files come from that are put back."""

    records: Path
    gallery: Path | None
    """None: its faces are made anew."""
    gallery_is_newer: bool
    """Whether it tells more than the records do."""


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
        self._home, self._backup, self._opener = settings.folder, backup, opener
        self._work, self._settings = settings.folder / _WORK, settings

    def run(self, forgotten: Sequence[str] | None, drop_missing: bool) -> Restored:
        """Restore what lacks, and return what was done.

        `forgotten` names the users who were forgotten since the backup; it must be given (or be empty) where the
        records come from there. `drop_missing` removes profiles whose photos are gone: these users upload anew.
        Raises `WrongInput` where nothing lacks, or an answer does; `BackendMisconfigured` while somebody uses the home.
        """
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with used_alone(self._home):
            sources, mended = None, Mended()
            if not (self._work / "mended").exists():
                sources = self._gathered(forgotten)
                mended = mend(self._opened(), forgotten or (), sources.gallery_is_newer, drop_missing)
                _tie(self._work)
                (self._work / "mended").touch()
            return Restored(mended, sources, self._move())

    def _gathered(self, forgotten: Sequence[str] | None) -> Sources:
        """Bring what is to be mended into the work folder, unless a restore that was interrupted did."""
        note = self._work / "gathered.json"
        if note.exists():
            return Sources.model_validate_json(note.read_bytes())
        shutil.rmtree(self._work, ignore_errors=True)
        sources = self._sources(forgotten)
        self._work.mkdir(mode=0o700)
        _copy(sources.records / RECORDS, self._work / RECORDS)
        if sources.gallery:
            _copy(sources.gallery / GALLERY, self._work / GALLERY)
        note.write_text(sources.model_dump_json())
        return sources

    def _sources(self, forgotten: Sequence[str] | None) -> Sources:
        """Choose where records and gallery come from; a gallery that the records do not know is none."""
        home, backup = self._home, self._backup
        if backup:
            opened(backup)
        mark, present = _mark_of(home / RECORDS), state_of(home / GALLERY)
        if mark and present and fits(mark, present):
            raise WrongInput(f"nothing lacks in {home}: records and gallery belong together; move away what is wrong")
        records = home if mark else backup
        mark = mark or (_mark_of(backup / RECORDS) if backup else None)
        if mark is None or records is None:
            raise WrongInput(f"{home / RECORDS} is missing or holds no row; name a backup, or delete it and begin anew")
        known = {folder: state for folder in (home, backup) if folder and (state := state_of(folder / GALLERY))}
        gallery = next((folder for folder, state in known.items() if state.id == mark.gallery_id), None)
        is_newer = gallery == home and (records != home or known[home].relied_on > mark.newest)
        if forgotten is None and (records != home or is_newer):
            raise WrongInput(
                "the records are older than what was lost, and do not know who was forgotten since; "
                "name these users in a file by --forgotten, or say --nobody-forgotten"
            )
        return Sources(records=records, gallery=gallery, gallery_is_newer=is_newer)

    def _opened(self) -> Runtime:
        records = sqlite_records(self._work / RECORDS, self._settings.sqlite_patience_s)
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
        shutil.rmtree(self._work)
        return aside if aside.exists() else None


def fits(mark: GalleryMark, gallery: GalleryState) -> bool:
    """Say whether records and gallery know each other and neither is older than the other knows."""
    return gallery.id == mark.gallery_id and gallery.newest >= mark.newest >= gallery.relied_on


def _mark_of(path: Path) -> GalleryMark | None:
    """Return what records rely on; None where they are missing, damaged or hold no row."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as records:
            rows = records.execute(_ANY_ROW).fetchone()
            tied = records.execute("SELECT 1 FROM sqlite_schema WHERE name = 'gallery'").fetchone()
            held = records.execute("SELECT gallery_id, newest FROM gallery").fetchone() if tied else None
    except sqlite3.Error:
        return None
    gallery_id, newest = held or (None, None)  # a version before knew no ties
    return GalleryMark(gallery_id=gallery_id or "", newest=newest or 0) if rows else None


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True)) as old, closing(sqlite3.connect(target)) as new:
        target.chmod(0o600)
        old.backup(new)


def _tie(folder: Path) -> None:
    """Make the mended files a new pair, so that no old copy of either is ever taken for one of them."""
    mark = _mark_of(folder / RECORDS)
    renewed(folder / GALLERY, folder / RECORDS, uuid.uuid4().hex, mark.newest if mark else 0)
    for name in (RECORDS, GALLERY):
        with closing(sqlite3.connect(folder / name)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # each is one file, which can be moved
