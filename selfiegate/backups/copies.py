"""Copies of the embedded stores as of one moment, taken while everything runs."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import Field, ValidationError

from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongInput
from selfiegate.galleries.bond_of_files import fits, mark_of, state_of
from selfiegate.private_files import create_file, make_folder
from selfiegate.settings import Settings
from selfiegate.values import Value

RECORDS, GALLERY = "records.db", "gallery.db"
_MANIFEST = "backup.json"


class Backup(Value):
    """What a backup's folder holds; written last, so a folder without it is no backup."""

    made_at: datetime
    version: str = Field(description="Of selfiegate")
    files: dict[str, str] = Field(description="File to the SHA-256 of its bytes, as hex")


def back_up(settings: Settings, folder: Path) -> Backup:
    """Copy records and gallery into a new or empty folder, both as of one moment, for their owner alone.

    Writers wait for the few milliseconds in which that moment is chosen. Raises `WrongInput` where the folder holds
    something, `BackendMisconfigured` where there is nothing to be copied.
    """
    require_embedded(settings)
    names = RECORDS, GALLERY
    if missing := [settings.folder / name for name in names if not (settings.folder / name).exists()]:
        raise BackendMisconfigured(f"there is no {missing[0]} to copy; is SELFIEGATE_HOME right?")
    try:
        make_folder(folder, below=folder)
        if any(folder.iterdir()):
            raise WrongInput(f"{folder} is not empty; name a new folder for each backup")
        with _frozen([settings.folder / name for name in names], settings.store_patience_s) as sources:
            for name, source in zip(names, sources, strict=True):
                _copy(source, folder / name)
        _require_fitting(folder)
        files = {name: _digest(folder / name) for name in names}
        made = Backup(made_at=datetime.now(UTC), version=version("selfiegate"), files=files)
        with create_file(folder / _MANIFEST) as file:
            file.write(made.model_dump_json(indent=2).encode())
    except OSError as error:
        raise WrongInput(f"cannot write the backup to {folder}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise BackendUnavailable(f"cannot copy {settings.folder}: {error}; try again into another folder") from error
    return made


def opened(folder: Path) -> Backup:
    """Read a backup's manifest; raises `WrongInput` where the folder is no whole and unchanged backup."""
    try:
        made = Backup.model_validate_json((folder / _MANIFEST).read_bytes())
        changed = [name for name, digest in made.files.items() if _digest(folder / name) != digest]
    except (OSError, ValidationError) as error:
        raise WrongInput(f"{folder} is no backup, or one that was not finished: {error}") from None
    if changed:
        raise WrongInput(f"{folder / changed[0]} is not as the backup left it; take another backup")
    return made


def require_embedded(settings: Settings) -> None:
    """Refuse where other services hold a part of what would be copied or put back."""
    if settings.records != "sqlite" or settings.gallery != "sqlite" or settings.backend != "insightface":
        raise BackendMisconfigured(
            f"only the embedded stores are copied and restored, and SELFIEGATE_BACKEND is {settings.backend!r}, "
            f"SELFIEGATE_RECORDS {settings.records!r}; DynamoDB has point-in-time recovery, PostgreSQL pg_dump, and "
            "a collection of Rekognition has no copy"
        )


@contextmanager
def _frozen(paths: Sequence[Path], patience_s: float) -> Iterator[Sequence[sqlite3.Connection]]:
    """Open all databases as of one moment, which is chosen while nobody writes to any of them.

    Locked in this order, as by who holds the ledger while faces are enrolled: nobody waits in a circle.
    """
    with ExitStack() as stack:

        def connected(path: Path) -> sqlite3.Connection:
            made = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=patience_s, isolation_level=None)
            return stack.enter_context(closing(made))

        writers, readers = [connected(path) for path in paths], [connected(path) for path in paths]
        for writer in writers:
            writer.execute("BEGIN IMMEDIATE")
        for reader in readers:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the snapshot begins with the first read
        for writer in writers:
            writer.execute("ROLLBACK")
        yield readers


def _copy(source: sqlite3.Connection, path: Path) -> None:
    create_file(path).close()
    with closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, which is opened as it lies there
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise BackendMisconfigured(f"the copy {path} is damaged: {found}; so is what it was copied from")


def _require_fitting(folder: Path) -> None:
    """Refuse a copy of files that do not belong together: it would take the place of a good one."""
    mark, gallery = mark_of(folder / RECORDS), state_of(folder / GALLERY)
    if mark and not (gallery and fits(mark, gallery)):
        raise BackendMisconfigured(
            "records and gallery do not belong together; `selfiegate doctor` says why; keep the older backups until "
            "that is mended"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
