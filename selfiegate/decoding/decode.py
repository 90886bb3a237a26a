"""Untrusted bytes in, an upright RGB picture out. Nothing is decoded before its size is known.

The formats that are opened are named here; Pillow is never left to guess among its other decoders.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from selfiegate.cpus import available_cpus
from selfiegate.decoding.file_structure import MAX_EXIF, checked
from selfiegate.errors import PhotoRejected
from selfiegate.model import ReasonCode
from selfiegate.setting_types import Group

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")
"""Pillow's names for what phones and browsers upload; MPO files of phones open as JPEG."""

_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".heic", ".heif", ".hif")
"""What such files are called."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

_CLOCKWISE = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
"""Pillow's names for turns, which are counter-clockwise, by degrees clockwise."""

_WIDER = {"1": ("L", "LA"), "P": ("RGB", "RGBA")}
"""What pictures that cannot be made smaller are converted to, by whether they are transparent."""

_decode_slots = threading.BoundedSemaphore(available_cpus())
"""Pictures decoded at once: bounds the memory, and more would not be faster."""

# The limits decide what is too large; a filter set per call would not be safe between threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_PLAIN = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_MAGIC = (*_PLAIN, b"RIFF")
_TURNING = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Where a PNG may say which way is up; looking there would mean decoding it."""


class Limits(Group):
    """What a photo may measure."""

    max_bytes: int = Field(
        25_000_000, gt=0, le=1_000_000_000, description="Bytes; larger files are refused before they are read"
    )
    max_pixels: int = Field(
        51_000_000, gt=0, le=1_000_000_000, description="Width x height; phones make up to 50 million"
    )
    min_side: int = Field(
        80, gt=0, le=10_000, description="Pixels of the shorter side; Rekognition takes no less than 80"
    )
    max_seconds: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Seconds of CPU time; a photo whose decoder uses more is unreadable_photo; 50 megapixels use 3",
    )
    max_stalled_seconds: float = Field(
        40.0,
        gt=0,
        le=600,
        description="Seconds that a decoder may wait for a CPU, beside max_seconds; then the photo is tried again",
    )
    inline_jpeg_max: int = Field(
        1_000_000,
        ge=0,
        le=1_000_000_000,
        description="JPEGs of up to so many pixels are decoded in the worker's own process; 0: none is",
    )
    working_side: int = Field(
        1280, ge=640, le=10_000, description="Pixels of the longer side of the picture that faces are sought in"
    )

    @property
    def decoder_timeout_s(self) -> float:
        """Seconds on the clock until a decoder that gave no answer is replaced."""
        return self.max_seconds + self.max_stalled_seconds

    def compare(self, measured: Sequence[int]) -> str:
        """Say in words how a file's bytes, or width and height, stand against the limits; '' where nothing was."""
        match measured:
            case (count,):
                return f": {count / 1e6:.1f} MB, at most {self.max_bytes / 1e6:g} MB are taken"
            case (width, height) if width * height > self.max_pixels:
                return f": {width} x {height} pixels, at most {self.max_pixels / 1e6:g} megapixels are taken"
            case (width, height):
                return f": {width} x {height} pixels, each side needs at least {self.min_side}"
        return ""

    @model_validator(mode="before")
    @classmethod
    def _by_former_names(cls, given: object) -> object:
        """Take `jpeg_here`, as `inline_jpeg_max` was called."""
        if isinstance(given, dict) and "jpeg_here" in given:
            given = dict(given)
            given["inline_jpeg_max"] = given.pop("jpeg_here")
        return given


@cache
def _enable_heif() -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)


