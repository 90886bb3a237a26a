"""Decoding: what comes from strangers becomes an upright RGB picture or a reason."""

from __future__ import annotations

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from selfiegate.decoding.decode import Limits, canonical_jpeg, decode, is_plain
from selfiegate.errors import PhotoRejected

LIMITS = Limits()


def picture(size: tuple[int, int] = (200, 120), mode: str = "RGB") -> Image.Image:
    """A picture whose top left quarter alone is red: tells which way is up."""
    image = Image.new("RGB", size, "white")
    image.paste("red", (0, 0, size[0] // 2, size[1] // 2))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(PhotoRejected) as refused:
        decode(data, limits, limits.working_side)
    return refused.value.code


def channel(image: Image.Image, at: tuple[int, int], number: int) -> float:
    value = image.getchannel(number).getpixel(at)
    assert isinstance(value, int | float)
    return value


def is_red_at_top_left(image: Image.Image) -> bool:
    width, height = image.size
    corners = [(int(x * width), int(y * height)) for x, y in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75))]
    reds = [channel(image, at, 0) > 200 and channel(image, at, 1) < 80 for at in corners]
    return reds == [True, False, False]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_every_named_format_is_read(kind: str) -> None:
    upright, size = decode(encoded(picture(), kind), LIMITS)

    assert (upright.mode, upright.size, size) == ("RGB", (200, 120), (200, 120))
    assert is_red_at_top_left(upright)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "ICO", "PPM"])
def test_no_other_format_is_opened(kind: str) -> None:
    assert refusal(encoded(picture(), kind)) == "unsupported_format"


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_animations_are_refused(kind: str) -> None:
    data = encoded(picture(), kind, save_all=True, append_images=[picture().rotate(180)], duration=100)

    assert refusal(data) == "unsupported_format"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "unreadable_photo"),
        (b"This is a shopping list, not a photo.\n" * 10, "unsupported_format"),
        (b"\xff\xd8\xff\xe0", "unreadable_photo"),
        (b"\x89PNG\r\n\x1a\n", "unreadable_photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"\0" * 1000, "unsupported_format"),
    ],
    ids=["empty", "text", "jpeg-head", "png-head", "svg", "zeros"],
)
def test_what_is_no_photo_has_a_reason(data: bytes, code: str) -> None:
    assert refusal(data) == code


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_photo_is_unreadable(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8))
    data = encoded(noise, kind)

    assert refusal(data[: int(len(data) * share)]) == "unreadable_photo"


def test_a_bomb_is_refused_by_its_header() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )

    assert refusal(bomb) == "photo_too_large"


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded() -> None:
    plain = encoded(picture(), "JPEG", progressive=True)
    scan = plain[plain.rindex(b"\xff\xda") : -2]

    assert refusal(plain[:-2] + scan * 5000 + plain[-2:]) == "unreadable_photo"


def test_the_limits_are_settings() -> None:
    assert refusal(encoded(picture(), "PNG"), Limits(max_pixels=1000)) == "photo_too_large"
    assert refusal(encoded(picture((79, 300)), "PNG")) == "photo_too_small"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("max_side", [None, 50])
def test_every_exif_orientation_comes_out_upright(orientation: int, max_side: int | None) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpose that a camera would have needed
    stored = picture() if orientation == 1 else picture().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright, size = decode(encoded(stored, "JPEG", exif=exif, quality=95), LIMITS, max_side)

    assert size == (200, 120)
    assert upright.width > upright.height
    assert is_red_at_top_left(upright)


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P", "LA", "RGBA", "YCbCr"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    upright, _ = decode(encoded(picture(mode=mode), kind), LIMITS)

    assert upright.mode == "RGB"
    assert upright.getpixel((150, 90)) == (255, 255, 255)


@pytest.mark.parametrize("top", [65535, 30000])
def test_sixteen_bit_greys_are_scaled_not_clipped(top: int) -> None:
    ramp = np.linspace(0, top, 200 * 100).reshape(100, 200).astype(np.uint16)
    upright, _ = decode(encoded(Image.fromarray(ramp), "PNG"), LIMITS)

    assert abs(channel(upright, (199, 99), 0) - top / 257) <= 1
    assert abs(channel(upright, (100, 50), 0) - top / 514) <= 2


def test_what_is_transparent_is_not_seen() -> None:
    hidden = picture().convert("RGBA")
    hidden.putalpha(0)
    upright, _ = decode(encoded(hidden, "PNG"), LIMITS)

    assert upright.getcolors() == [(200 * 120, (255, 255, 255))]


def test_metadata_does_not_come_along() -> None:
    exif = Image.Exif()
    exif[0x010E] = "at home"
    upright, _ = decode(encoded(picture(), "JPEG", exif=exif, comment=b"secret"), LIMITS)
    again = canonical_jpeg(upright)

    assert b"at home" not in again
    assert b"secret" not in again


def test_large_photos_are_read_at_working_size_and_report_their_own() -> None:
    upright, size = decode(encoded(picture((4000, 3000)), "JPEG"), LIMITS, 1280)

    assert (max(upright.size), size) == (1280, (4000, 3000))


def test_only_what_every_reader_sees_alike_is_plain() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    grey16 = Image.fromarray(np.zeros((100, 100), np.uint16))
    others = [
        encoded(picture(mode="RGBA"), "PNG"),
        encoded(picture(), "PNG", exif=turned),
        encoded(grey16, "PNG"),
        encoded(picture(mode="P"), "PNG"),
        encoded(picture(mode="CMYK"), "JPEG"),
        encoded(picture(), "WEBP"),
    ]

    assert [is_plain(encoded(picture(), kind, exif=exif)) for kind, exif in (("JPEG", turned), ("PNG", b""))] == [
        True,
        True,
    ]
    assert [is_plain(data) for data in others] == [False] * len(others)


def test_equal_pixels_give_equal_jpegs() -> None:
    assert canonical_jpeg(picture()) == canonical_jpeg(picture())


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        ((31_000_000,), ": 31.0 MB, at most 25 MB are taken"),
        ((9000, 8000), ": 9000 x 8000 pixels, at most 51 megapixels are taken"),
        ((60, 800), ": 60 x 800 pixels, each side needs at least 80"),
        ((), ""),
    ],
)
def test_what_was_measured_is_told_with_its_limit(measured: tuple[int, ...], words: str) -> None:
    assert Limits().compare(measured) == words


def test_a_refusal_knows_what_was_measured_also_in_another_process() -> None:
    with pytest.raises(PhotoRejected) as small:
        decode(encoded(picture((79, 300)), "PNG"), LIMITS)

    assert (small.value.measured, str(small.value)) == ((79, 300), "photo_too_small")
    assert pickle.loads(pickle.dumps(small.value)).measured == (79, 300)  # noqa: S301  our own
