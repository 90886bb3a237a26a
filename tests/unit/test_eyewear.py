"""The eye region and its classifier: values or None, never an exception."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from selfiegate.backends.insightface.eyewear import CLASSES, HEIGHT, WIDTH, Eyewear, eye_region
from tests.present import present

IMAGE = np.random.default_rng(0).integers(0, 255, (400, 300, 3), dtype=np.uint8)
FACE = np.array([[-18.0, 0], [18, 0], [0, 20], [-15, 40], [15, 40]])


def face(scale: float = 1, turn: float = 0, centre: tuple[float, float] = (150, 200)) -> NDArray[np.float64]:
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    placed: NDArray[np.float64] = scale * FACE @ rotation.T + centre
    return placed


@pytest.fixture(scope="module")
def eyewear() -> Eyewear:
    return Eyewear()


@pytest.mark.parametrize("turn", [0, 45, 90, 180, 270])
@pytest.mark.parametrize("scale", [0.35, 1, 4])
def test_any_face_in_the_frame_has_a_region(turn: float, scale: float, eyewear: Eyewear) -> None:
    region = present(eye_region(IMAGE, face(scale, turn)))
    (probabilities,) = eyewear([region])

    assert region.shape == (HEIGHT, WIDTH, 3)
    assert region.dtype == np.uint8
    assert len(probabilities) == len(CLASSES)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_the_region_turns_with_the_face() -> None:
    upright = present(eye_region(IMAGE, face()))
    turned = present(eye_region(np.ascontiguousarray(np.rot90(IMAGE)), face(turn=-90, centre=(200, 149))))

    assert np.abs(upright.astype(int) - turned.astype(int)).mean() < 20


@pytest.mark.parametrize(
    "landmarks",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        face() * 1e9,
        face(centre=(-100, -100)),
        face(centre=(150, -5)),
        face(scale=0.02),
        np.array([[150.0, 200], [150, 200], [150, 220], [150, 240], [150, 240]]),
    ],
    ids=["zeros", "nan", "inf", "huge", "off the frame", "mostly off", "tiny", "a line"],
)
def test_where_nothing_can_be_told_there_is_no_region(landmarks: np.ndarray) -> None:
    assert eye_region(IMAGE, landmarks) is None


def test_no_faces_have_no_probabilities(eyewear: Eyewear) -> None:
    assert eyewear([]).shape == (0, 3)


def test_faces_are_told_apart_one_by_one_as_in_a_batch(eyewear: Eyewear) -> None:
    regions = [present(eye_region(IMAGE, face(turn=turn))) for turn in (0, 30, 60)]

    np.testing.assert_allclose(eyewear(regions), np.concatenate([eyewear([region]) for region in regions]), atol=1e-5)
