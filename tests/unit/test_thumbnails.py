"""Thumbnails: small, upright, bare, each under its own key."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from selfiegate.decoding.decode import Limits
from selfiegate.face import Box, Face
from selfiegate.model import PhotoRef
from selfiegate.thumbnails import ThumbnailSettings, key, render
from tests.unit.test_decode import encoded, is_red_at_top_left, picture

FACE = Face(box=Box(left=0.6, top=0.3, width=0.1, height=0.2), confidence=0.9)
PHOTO = PhotoRef(bucket="bucket", key="k", version="1")


def thumbnail(data: bytes, face: Face = FACE, **settings: object) -> Image.Image:
    (out,) = render(data, face, ThumbnailSettings(**settings), Limits()).values()
    return Image.open(io.BytesIO(out))


@pytest.mark.parametrize(
    ("size", "expected"), [((4000, 3000), (250, 188)), ((300, 900), (83, 250)), ((120, 90), (120, 90))]
)
def test_thumbnails_fit_and_are_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert thumbnail(encoded(picture(size), "JPEG")).size == expected


def test_thumbnails_are_upright_and_carry_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "at home"
    small = thumbnail(encoded(picture((800, 400)).transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif))

    assert small.size == (250, 125)
    assert is_red_at_top_left(small)
    assert not small.getexif()


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("square", [False, True])
def test_thumbnails_of_a_turned_photo_are_upright_as_its_face_was_judged(turned: int, square: bool) -> None:
    upright, face = picture((800, 400)), Face(box=Box(left=0.4, top=0.4, width=0.2, height=0.2), confidence=0.9)
    stored = encoded(upright.rotate(turned, expand=True), "PNG")  # counter-clockwise
    small = thumbnail(stored, face.model_copy(update={"turned": turned}), square=square)

    assert small.width == (1 if square else 2) * small.height
    assert is_red_at_top_left(small)


def test_a_turn_that_nobody_knows_leaves_the_thumbnail_as_it_is() -> None:
    assert thumbnail(encoded(picture((800, 400)), "PNG"), FACE.model_copy(update={"turned": 45})).size == (250, 125)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_the_format_is_a_setting(kind: str) -> None:
    assert thumbnail(encoded(picture(), "PNG"), format=kind).format == kind.upper()


@pytest.mark.parametrize("size", [(4000, 3000), (300, 900)])
def test_a_square_crop_is_square_and_holds_the_face(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "white")
    x, y = int(0.65 * size[0]), int(0.4 * size[1])
    image.paste("blue", (x - 9, y - 9, x + 9, y + 9))
    small = thumbnail(encoded(image, "PNG"), square=True)

    assert small.width == small.height
    colours = np.asarray(small).reshape(-1, 3)
    assert np.any((colours[:, 2] > 150) & (colours[:, 0] < 150))


def test_several_sizes_are_made_at_once() -> None:
    settings = ThumbnailSettings(sizes=((64, 64), (128, 128)))
    out = render(encoded(picture(), "PNG"), FACE, settings, Limits())

    assert {name: Image.open(io.BytesIO(data)).size for name, data in out.items()} == {
        "64x64": (64, 39),
        "128x128": (128, 77),
    }


def test_keys_name_user_and_photo_and_never_collide() -> None:
    users = ["ann", "Ann", "a/nn", "a nn", "..", "../../etc", "å" * 200, "ann\u00a0", "."]
    made = {key(PHOTO, user, "64x64", ThumbnailSettings()) for user in users}
    other = key(PhotoRef(bucket="bucket", key="k", version="2"), "ann", "64x64", ThumbnailSettings())

    assert len(made) == len(users)
    assert other not in made
    assert all(len(name.split("/")) == 3 and name.isascii() and ".." not in name.split("/") for name in made)
    assert all(len(part) < 100 for name in made for part in name.split("/"))
