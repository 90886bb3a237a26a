"""A sign sketch of every embedding, held in memory: one bit per dimension, searched by Hamming distance.

For unit vectors the share of differing signs estimates the angle (Charikar 2002, "Similarity estimation
techniques from rounding algorithms"), so the nearest sketches hold the nearest faces. 512 dimensions are
64 bytes; a million faces are 64 MB and, on one core, about 10 ms a search.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16
"""Rows scanned at once: temporaries of half a megabyte stay in the core's cache."""
_FAR = 1 << 15
"""Farther than any sketch."""
_MORE, _SHARE = 4, 0.002
"""How many rows are kept by their signs alone: so many times what is asked for, and this share of all. Of 1,200 faces
with a cosine of 0.40 to 0.55 to their match among a million, the match was always among the nearest 2,000 (once not
among 1,000), and once not among the 64 nearest of these by the embedding's values."""


def sketch(embedding: NDArray[np.float32]) -> bytes:
    """Return the signs of a vector, 8 to a byte."""
    return np.packbits(embedding > 0).tobytes()


def dots(vectors: NDArray[np.float32], probe: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each vector's product with the probe, on one thread: BLAS would start its own beside busy ones."""
    return np.asarray(np.einsum("ij,j->i", vectors, probe), np.float32)


class _Rows(NamedTuple):
    ids: NDArray[np.int64]
    """Ascending."""
    columns: NDArray[np.uint64]
    """The sketches, word-major, so that each of the scan's passes runs over consecutive memory."""
    removed: NDArray[np.uint16]
    """0, or `_FAR` where the row is gone."""
    filled: int


class SketchIndex:
    """Row ids with their sketches; may be searched by any number of threads while one changes it.

    Rows are appended and marked, never moved: what a search began with stays as it was.
    """

    def __init__(self, width: int) -> None:
        """Make an empty index of sketches of `width` bytes (a multiple of 8)."""
        self._rows = _Rows(np.empty(0, np.int64), np.empty((width // 8, 0), np.uint64), np.empty(0, np.uint16), 0)
        self._removed = 0

    def __len__(self) -> int:
        return self._rows.filled - self._removed

    def extend(self, ids: NDArray[np.int64], sketches: bytes) -> None:
        """Append rows with ids above all others; `sketches` holds theirs back to back."""
        start, end = self._rows.filled, self._rows.filled + len(ids)
        rows = self._rows if end <= len(self._rows.ids) else self._grown(max(end, start + start // 8, 1024))
        rows.ids[start:end] = ids
        rows.columns[:, start:end] = np.frombuffer(sketches, np.uint64).reshape(len(ids), len(rows.columns)).T
        rows.removed[start:end] = 0
        self._rows = rows._replace(filled=end)

    def discard(self, row_id: int) -> None:
        """Remove a row; its memory is kept until the process ends."""
        ids, _, removed, filled = self._rows
        slot = int(np.searchsorted(ids[:filled], row_id))
        if slot < filled and ids[slot] == row_id and not removed[slot]:
            removed[slot] = _FAR
            self._removed += 1

    def nearest(self, embedding: NDArray[np.float32], limit: int, above: int = 0) -> NDArray[np.int64]:
        """Return the ids of at least `limit` rows (all rows, where there are fewer) that are nearest, in no order.

        Of those with the nearest signs, the nearest by the embedding's own values against their signs, which tells
        more. Rows as near as the last one come along, so that equal faces are never cut at random. With `above`,
        only rows of higher ids count.
        """
        rows = self._rows
        slots = _nearest_signs(rows, sketch(embedding), max(_MORE * limit, int(_SHARE * len(self))), above)
        if len(slots) > limit:
            signs = np.unpackbits(np.ascontiguousarray(rows.columns[:, slots].T).view(np.uint8), axis=1)
            likeness = dots(signs.astype(np.float32), embedding)
            slots = slots[likeness >= np.partition(likeness, -limit)[-limit]]
        return rows.ids[slots]

    def _grown(self, capacity: int) -> _Rows:
        old, filled = self._rows, self._rows.filled
        ids, removed = np.empty(capacity, np.int64), np.empty(capacity, np.uint16)
        columns = np.empty((len(old.columns), capacity), np.uint64)
        ids[:filled], removed[:filled], columns[:, :filled] = (
            old.ids[:filled],
            old.removed[:filled],
            old.columns[:, :filled],
        )
        return _Rows(ids, columns, removed, filled)


def _nearest_signs(rows: _Rows, query: bytes, limit: int, above: int) -> NDArray[np.int64]:
    """Return the slots of at least `limit` rows that differ in the fewest signs."""
    words = np.frombuffer(query, np.uint64)
    slots, distances = np.empty(0, np.int64), np.empty(0, np.uint16)
    reach = np.uint16(_FAR - 1)
    first = int(np.searchsorted(rows.ids[: rows.filled], above, side="right"))
    for start in range(first, rows.filled, _BLOCK):
        block = _distances(rows, words, slice(start, min(start + _BLOCK, rows.filled)))
        close = np.flatnonzero(block <= reach)
        slots = np.concatenate([slots, close + start])
        distances = np.concatenate([distances, block[close]])
        if len(slots) > limit:
            reach = np.partition(distances, limit - 1)[limit - 1]
            kept = distances <= reach
            slots, distances = slots[kept], distances[kept]
    return slots


def _distances(rows: _Rows, words: NDArray[np.uint64], part: slice) -> NDArray[np.uint16]:
    total = rows.removed[part].copy()
    for column, word in zip(rows.columns, words, strict=True):
        total += np.bitwise_count(column[part] ^ word)
    return total
