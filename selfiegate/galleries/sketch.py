"""A sign sketch of every embedding, held in memory: one bit per dimension, searched by Hamming distance.

For unit vectors the share of differing signs estimates the angle (Charikar 2002, "Similarity estimation
techniques from rounding algorithms"), so the nearest sketches hold the nearest faces. 512 dimensions are
64 bytes; a million faces are 64 MB and, on one core, about 10 ms a search.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16
"""Rows scanned at once: temporaries of half a megabyte stay in the core's cache."""


def sketch(embedding: NDArray[np.float32]) -> bytes:
    """Return the signs of a vector, 8 to a byte."""
    return np.packbits(embedding > 0).tobytes()


class SketchIndex:
    """Row ids with their sketches. Not safe for threads by itself."""

    def __init__(self, width: int) -> None:
        """Make an empty index of sketches of `width` bytes (a multiple of 8)."""
        self._words = width // 8
        self._ids = np.empty(0, np.int64)
        # Word-major, so that each of the scan's passes runs over consecutive memory.
        self._columns = np.empty((self._words, 0), np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, ids: NDArray[np.int64], sketches: bytes) -> None:
        """Append rows; `sketches` holds theirs back to back."""
        end = self._count + len(ids)
        if end > len(self._ids):
            self._grow(max(end, self._count + self._count // 8, 1024))
        rows = np.frombuffer(sketches, np.uint64).reshape(len(ids), self._words)
        self._ids[self._count : end] = ids
        self._columns[:, self._count : end] = rows.T
        self._count = end

    def discard(self, row_id: int) -> None:
        """Remove a row; the last one takes its place."""
        for slot in np.flatnonzero(self._ids[: self._count] == row_id):
            self._count -= 1
            self._ids[slot] = self._ids[self._count]
            self._columns[:, slot] = self._columns[:, self._count]

    def nearest(self, query: bytes, limit: int) -> NDArray[np.int64]:
        """Return the ids of at least `limit` nearest rows (all rows, where there are fewer), in no order.

        Rows as near as the last one come along, so that equal faces are never cut at random.
        """
        words = np.frombuffer(query, np.uint64)
        slots, distances = np.empty(0, np.int64), np.empty(0, np.uint16)
        reach = np.uint16(np.iinfo(np.uint16).max)
        for start in range(0, self._count, _BLOCK):
            block = self._distances(words, start, min(start + _BLOCK, self._count))
            close = np.flatnonzero(block <= reach)
            slots = np.concatenate([slots, close + start])
            distances = np.concatenate([distances, block[close]])
            if len(slots) > limit:
                reach = np.partition(distances, limit - 1)[limit - 1]
                kept = distances <= reach
                slots, distances = slots[kept], distances[kept]
        return self._ids[slots]

    def _distances(self, words: NDArray[np.uint64], start: int, end: int) -> NDArray[np.uint16]:
        total = np.zeros(end - start, np.uint16)
        for column, word in zip(self._columns, words, strict=True):
            total += np.bitwise_count(column[start:end] ^ word)
        return total

    def _grow(self, capacity: int) -> None:
        ids, columns = np.empty(capacity, np.int64), np.empty((self._words, capacity), np.uint64)
        ids[: self._count] = self._ids[: self._count]
        columns[:, : self._count] = self._columns[:, : self._count]
        self._ids, self._columns = ids, columns
