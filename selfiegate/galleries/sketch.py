"""A sign sketch of every embedding, held in memory: one bit per dimension, searched by Hamming distance.

For unit vectors the share of differing signs estimates the angle (Charikar 2002, "Similarity estimation
techniques from rounding algorithms"), so the nearest sketches hold the nearest faces. 512 dimensions are
64 bytes; docs/performance.md tells what a search of them takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

# Its types leave both functions out.
_hammings, _range_search = faiss.hammings, faiss.hamming_range_search  # type: ignore[attr-defined]

_BLOCK = 1 << 16
"""Rows that all probes are compared with before the next rows: 4 MB, which a core's cache holds for the next probe."""
_SAMPLE = 1 << 14
"""Rows from which a search guesses how far its nearest rows reach."""
_MORE, _SHARE = 4, 0.002
"""How many rows are kept by their signs alone: so many times what is asked for, and this share of all. Of 1,200 faces
with a cosine of 0.40 to 0.55 to their match among a million, the match was always among the nearest 2,000 (once not
among 1,000), and once not among the 64 nearest of these by the embedding's values."""
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)
"""The eight bits of each byte."""


def sketch(embedding: NDArray[np.float32]) -> bytes:
    """Return the signs of a vector, 8 to a byte."""
    return np.packbits(embedding > 0).tobytes()