def decode(data: bytes, limits: Limits, max_side: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a photo in this process: RGB, upright, without metadata, no side above `max_side`; and its full size.

    The size is (width, height) of the upright original in pixels. Animations are refused: which frame
    would count? Raises `PhotoRejected` with one of the photo's own reasons. JPEGs are read at the size that
    is wanted; of other formats each pixel takes up to 16 bytes while they are made smaller. What comes from
    strangers goes through `process_pool.decode`. Raises `MemoryError` where memory is short: only the caller knows
    whether the photo is at fault for that.
    """
    return loaded(opened(data, limits), max_side)


def opened(data: bytes, limits: Limits) -> Image.Image:
    """Look at a photo's head and refuse what need not be decoded; of a JPEG, by Python alone."""
    image = _open(checked(data, limits.max_pixels))
    if getattr(image, "is_animated", False) and image.format != "MPO" and image.format != "HEIF":
        raise PhotoRejected(ReasonCode.UNSUPPORTED_FORMAT)
    width, height = image.size
    if width * height > limits.max_pixels:
        raise PhotoRejected(ReasonCode.PHOTO_TOO_LARGE, width, height)
    if min(width, height) < limits.min_side:
        raise PhotoRejected(ReasonCode.PHOTO_TOO_SMALL, width, height)
    return image


def loaded(image: Image.Image, max_side: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """Decode what was opened; see `decode`."""
    width, height = image.size
    try:
        with _decode_slots:
            upright = _load(image, max_side)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged data
        raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO) from error
    landscape = (upright.width > upright.height) == (width > height)
    return upright, (width, height) if landscape else (height, width)


def _open(data: bytes) -> Image.Image:
    _enable_heif()
    try:
        # Nothing that begins like a JPEG reaches another parser: small JPEGs are opened in the worker.
        return Image.open(io.BytesIO(data), formats=("JPEG",) if data.startswith(_PLAIN[0]) else FORMATS)
    except Image.DecompressionBombError:
        raise PhotoRejected(ReasonCode.PHOTO_TOO_LARGE) from None
    except MemoryError:
        raise
    except Exception as error:
        damaged = not data or data.startswith(_MAGIC) or data[4:8] == b"ftyp"
        raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO if damaged else ReasonCode.UNSUPPORTED_FORMAT) from error


def _load(image: Image.Image, max_side: int | None) -> Image.Image:
    if max_side:
        image.draft(image.mode if image.mode == "L" else "RGB", (max_side, max_side))
    image.load()
    if any(len(image.info.get(name) or "") > MAX_EXIF for name in ("exif", "Raw profile type exif")):
        raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
    turn = _TURNS.get(image.getexif().get(0x0112, 1))
    picture: Image.Image = image
    if max_side and max(image.size) > max_side:  # before more copies are made
        if wider := _WIDER.get(image.mode):
            picture = image.convert(wider[image.has_transparency_data])
            image.close()
        picture.thumbnail((max_side, max_side), Image.Resampling.BOX, reducing_gap=None)
    # Not `exif_transpose`: it writes all EXIF anew, which takes minutes where there is much.
    picture = _rgb(picture if turn is None else picture.transpose(turn))
    if max_side:
        picture.thumbnail((max_side, max_side), Image.Resampling.BOX, reducing_gap=None)
    picture.info.clear()
    return picture


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16-bit and wider greys: Pillow would clip, not scale
        levels = np.asarray(image)
        top = 65535.0 if image.mode.startswith("I") else max(float(levels.max(initial=0)), 1.0)
        return Image.fromarray((np.clip(levels, 0, top) * np.float32(255 / top)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:  # what is transparent must not be seen by the detector alone
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def turned(picture: Image.Image, degrees: int) -> Image.Image:
    """Return a picture turned clockwise by 90, 180 or 270 degrees; by others it stays as it is."""
    turn = _CLOCKWISE.get(degrees)
    return picture if turn is None else picture.transpose(turn)


def named_like_photo(name: str) -> bool:
    """Say whether a file or key ends like those of the formats that are opened."""
    return name.lower().endswith(_SUFFIXES)


def is_plain(data: bytes) -> bool:
    """Say whether every reader sees the same in these bytes: 8-bit RGB or grey JPEG or PNG, nothing transparent.

    EXIF orientation is honoured in JPEGs by all, in PNGs by some.
    """
    if not data.startswith(_PLAIN):
        return False
    image = _open(data)
    turned = image.format == "PNG" and any(mark in data for mark in _TURNING)
    return image.mode in ("RGB", "L") and not image.has_transparency_data and not turned


def canonical_jpeg(image: Image.Image) -> bytes:
    """Encode a picture as one plain JPEG: equal pixels give equal bytes, and no metadata travels along."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92, subsampling=0)
    return out.getvalue()
