"""Photos below a folder, without following links or waiting for pipes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO

from selfiegate.backfill.listing import Entry, Fault
from selfiegate.backfill.sources.objects import UserOf
from selfiegate.clock import LAST_MOMENT
from selfiegate.decoding.decode import named_like_photo
from selfiegate.errors import WrongInput

_MAX_DEPTH = 100
"""Folders within folders; each takes an open file while it is read."""


def photos_below(root: Path, user_of: UserOf) -> Iterator[Entry | Fault]:
    """Go through all files below a folder that are named like photos.

    Hidden ones and linked folders are left out; links to files, pipes, devices and what cannot be read or
    written down are faults.
    """
    for item in _items(str(root)):
        if isinstance(item, Fault):
            yield item
        elif found := _looked_at(item, root, user_of):
            yield found


def beside(manifest: Path, key: str) -> AbstractContextManager[IO[bytes]]:
    """Open a file of an inventory, downloaded next to its manifest or in the `data` folder that S3 puts it in."""
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts:
        raise WrongInput(f"the manifest {str(manifest)!r} names a file elsewhere: {key[:200]!r}")
    here = manifest.parent
    places = (here / path, here / path.name, here / "data" / path.name, here.parent / "data" / path.name)
    try:
        return next(place for place in places if place.is_file()).open("rb")
    except (StopIteration, OSError) as error:
        why = f" ({error.strerror})" if isinstance(error, OSError) else ""
        raise WrongInput(f"cannot find {path.name[:200]!r} beside {str(manifest)!r}{why}; download it, too") from None


def _items(folder: str, depth: int = 0) -> Iterator[os.DirEntry[str] | Fault]:
    if depth > _MAX_DEPTH:
        yield Fault(where=folder, why=f"it lies more than {_MAX_DEPTH} folders deep")
        return
    try:
        with os.scandir(folder) as items:
            for item in items:
                if item.name.startswith("."):
                    continue
                if item.is_dir(follow_symlinks=False) and _is_unicode(item.name):
                    yield from _items(item.path, depth + 1)
                else:
                    yield item
    except OSError as error:
        yield Fault(where=folder, why=f"the folder cannot be read: {error.strerror}")


def _looked_at(item: os.DirEntry[str], root: Path, user_of: UserOf) -> Entry | Fault | None:
    try:
        if wrong := _wrong(item):
            return Fault(where=item.path, why=wrong)
        if not named_like_photo(item.name) or item.is_symlink():
            return None
        user_id = user_of(Path(item.path).relative_to(root).as_posix())
        modified = item.stat(follow_symlinks=False).st_mtime_ns // 1000
    except OSError as error:
        return Fault(where=item.path, why=f"the file cannot be read: {error.strerror}")
    except WrongInput as error:
        return Fault(where=item.path, why=str(error))
    return Entry(uri=item.path, user_id=user_id, modified=min(max(0, modified), LAST_MOMENT))


def _wrong(item: os.DirEntry[str]) -> str:
    """Say why this cannot be a photo, nor be passed over in silence."""
    if item.is_symlink():
        return "it is a link; links are not followed" if named_like_photo(item.name) and not item.is_dir() else ""
    if item.is_dir(follow_symlinks=False):
        return "its name is not UTF-8; all in this folder is left out"
    if not item.is_file(follow_symlinks=False):
        return "it is no regular file but a pipe, a socket or a device"
    if named_like_photo(item.name) and not _is_unicode(item.name):
        return "its name is not UTF-8"
    return ""


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
