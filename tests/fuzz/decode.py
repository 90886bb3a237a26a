"""Target: bytes as a photo. Pillow's and our own Python is instrumented, the native decoders are not."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from selfiegate.decoding.decode import Limits, decode, is_plain
from selfiegate.errors import PhotoRejected
from selfiegate.face import Box, Face
from selfiegate.model import ReasonCode
from selfiegate.thumbnails import ThumbnailSettings, render
from tests.hostile import files

LONGEST = 16_384
LIMITS = Limits(max_pixels=1_000_000, min_side=16)
"""Small, so that many files a second are decoded."""

_SIDE = 64
_FACE = Face(box=Box(left=0.6, top=0.3, width=0.3, height=0.5), confidence=0.9)
_SETTINGS = ThumbnailSettings(sizes=((40, 40), (64, 20)), square=True)
_PNG = b"\x89PNG\r\n\x1a\n"
_REASONS = {
    ReasonCode.UNSUPPORTED_FORMAT,
    ReasonCode.UNREADABLE_PHOTO,
    ReasonCode.PHOTO_TOO_LARGE,
    ReasonCode.PHOTO_TOO_SMALL,
}

DICTIONARY = (
    *files.MAGICS.values(),
    *(b"\xff" + bytes([marker]) for marker in b"\xc0\xc2\xc4\xd8\xd9\xda\xdb\xdd\xe0\xe1\xe2\xfe"),
    *(b"Exif\0\0", b"JFIF\0", b"Adobe\0", b"ICC_PROFILE\0", b"MPF\0", b"II*\0", b"MM\0*"),
    *(
        b"Raw profile type exif\0",
        b"XML:com.adobe.xmp\0\0\0\0\0",
        b"http://ns.adobe.com/xap/1.0/\0",
        b"tiff:Orientation",
    ),
    *b"IHDR IDAT IEND PLTE tRNS iCCP tEXt zTXt iTXt eXIf acTL fcTL fdAT gAMA cHRM sRGB pHYs".split(),
    *b"VP8L VP8X ALPH ANIM ANMF EXIF ICCP".split(),
    *b"ftyp meta mdat iloc iinf infe ispe iprp ipco ipma irot imir clap hdlr pitm iref dimg grid".split(),
    *b"hvcC hvc1 av01 av1C avif avis heic mif1".split(),
    *(b"VP8 ", b"XMP "),
)


def seeds() -> Iterator[bytes]:
    """Make small good files of all formats, and those hostile ones that are small."""
    ramp = np.linspace(0, 255, 32)
    photo = Image.fromarray(np.dstack(np.broadcast_arrays(ramp, ramp[:24, None], ramp[::-1])).astype(np.uint8))
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF"):
        yield files.encoded(photo, kind)
        yield files.encoded(photo, kind, exif=files.tiff([(0x0112, 3, 1, 6 << 16)]))
    for mode in ("1", "L", "P", "LA", "RGBA"):
        yield files.encoded(photo.convert(mode), "PNG")
    yield files.encoded(Image.fromarray(np.arange(768, dtype=np.uint16).reshape(24, 32)), "PNG")
    yield files.encoded(photo, "JPEG", progressive=True)
    yield files.encoded(photo.convert("CMYK"), "JPEG")
    yield files.encoded(photo, "WEBP", lossless=True)
    yield from (data for _, data in files.goods())
    yield from (one.data for one in files.corpus(("iso", "exif", "polyglot")))


def check(data: bytes) -> str:
    """Decode; return the reason, or "picture". Raises where anything else comes of a file."""
    try:
        picture, size = decode(data, LIMITS, _SIDE)
    except PhotoRejected as rejected:
        return _reason(rejected)
    assert picture.mode == "RGB"
    assert not picture.info
    assert 1 <= max(picture.size) <= _SIDE
    assert min(size) >= LIMITS.min_side
    assert size[0] * size[1] <= LIMITS.max_pixels
    is_plain(data)
    _check_thumbnails(data)
    return "picture"


def _reason(rejected: PhotoRejected) -> str:
    assert not files.for_want_of_memory(rejected), "it takes too much memory"
    assert rejected.code in _REASONS
    return rejected.code


def _check_thumbnails(data: bytes) -> None:
    for name, small in render(data, _FACE, _SETTINGS, LIMITS).items():
        width, height = map(int, name.split("x"))
        picture = Image.open(io.BytesIO(small), formats=["JPEG"])
        assert picture.width <= width
        assert picture.height <= height


def mutate(data: bytes, longest: int, seed: int, change: Callable[[bytes, int], bytes]) -> bytes:
    """Change a file; a PNG gets its checksums right again, else nothing behind them were ever reached."""
    changed = bytes(change(data, longest))
    return _with_checksums(changed) if changed.startswith(_PNG) and seed % 8 else changed


def _with_checksums(data: bytes) -> bytes:
    out, at = bytearray(data), len(_PNG)
    while at + 12 <= len(out):
        end = at + 8 + struct.unpack_from(">I", out, at)[0]
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)
