"""A copy of the sketches on this machine's disk, so that a process that starts need not fetch them all.

The copy is a cache: one that is damaged or another gallery's is removed, and whoever reads one compares its last number
with the database before use. Its place is the home, where only the user's processes write.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from selfiegate.galleries.sketch import Block, SketchIndex

_log = logging.getLogger(__name__)
_HEADER = 512
"""Bytes of the header: JSON, filled up with spaces."""
_FORMAT = 1
BLOCK = 1 << 17
"""Rows written or read at once: 9 MB."""


class Origin(NamedTuple):
    """What the sketches of a copy were read from, and how far."""

    gallery_id: str
    highest: int
    token: str


def save(path: Path, origin: Origin, width: int, blocks: Iterable[Block]) -> bool:
    """Write a copy for its owner alone, whole or not at all; False where another process is at it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = _part(path)
    with _alone(part) as file:
        if file is None:
            return False
        file.write(b" " * _HEADER)
        checksum, rows = 0, 0
        for ids, bits in blocks:
            block = np.empty(len(ids), _row(width))
            block["id"], block["bits"] = ids, bits
            file.write(block.data)
            checksum, rows = zlib.crc32(block.data, checksum), rows + len(ids)
        fields = {"format": _FORMAT, "rows": rows, "width": width, **origin._asdict()}
        file.seek(0)
        file.write(json.dumps({**fields, "crc32": _sealed(fields, checksum)}).encode().ljust(_HEADER))
        file.flush()
        os.fsync(file.fileno())
        part.replace(path)
    return True


def load(path: Path, gallery_id: str, width: int) -> tuple[Origin, SketchIndex] | None:
    """Return a gallery's copy; None where there is none that is whole. Removes what is no use: it tells of faces."""
    _remove_part(path)
    try:
        with path.open("rb") as file:
            return _read(file, gallery_id, width)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s is not used, all sketches are fetched: %s", path, error)
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("%s is removed, all sketches are fetched: %s", path, error)
        remove(path)
    return None


def remove(path: Path) -> None:
    """Remove a copy, where the disk lets us."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _remove_part(path: Path) -> None:
    """Remove what a process left that died while it wrote."""
    part = _part(path)
    with suppress(OSError):
        if part.exists():
            with _alone(part) as file:
                if file:
                    part.unlink()


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _read(file: BinaryIO, gallery_id: str, width: int) -> tuple[Origin, SketchIndex]:
    fields = json.loads(file.read(_HEADER))
    origin, seal = Origin(*(fields[name] for name in Origin._fields)), fields.pop("crc32")
    if (fields["format"], fields["width"], origin.gallery_id) != (_FORMAT, width, gallery_id):
        raise ValueError("it is another gallery's, or another version's")
    row, checksum = _row(width), 0
    if os.fstat(file.fileno()).st_size != _HEADER + fields["rows"] * row.itemsize:
        raise ValueError("it is cut off")
    index = SketchIndex(width)
    index.reserve(fields["rows"])
    while data := file.read(BLOCK * row.itemsize):
        rows, checksum = np.frombuffer(data, row), zlib.crc32(data, checksum)
        index.extend(rows["id"].astype(np.int64), rows["bits"].tobytes())
    if seal != _sealed(fields, checksum):
        raise ValueError("its checksum is wrong")
    return origin, index


def _row(width: int) -> np.dtype[Any]:
    return np.dtype([("id", ">i8"), ("bits", np.uint8, width)])


def _sealed(fields: dict[str, Any], checksum: int) -> int:
    return zlib.crc32(json.dumps(fields, sort_keys=True).encode(), checksum)


@contextmanager
def _alone(part: Path) -> Iterator[BinaryIO | None]:
    """Open a file to write unless another process has it open; what a dead one left is written over."""
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if part.exists() and os.path.samestat(part.stat(), os.fstat(file.fileno())):  # else it was renamed since
                file.truncate()
                try:
                    yield file
                except OSError:
                    part.unlink(missing_ok=True)
                    raise
                return
        yield None
