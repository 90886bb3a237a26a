"""The sketch index against a plain scan."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfiegate.galleries.sketch import SketchIndex, sketch


def filled(n: int, seed: int = 0) -> tuple[SketchIndex, np.ndarray]:
    vectors = np.random.default_rng(seed).standard_normal((n, 64)).astype(np.float32)
    index = SketchIndex(8)
    index.extend(np.arange(n) + 1, b"".join(map(sketch, vectors)))
    return index, vectors


def plain(vectors: np.ndarray, probe: np.ndarray, limit: int, near: int) -> list[int]:
    """The same two steps over all rows: so many by their signs, of these so many by the probe's values."""
    differing = ((vectors > 0) != (probe > 0)).sum(axis=1)
    likeness = np.where(vectors > 0, probe, 0).sum(axis=1)
    if len(vectors) > near:
        likeness[differing > np.sort(differing)[near - 1]] = -np.inf
    reach = np.sort(likeness)[-limit] if len(vectors) >= limit else -np.inf
    return (np.flatnonzero(likeness >= reach - 1e-5) + 1).tolist()


@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 1000, 70_000, 140_000])
def test_the_nearest_are_those_of_a_plain_scan(n: int) -> None:
    index, vectors = filled(n)
    probe = np.random.default_rng(1).standard_normal(64).astype(np.float32)

    assert sorted(index.nearest([probe], 10)[0]) == plain(vectors, probe, 10, near=max(40, n // 500))


def test_where_the_sample_tells_too_little_a_search_looks_farther() -> None:
    """90 near rows are all in the sample; 98 are wanted, and the rest is far by signs, but better by values."""
    probe = np.ones(64, np.float32)
    probe[0] = 1000
    vectors = np.ones((49_152, 64), np.float32)
    vectors[:, 1:41] = -1
    vectors[:270:3] = 1
    vectors[:270:3, 0] = -1
    index = SketchIndex(8)
    index.extend(np.arange(len(vectors)) + 1, b"".join(map(sketch, vectors)))

    found = sorted(index.nearest([probe], 10)[0])

    assert found == plain(vectors, probe, 10, near=98)
    assert len(found) == 49_152 - 90


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_several_probes_find_what_a_plain_scan_finds_for_each(data: st.DataObject) -> None:
    """Few different vectors, so that rows tie; rows are removed, and only those above a mark count."""
    few = np.random.default_rng(data.draw(st.integers(0, 9))).standard_normal((8, 64)).astype(np.float32)
    vectors = few[data.draw(st.lists(st.integers(0, 7), max_size=60))].reshape(-1, 64)
    probes = few[data.draw(st.lists(st.integers(0, 7), max_size=4))].reshape(-1, 64)
    gone = data.draw(st.sets(st.integers(1, 60)))
    above, limit = data.draw(st.integers(0, 60)), data.draw(st.integers(1, 12))
    index = SketchIndex(8)
    index.extend(np.arange(len(vectors)) + 1, b"".join(map(sketch, vectors)))
    for row in gone:
        index.discard(row)
    left = np.array([row for row in range(1, len(vectors) + 1) if row > above and row not in gone], np.int64)

    found = index.nearest(list(probes), limit, above)

    for ids, probe in zip(found, probes, strict=True):
        slots = np.array(plain(vectors[left - 1], probe, limit, near=4 * limit), np.int64) - 1
        assert sorted(ids) == left[slots].tolist()


def test_a_search_starts_no_threads() -> None:
    """faiss would start one for each core, and hold them, for each thread that searches."""
    index, vectors = filled(1000)

    def started() -> int:
        before = threads()
        index.nearest(list(vectors[:4]), 10)
        return threads() - before

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(started).result() == 0


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_rows_added_one_by_one_equal_rows_added_at_once() -> None:
    whole, vectors = filled(3000)
    single = SketchIndex(8)
    for n, vector in enumerate(vectors):
        single.extend(np.array([n + 1]), sketch(vector))

    assert sorted(single.nearest([vectors[5]], 7)[0]) == sorted(whole.nearest([vectors[5]], 7)[0])


def test_a_discarded_row_is_not_found_and_the_others_are() -> None:
    index, vectors = filled(100)
    for gone in (1, 100, 51, 51):
        index.discard(gone)

    assert len(index) == 97
    assert set(index.nearest([vectors[50]], 97)[0]) == set(range(1, 101)) - {1, 51, 100}


def test_room_for_more_rows_holds_nothing_of_freed_memory() -> None:
    """The memory may be that of an index of before, with sketches of removed faces."""
    indexes = []
    for _ in range(20):
        _ = np.full((1024, 8), 255, np.uint8)  # freed by the next one, and given out again
        indexes.append(filled(1)[0])

    assert not any(index._rows.sketches[1:].any() for index in indexes)


def test_only_rows_above_a_mark_are_found_where_one_is_given() -> None:
    index, vectors = filled(100)
    index.discard(95)

    assert set(index.nearest([vectors[10]], 97, above=90)[0]) == set(range(91, 101)) - {95}
    assert index.nearest([vectors[10]], 97, above=100)[0].size == 0


def test_a_search_and_a_change_at_the_same_time_lose_no_row() -> None:
    index, vectors = filled(70_000)
    probe, found = vectors[69_999], list[bool]()

    def search() -> None:
        while not stop.is_set():
            found.append(70_000 in index.nearest([probe], 1)[0])

    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        searching = [pool.submit(search) for _ in range(2)]
        for row in range(1, 69_999):
            index.discard(row)
            if row % 5 == 0:
                index.extend(np.array([70_000 + row]), sketch(vectors[row]))
        stop.set()
        for one in searching:
            one.result()

    assert found
    assert all(found)
