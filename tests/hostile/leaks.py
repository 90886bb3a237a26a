"""Looks for what must not be there: embeddings, pictures and addresses in any bytes, however they are written."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FLOAT = re.compile(rb"-?\d*\.\d{2,}(?:e[+-]?\d+)?")
_HEX, _BASE64 = re.compile(rb"[0-9a-fA-F]{200,}"), re.compile(rb"[A-Za-z0-9+/_-]{200,}")
_MAGIC = (b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xdb", b"\x89PNG\r\n\x1a\n", b"/9j/4", b"iVBORw0KGgo")
_IN_A_ROW, _PIECE = 5, 48


@dataclass(frozen=True)
class Secrets:
    """What to look for: embeddings at any scale, pictures piece by piece, texts as they are."""

    embeddings: Sequence[NDArray[np.float32]]
    pictures: Sequence[bytes]
    texts: Sequence[bytes]

    def found_in(self, data: bytes) -> list[str]:
        """Name what these bytes hold, raw, in hexadecimal or in base64."""
        found = [f"the text {text!r}" for text in self.texts if text in data]
        for layer in _layers(data):
            found += [f"the magic {magic!r}" for magic in _MAGIC if magic in layer]
            found += [f"picture {n}" for n, one in enumerate(self.pictures) if any(p in layer for p in _pieces(one))]
            found += [f"embedding {n}" for n, one in enumerate(self.embeddings) if _holds(layer, one)]
        return found


def everything_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give each file below a folder as it is, and each database as text, too."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    for file in files:
        yield str(file.relative_to(folder)), file.read_bytes()
    for file in (file for file in files if file.suffix == ".db"):  # last: opening one takes its log's file away
        with closing(sqlite3.connect(file)) as database:
            yield f"{file.name} as text", "\n".join(database.iterdump()).encode()


def _layers(data: bytes) -> Iterator[bytes]:
    yield data
    for run in _HEX.findall(data):
        yield from (bytes.fromhex(run[at : at + (len(run) - at) // 2 * 2].decode()) for at in (0, 1))
    for run in _BASE64.findall(data):
        for at in range(4):  # something may stand before it
            whole = run[at : at + (len(run) - at) // 4 * 4]
            yield base64.b64decode(whole.replace(b"-", b"+").replace(b"_", b"/"))


def _pieces(picture: bytes) -> list[bytes]:
    """Return some bytes of a picture from behind its headers; those of little variety are in other files, too."""
    starts = range(len(picture) // 3, len(picture) - _PIECE, max(len(picture) // 40, 1))
    return [piece for at in starts if len(set(piece := picture[at : at + _PIECE])) > _PIECE // 2]


def _holds(data: bytes, embedding: NDArray[np.float32]) -> bool:
    written = np.array([float(text) for text in _FLOAT.findall(data)], np.float64)
    # numpy writes the first three and the last three of many numbers.
    near = [embedding[:3], embedding[-3:]]
    if any(_in_a_row(written, three) for three in near) or _has_ratios(written, embedding):
        return True
    for kind in (np.float16, np.float32, np.float64):
        size = np.dtype(kind).itemsize
        for at in range(min(size, len(data))):
            if _has_ratios(np.frombuffer(data[at : at + (len(data) - at) // size * size], kind), embedding):
                return True
    return False


def _in_a_row(numbers: NDArray[np.float64], wanted: NDArray[np.float32]) -> bool:
    count = len(numbers) - len(wanted) + 1
    close = [np.isclose(numbers[n : n + count], value, rtol=2e-3, atol=0) for n, value in enumerate(wanted)]
    return count > 0 and bool(np.logical_and.reduce(close).any())


def _has_ratios(numbers: NDArray[np.floating], embedding: NDArray[np.float32]) -> bool:
    """Say whether some of the embedding's values stand in a row, whatever they were multiplied by."""
    if len(numbers) < _IN_A_ROW:
        return False
    with np.errstate(all="ignore"):
        found = numbers[1:].astype(np.float32) / numbers[:-1].astype(np.float32)
    for values in _large(embedding):
        wanted = values[1:] / values[:-1]
        with np.errstate(all="ignore"):
            at = np.flatnonzero(np.abs(found[: len(found) - len(wanted) + 1] / wanted[0] - 1) < 4e-3)
            for n, ratio in enumerate(wanted[1:], 1):
                at = at[np.abs(found[at + n] / ratio - 1) < 4e-3]
        if len(at):
            return True
    return False


def _large(embedding: NDArray[np.float32], most: int = 6) -> list[NDArray[np.float32]]:
    """Return some runs of values none of which is so small that half precision would spoil it."""
    runs = np.lib.stride_tricks.sliding_window_view(embedding, _IN_A_ROW)
    large = runs[np.abs(runs).min(axis=1) > 0.01]
    return list(large[:: max(len(large) // most, 1)])
