"""Pose, sharpness and brightness from what is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from selfiegate.backends.insightface.geometry import brightness, pose, sharpness
from tests.present import present

# A head in units of half the eye distance: x right, y down, z towards the viewer.
HEAD = np.array([[-1, 0, 0], [1, 0, 0], [0, 1.14, 1.1], [-0.83, 2.31, 0], [0.83, 2.31, 0]])


def seen(yaw: float = 0, pitch: float = 0, roll: float = 0, scale: float = 40) -> NDArray[np.float64]:
    y, p, r = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turned: NDArray[np.float64] = HEAD @ (tilt @ nod @ turn).T
    return turned[:, :2] * scale + 200


@pytest.mark.parametrize("yaw", [-80, -40, -20, 0, 20, 40, 80])
def test_yaw_is_found(yaw: float) -> None:
    assert present(pose(seen(yaw=yaw)))[0] == pytest.approx(yaw, abs=2)


@pytest.mark.parametrize("pitch", [-30, -15, 0, 15, 30])
def test_pitch_is_found(pitch: float) -> None:
    assert present(pose(seen(pitch=pitch)))[1] == pytest.approx(pitch, abs=2)


@pytest.mark.parametrize("roll", [-170, -90, -30, 0, 30, 90, 170])
def test_roll_is_found_all_the_way_round(roll: float) -> None:
    assert present(pose(seen(roll=roll)))[2] == pytest.approx(roll, abs=3)


def test_turning_two_ways_at_once_is_seen_as_both() -> None:
    yaw, pitch, _ = present(pose(seen(yaw=30, pitch=20)))

    assert (yaw, pitch) == pytest.approx((30, 20), abs=10)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.ones((5, 2)) * 1e9])
def test_points_that_form_no_face_have_no_pose(points: NDArray[np.float64]) -> None:
    assert pose(points) is None


def texture(blur: int = 0) -> NDArray[np.uint8]:
    """A picture with detail at all sizes, blurred so many times."""
    random = np.random.default_rng(0)
    layers = [np.kron(random.uniform(0, 255, (112 // n, 112 // n)), np.ones((n, n))) for n in (4, 8, 16)]
    grey = np.mean(layers, axis=0)
    for _ in range(blur):
        grey = (np.roll(grey, 1, 0) + np.roll(grey, -1, 0) + np.roll(grey, 1, 1) + np.roll(grey, -1, 1) + grey) / 5
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def test_sharpness_falls_with_every_blur() -> None:
    values = [sharpness(texture(blur)) for blur in (0, 1, 3, 10, 40)]

    assert values == sorted(values, reverse=True)
    assert 0 <= values[-1] < 30 < 60 < values[0] <= 100


def test_sharpness_does_not_depend_on_contrast() -> None:
    assert sharpness(texture() // 4) == pytest.approx(sharpness(texture()), abs=6)


def test_a_face_shaken_in_one_direction_is_blurred() -> None:
    shaken = np.mean([np.roll(texture(), n, axis=1) for n in range(15)], axis=0).astype(np.uint8)

    assert sharpness(shaken) < sharpness(texture()) / 2


def test_a_featureless_face_has_no_sharpness() -> None:
    assert sharpness(np.full((112, 112, 3), 90, np.uint8)) == 0


@pytest.mark.parametrize(("level", "expected"), [(0, 0), (128, 50.2), (255, 100)])
def test_brightness_is_the_mean_in_percent(level: int, expected: float) -> None:
    assert brightness(np.full((112, 112, 3), level, np.uint8)) == pytest.approx(expected, abs=0.1)