def dots(vectors: NDArray[np.float32], probe: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each vector's product with the probe, on one thread: BLAS would start its own beside busy ones."""
    return np.asarray(np.einsum("ij,j->i", vectors, probe), np.float32)


Block = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Ascending row ids, and a sketch of each: shapes (rows,) and (rows, width)."""


class _Rows(NamedTuple):
    ids: NDArray[np.int64]
    """Ascending."""
    sketches: NDArray[np.uint8]
    """Shape (rows, width)."""
    removed: NDArray[np.bool_]
    filled: int


class _Near(NamedTuple):
    slots: NDArray[np.int64]
    distances: NDArray[np.float32]
    """Differing signs, whole numbers."""


class SketchIndex:
    """Row ids with their sketches; may be searched by any number of threads while one changes it.

    Rows are appended and marked, never moved: what a search began with stays as it was.
    """

    def __init__(self, width: int) -> None:
        """Make an empty index of sketches of `width` bytes (a multiple of 8)."""
        self.width = width
        self._rows = _Rows(np.empty(0, np.int64), np.empty((0, width), np.uint8), np.empty(0, np.bool_), 0)
        self._removed = 0

    def __len__(self) -> int:
        return self._rows.filled - self._removed

    def extend(self, ids: NDArray[np.int64], sketches: bytes) -> None:
        """Append rows with ids above all others; `sketches` holds theirs back to back."""
        start, end = self._rows.filled, self._rows.filled + len(ids)
        rows = self._rows if end <= len(self._rows.ids) else self._grown(max(end, start + start // 8, 1024))
        rows.ids[start:end] = ids
        rows.sketches[start:end] = np.frombuffer(sketches, np.uint8).reshape(len(ids), rows.sketches.shape[1])
        rows.removed[start:end] = False
        self._rows = rows._replace(filled=end)

    def reserve(self, rows: int) -> None:
        """Make room for so many rows, and an eighth more, in one go."""
        self._rows = self._grown(max(rows + rows // 8, self._rows.filled))

    def blocks(self, rows: int) -> Iterator[Block]:
        """Return the ids and sketches that are there now, so many rows at a time."""
        ids, sketches, removed, filled = self._rows
        parts = (slice(start, min(start + rows, filled)) for start in range(0, filled, rows))
        return ((ids[part][~removed[part]], sketches[part][~removed[part]]) for part in parts)

    def discard(self, row_id: int) -> None:
        """Remove a row, if it is there: its sketch is wiped, its place is kept until the process ends."""
        ids, sketches, removed, filled = self._rows
        slot = int(np.searchsorted(ids[:filled], row_id))
        if slot < filled and ids[slot] == row_id and not removed[slot]:
            removed[slot] = True
            sketches[slot] = 0
            self._removed += 1

    def nearest(self, embeddings: Sequence[NDArray[np.float32]], limit: int, above: int = 0) -> list[NDArray[np.int64]]:
        """Return for each probe the ids of at least `limit` rows (or all rows) that are nearest, in no order.

        Of those with the nearest signs, the nearest by the embedding's own values against their signs, which tells
        more. Rows as near as the last one come along, so that equal faces are never cut at random. With `above`,
        only rows of higher ids count. Several probes take turns with each block of rows: memory is read once.
        """
        rows, wanted = self._rows, max(_MORE * limit, int(_SHARE * len(self)))
        first = int(np.searchsorted(rows.ids[: rows.filled], above, side="right"))
        near = _nearest_signs(rows, [np.packbits(one > 0) for one in embeddings], wanted, first)
        return [rows.ids[_likest(rows, slots, one, limit)] for slots, one in zip(near, embeddings, strict=True)]

    def _grown(self, capacity: int) -> _Rows:
        old, filled = self._rows, self._rows.filled
        ids, removed = np.empty(capacity, np.int64), np.empty(capacity, np.bool_)
        sketches = np.zeros((capacity, old.sketches.shape[1]), np.uint8)  # memory of before may hold removed ones
        ids[:filled], removed[:filled], sketches[:filled] = (
            old.ids[:filled],
            old.removed[:filled],
            old.sketches[:filled],
        )
        return _Rows(ids, sketches, removed, filled)


def _nearest_signs(
    rows: _Rows, queries: Sequence[NDArray[np.uint8]], limit: int, first: int
) -> list[NDArray[np.int64]]:
    """Return for each query the slots, from `first` on, of at least `limit` rows that differ in the fewest signs."""
    limit = min(limit, rows.filled - first - int(np.count_nonzero(rows.removed[first : rows.filled])))
    if limit < 1:
        return [np.empty(0, np.int64) for _ in queries]
    reaches = _guessed_reaches(rows, queries, limit, first)
    return [
        _closest(rows, query, reach, near, limit, first)
        for query, reach, near in zip(queries, reaches, _within(rows, queries, reaches, first), strict=True)
    ]


def _closest(
    rows: _Rows, query: NDArray[np.uint8], reach: int, near: _Near, limit: int, first: int
) -> NDArray[np.int64]:
    """Cut what was found down to `limit` rows, or look farther where the guess was too low: six times at most."""
    while len(near.slots) < limit and reach < 8 * len(query):
        reach = min(2 * reach + 16, 8 * len(query))
        (near,) = _within(rows, [query], [reach], first)
    if len(near.slots) <= limit:
        return near.slots
    last: np.float32 = np.partition(near.distances, limit - 1)[limit - 1]
    return near.slots[near.distances <= last]


def _guessed_reaches(rows: _Rows, queries: Sequence[NDArray[np.uint8]], limit: int, first: int) -> list[int]:
    """Guess the distances within which `limit` rows lie, rather too far: from a sample, twice its share and 16 more."""
    step = max(1, (rows.filled - first) // _SAMPLE)
    sample = np.ascontiguousarray(rows.sketches[first : rows.filled : step])
    taken = min(2 * limit // step + 16, len(sample))
    distances = np.empty(len(sample), np.int32)
    reaches = []
    for query in queries:
        compared = faiss.swig_ptr(query), faiss.swig_ptr(sample)
        _hammings(*compared, 1, len(sample), len(query), faiss.swig_ptr(distances))
        reaches.append(int(np.partition(distances, taken - 1)[taken - 1]))
    return reaches


def _within(rows: _Rows, queries: Sequence[NDArray[np.uint8]], reaches: Sequence[int], first: int) -> list[_Near]:
    """Return for each query the rows, from `first` on, that differ in at most so many signs."""
    faiss.omp_set_num_threads(1)  # of this thread alone: it would start others, beside busy ones
    found: list[list[_Near]] = [[_Near(np.empty(0, np.int64), np.empty(0, np.float32))] for _ in queries]
    for start in range(first, rows.filled, _BLOCK):
        block = rows.sketches[start : min(start + _BLOCK, rows.filled)]
        for query, reach, parts in zip(queries, reaches, found, strict=True):
            slots, distances = _in_block(block, query, reach)
            parts.append(_Near(slots + start, distances))
    return [_present(rows, _Near(*map(np.concatenate, zip(*parts, strict=True)))) for parts in found]


def _present(rows: _Rows, near: _Near) -> _Near:
    present = ~rows.removed[near.slots]
    return _Near(near.slots[present], near.distances[present])


def _in_block(block: NDArray[np.uint8], query: NDArray[np.uint8], reach: int) -> _Near:
    """Return what lies within reach.

    An index of faiss would copy the rows, and must not grow during a search; this function reads an array of ours.
    """
    result = faiss.RangeSearchResult(1)
    _range_search(faiss.swig_ptr(query), faiss.swig_ptr(block), 1, len(block), reach + 1, len(query), result)
    count = int(faiss.rev_swig_ptr(result.lims, 2)[1])
    if not count:
        return _Near(np.empty(0, np.int64), np.empty(0, np.float32))
    labels, distances = (faiss.rev_swig_ptr(part, count).copy() for part in (result.labels, result.distances))
    return _Near(labels, distances)


def _likest(rows: _Rows, slots: NDArray[np.int64], embedding: NDArray[np.float32], limit: int) -> NDArray[np.int64]:
    """Keep the `limit` slots whose signs agree best with the embedding's own values, and those as near as the last."""
    if len(slots) <= limit:
        return slots
    likeness = _likeness(rows, slots, embedding)
    last: np.float32 = np.partition(likeness, -limit)[-limit]
    return slots[likeness >= last]


def _likeness(rows: _Rows, slots: NDArray[np.int64], embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum the embedding's values where a sketch has a 1, by a table of the sums for each byte and its place."""
    sums = np.einsum("bi,ji->jb", _BITS, embedding.reshape(-1, 8)).ravel()
    places = 256 * np.arange(rows.sketches.shape[1])
    likeness = np.empty(len(slots), np.float32)
    for at in range(0, len(slots), 1024):  # what is between stays in the core's cache
        entries = rows.sketches[slots[at : at + 1024]] + places
        likeness[at : at + 1024] = np.take(sums, entries, mode="clip").sum(axis=1)
    return likeness
