"""The sketch index against a plain scan."""

from __future__ import annotations

import numpy as np
import pytest

from selfiegate.galleries.sketch import SketchIndex, sketch


def filled(n: int, seed: int = 0) -> tuple[SketchIndex, np.ndarray]:
    vectors = np.random.default_rng(seed).standard_normal((n, 64)).astype(np.float32)
    index = SketchIndex(8)
    index.extend(np.arange(n), b"".join(map(sketch, vectors)))
    return index, vectors


def distances(vectors: np.ndarray, probe: np.ndarray) -> np.ndarray:
    return ((vectors > 0) != (probe > 0)).sum(axis=1)


@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 1000, 70_000, 140_000])
def test_the_nearest_are_those_of_a_plain_scan(n: int) -> None:
    index, vectors = filled(n)
    probe = np.random.default_rng(1).standard_normal(64).astype(np.float32)
    found = index.nearest(sketch(probe), 10)
    plain = distances(vectors, probe)
    reach = np.sort(plain)[9] if n >= 10 else 64

    assert sorted(found) == np.flatnonzero(plain <= reach).tolist()


def test_rows_added_one_by_one_equal_rows_added_at_once() -> None:
    whole, vectors = filled(3000)
    single = SketchIndex(8)
    for n, vector in enumerate(vectors):
        single.extend(np.array([n]), sketch(vector))

    assert sorted(single.nearest(sketch(vectors[5]), 7)) == sorted(whole.nearest(sketch(vectors[5]), 7))


def test_a_discarded_row_is_not_found_and_the_others_are() -> None:
    index, vectors = filled(100)
    for gone in (0, 99, 50, 50):
        index.discard(gone)

    assert len(index) == 97
    assert set(index.nearest(sketch(vectors[50]), 97)) == set(range(100)) - {0, 50, 99}
