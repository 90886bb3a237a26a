"""The networks of covers, quality and eyes: values for any picture, and what they say of a face that is spoiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import insightface
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from selfiegate.backends.insightface.covering import Covering
from selfiegate.backends.insightface.eyes import SIDE, Eyes, eye_patches
from selfiegate.backends.insightface.eyewear import HEIGHT, WIDTH, one_thread
from selfiegate.backends.insightface.pack import PackSettings
from selfiegate.errors import BackendMisconfigured
from selfiegate.face import Face
from selfiegate.matching import Matching
from selfiegate.policy import Rules
from tests.present import present

PORTRAIT = Path(insightface.__file__).parent / "data" / "images" / "Tom_Hanks_54745.png"
Look = Callable[[Image.Image], Face]
NOISE = np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def covering() -> Covering:
    return Covering()


@pytest.mark.parametrize(
    "aligned", [NOISE, np.zeros_like(NOISE), np.full_like(NOISE, 255)], ids=["noise", "black", "white"]
)
def test_any_picture_has_probabilities_and_a_quality(covering: Covering, aligned: NDArray[np.uint8]) -> None:
    parts, quality = covering(aligned)

    assert all(0 <= part <= 1 for part in parts)
    assert 0 <= quality <= 100


@pytest.mark.parametrize("name", ["absent.onnx", "EYEWEAR.md"])
def test_a_network_that_is_missing_or_damaged_is_told(name: str) -> None:
    with pytest.raises(BackendMisconfigured, match=rf"{name} cannot be loaded .*install it again"):
        one_thread(name)


def test_both_eyes_are_cut_alike() -> None:
    half = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH // 2, 3), dtype=np.uint8)
    left, right = eye_patches(np.concatenate([half, half[:, ::-1]], axis=1))

    assert left.shape == (SIDE, SIDE, 3)
    assert (left == right).all()


def test_any_region_has_a_probability() -> None:
    assert 0 <= Eyes()(np.zeros((HEIGHT, WIDTH, 3), np.uint8)) <= 1


@pytest.fixture(scope="module")
def look(pack: PackSettings) -> Look:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

    analyser = InsightFaceAnalyser(pack)

    def looked_at(picture: Image.Image) -> Face:
        (face,) = [face for face, _ in analyser.analyse(picture, picture.size)]
        return face

    return looked_at


@pytest.fixture
def portrait() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")


@pytest.mark.weights
class TestAFace:
    def test_nothing_is_said_against_a_clear_one(self, look: Look, portrait: Image.Image) -> None:
        face, rules = look(portrait), Rules()

        assert present(face.covered) <= rules.max_covered
        assert face.covered_parts == ()
        assert present(face.eyes_open) >= rules.min_eyes_open
        assert present(face.quality) >= Matching().clear_quality

    def test_a_mask_covers_nose_and_mouth(self, look: Look, portrait: Image.Image) -> None:
        left, right, nose, *mouth = self._points(look, portrait)
        wide, drop = right[0] - left[0], (mouth[0][1] + mouth[1][1]) / 2 - (left[1] + right[1]) / 2
        top, bottom, middle = nose[1] - 0.35 * drop, nose[1] + 1.15 * drop, nose[0]
        cheek = (left[1] + nose[1]) / 2
        outline = [
            (middle, top), (middle + 1.1 * wide, cheek), (middle + 0.8 * wide, bottom - 0.3 * drop), (middle, bottom),
            (middle - 0.8 * wide, bottom - 0.3 * drop), (middle - 1.1 * wide, cheek),
        ]  # fmt: skip
        ImageDraw.Draw(portrait).polygon(outline, fill=(120, 190, 220))
        face = look(portrait)

        assert present(face.covered) > Rules().max_covered
        assert face.covered_parts == ("nose", "mouth")

    def test_what_hides_half_of_a_face_hides_an_eye(self, look: Look, portrait: Image.Image) -> None:
        left, right, *_ = self._points(look, portrait)
        wide = right[0] - left[0]
        board = (left[0] - 0.9 * wide, left[1] - 0.7 * wide, left[0] + 0.35 * wide, left[1] + 0.9 * wide)
        ImageDraw.Draw(portrait).rectangle(board, fill=(200, 180, 60))
        face = look(portrait)

        assert present(face.covered) > Rules().max_covered
        assert "eyes" in face.covered_parts
        assert face.eyes_open is None

    def test_quality_falls_with_blur_and_darkness(self, look: Look, portrait: Image.Image) -> None:
        left, right, *_ = self._points(look, portrait)
        blurs = [portrait.filter(ImageFilter.GaussianBlur(share * (right[0] - left[0]))) for share in (0.05, 0.1)]
        qualities = [present(look(picture).quality) for picture in (portrait, *blurs)]

        assert qualities == sorted(qualities, reverse=True)
        dark = portrait.point(lambda value: value / 4)
        assert present(look(dark).quality) < qualities[0] - 2

    @staticmethod
    def _points(look: Look, picture: Image.Image) -> list[tuple[float, float]]:
        return [(x * picture.width, y * picture.height) for x, y in look(picture).landmarks]
