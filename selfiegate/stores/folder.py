"""Photos and thumbnails on disk."""

from __future__ import annotations

import errno
import glob
import hashlib
import heapq
import itertools
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, PhotoRejected, WrongInput
from selfiegate.model import PhotoRef, ReasonCode
from selfiegate.paging import Page
from selfiegate.private_files import create_file, make_folder
from selfiegate.untrusted_text import plain

_LONGEST = 4096
"""Characters of a name that an error repeats."""
_MOST = 100_000_000
"""Bytes of a thumbnail: more than any has."""
_NO_FILE = {errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EILSEQ}
"""What no retry mends: links in circles, names too long, sockets."""


class FolderPhotos:
    """Photos by path; a photo's version is the SHA-256 of its bytes, so a changed file is another photo."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def find(self, uri: str) -> PhotoRef:
        """Pin the present bytes of a file."""
        try:
            uri.encode()  # a name that is not UTF-8 could not be written down anywhere
            path = Path(uri).expanduser().resolve(strict=True)
            str(path).encode()  # a link may lead to such a name
            with _open_regular(path) as file:
                digest = self._digest(file)
        except (OSError, ValueError, RuntimeError) as error:  # the last for ~nobody, and links that go in circles
            raise WrongInput(f"cannot read the photo {uri[:_LONGEST]!r}: {_why(error)}") from None
        return PhotoRef(bucket=str(path.parent), key=path.name, version=digest)

    def read(self, photo: PhotoRef) -> bytes:
        """Return the file's bytes, if they are still the ones that were pinned."""
        try:
            with _open_regular(Path(photo.bucket, photo.key)) as file:
                if (count := os.fstat(file).st_size) > self._limits.max_bytes:
                    raise PhotoRejected(ReasonCode.PHOTO_TOO_LARGE, count)
                data = _whole(file, self._limits.max_bytes)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # `WrongInput`, and names with NUL
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO) from None
        except OSError as error:
            if error.errno in _NO_FILE:
                raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO) from None
            raise BackendUnavailable(f"cannot read {plain(photo.uri)}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != photo.version:
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
        return data

    def metadata(self, photo: PhotoRef) -> Mapping[str, str]:
        """Files have none."""
        return {}

    def erase(self, photo: PhotoRef, asked_at: int) -> None:
        """Remove the file, if its bytes are still the ones that were pinned."""
        path = Path(photo.bucket, photo.key)
        try:
            if self.find(str(path)) == photo:
                path.unlink(missing_ok=True)
        except WrongInput as unreadable:
            if os.path.lexists(path):
                raise BackendMisconfigured(f"cannot remove {plain(photo.uri)}: {unreadable}") from unreadable
        except OSError as error:
            raise BackendMisconfigured(f"cannot remove {plain(photo.uri)}: {error.strerror}") from error

    def _digest(self, file: int) -> str:
        """Hash a file; of one too large to be read only what tells it from others: it may be as long as a disk."""
        length, most = os.fstat(file).st_size, self._limits.max_bytes
        if length <= most:
            return hashlib.sha256(_whole(file, most)).hexdigest()
        return hashlib.sha256(os.read(file, 1 << 20) + b"%d" % length).hexdigest()


@contextmanager
def _open_regular(path: Path) -> Iterator[int]:
    """Open a regular file; never wait for a FIFO, never read a device."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise WrongInput("it is not a file")
        yield file
    finally:
        os.close(file)


def _whole(file: int, most: int) -> bytes:
    parts = []
    while part := os.read(file, most):  # a local file's first part is all of it
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class FolderThumbnails:
    """Thumbnails below one folder, written whole or not at all, for their owner alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, data: bytes, content_type: str) -> str:
        """Write a thumbnail and return its path."""
        path = self._path(key)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with _translated(path):
            make_folder(path.parent, below=self._root.parent)
            try:
                with create_file(part) as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):  # of a process that was killed here
                    left.unlink(missing_ok=True)
        return str(path)

    def remove(self, folder: str) -> None:
        """Remove a folder of thumbnails, and the one above it where that is empty then."""
        path = self._path(folder)
        with _translated(path):
            shutil.rmtree(path, ignore_errors=not path.exists())
            with suppress(OSError):  # not empty, or gone already
                path.parent.rmdir()

    def erase(self, uri: str) -> None:
        """Leave it: no older system put any here."""

    def read(self, key: str) -> bytes | None:
        """Return a thumbnail."""
        path = self._path(key)
        try:
            with _open_regular(path) as file:
                return _whole(file, _MOST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BackendUnavailable(f"cannot read {path}: {error}") from error

    def keys(self, folder: str = "") -> Sequence[str]:
        """List all keys, or those below a folder."""
        top = self._path(folder) if folder else self._root
        files = (path for path in top.rglob("*") if path.is_file())
        return sorted(path.relative_to(self._root).as_posix() for path in files)

    def folders(self, after: str = "", limit: int = 1000) -> Page[str]:
        """List folders that hold thumbnails; reads the names of all users' folders for each page."""
        users = (name for name in _folders_in(self._root) if f"{name}0" > after)
        first = heapq.nsmallest(limit, users, key=_with_slash)
        folders = (
            f"{user}/{name}" for user in first for name in sorted(_folders_in(self._root / user), key=_with_slash)
        )
        there = (folder for folder in folders if _with_slash(folder) > after and _holds_a_file(self._root / folder))
        found = list(itertools.islice(there, limit))
        if len(found) == limit:
            return Page(found, f"{found[-1]}0")
        return Page(found, f"{first[-1]}0" if len(first) == limit else "")

    def _path(self, key: str) -> Path:
        names = key.split("/")
        odd = re.search("[\0\ud800-\udfff]", key)
        if odd or any(name in ("", ".", "..") or len(name.encode()) > 200 for name in names):
            raise WrongInput(f"{key[:_LONGEST]!r} is no key of a thumbnail, or leads out of {self._root}")
        path = self._root / key
        if not path.parent.resolve().is_relative_to(self._root.resolve()):  # by a link
            raise WrongInput(f"the thumbnail key {key!r} leads out of {self._root}")
        return path


def _with_slash(folder: str) -> str:
    return f"{folder}/"


def _folders_in(path: Path) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(path) as entries:  # removed meanwhile
        yield from (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def _holds_a_file(path: Path) -> bool:
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        return any(entry.is_file() for entry in entries)
    return False


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise BackendMisconfigured(
            f"cannot write {path}: {error.strerror}; set SELFIEGATE_HOME to a folder that can be written"
        ) from error
    except OSError as error:
        raise BackendUnavailable(f"cannot write {path}: {error}") from error
