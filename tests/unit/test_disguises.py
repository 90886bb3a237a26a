"""The disguises that `benchmarks.disguise` draws: what its figures stand on."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.disguise.catalogue import DISGUISES, spoiled
from benchmarks.disguise.tables import wilson

LANDMARKS = np.array([[104.0, 112.0], [146.0, 112.0], [125.0, 136.0], [108.0, 160.0], [142.0, 160.0]])
GREY = np.full((250, 250, 3), 0.55, np.float32)
GREY[60:200, 75:175] += 0.1
COVERS = list(DISGUISES)[: list(DISGUISES).index("mask and glasses") + 1]


@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguise_is_drawn_alike_each_time(name: str) -> None:
    first, again = (spoiled(GREY, LANDMARKS, name, 1, "Ada") for _ in range(2))

    assert np.array_equal(first, again)
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize("name", COVERS)
def test_a_cover_lies_on_the_face_and_leaves_the_frame_alone(name: str) -> None:
    changed = np.abs(spoiled(GREY, LANDMARKS, name, 2, "Ada") - GREY).max(axis=-1) > 0.05

    assert changed[70:190, 80:170].mean() > 0.1
    assert changed[:20].mean() == 0


def test_the_interval_of_a_share_is_wilsons() -> None:
    low, high = wilson(10, 100)  # the example of Brown, Cai and DasGupta 2001

    assert low == pytest.approx(0.0552, abs=5e-4)
    assert high == pytest.approx(0.1744, abs=5e-4)
