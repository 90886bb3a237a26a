"""Photos that mean harm: a seeded corpus made in memory, and a process of its own that looks at it.

`python -m tests.hostile.files` decodes every file below a bound on its memory, and says as lines of JSON what came of
each.
"""

from __future__ import annotations

import io
import json
import random
import re
import resource
import signal
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from selfiegate.decoding.decode import FORMATS, Limits, decode, is_plain
from selfiegate.errors import PhotoRejected

SIDE = 1280
MEMORY = 3 << 30
SECONDS = 20
"""Of CPU time: what a busy machine adds to that is no fault of a file."""
BIG = 24_000_000
"""Bytes of the largest files: just what `Limits` lets through."""


class TooLong(BaseException):
    """No `Exception`: whoever catches what decoders raise must not catch this."""


class Hostile(NamedTuple):
    """One file; `kind` groups those of one format or trick."""

    kind: str
    name: str
    data: bytes


def corpus(kinds: Sequence[str] = (), seed: int = 7) -> Iterator[Hostile]:
    """Make all files, or those of some kinds, one after the other: together they would not fit into memory."""
    good = dict(goods())
    makers: dict[str, Callable[[], Iterable[tuple[str, bytes]]]] = {
        "good": lambda: good.items(),
        "mutated": lambda: _mutated(good, random.Random(seed)),  # noqa: S311  wants repeating, not secrecy
        "png": lambda: _pngs(good),
        "jpeg": lambda: _jpegs(good),
        "webp": lambda: _webps(good),
        "iso": lambda: _isos(good),
        "exif": _exifs,
        "polyglot": lambda: _polyglots(good),
        "unnamed": _unnamed,
        "random": lambda: _randoms(random.Random(seed)),  # noqa: S311
    }
    for kind in kinds or makers:
        for name, data in makers[kind]():
            yield Hostile(f"mutated {name.partition('-')[0]}" if kind == "mutated" else kind, name, data)


def goods() -> Iterator[tuple[str, bytes]]:
    """Good files of every format that is opened, and of its kinds."""
    photo, noise = _photo(), _noise()
    yield "jpeg-baseline", encoded(photo, "JPEG")
    yield "jpeg-progressive", encoded(noise, "JPEG", progressive=True)
    yield "jpeg-restarts", encoded(noise, "JPEG", restart_marker_blocks=1)
    yield "jpeg-cmyk", encoded(photo.convert("CMYK"), "JPEG")
    yield "jpeg-grey", encoded(photo.convert("L"), "JPEG")
    yield "jpeg-mpo", encoded(photo, "MPO", save_all=True, append_images=[noise])
    yield "jpeg-metadata", encoded(photo, "JPEG", exif=tiff(_ORIENTED), xmp=b"<x/>", comment=b"no", icc_profile=_ICC)
    yield "png-rgb", encoded(photo, "PNG")
    yield "png-grey16", encoded(Image.fromarray(np.arange(40_000, dtype=np.uint16).reshape(200, 200)), "PNG")
    yield "png-rgb16", png((200, 200), 16, 2, zlib.compress(bytes(200 * (200 * 6 + 1))))
    yield "png-palette", encoded(photo.convert("P"), "PNG", transparency=3)
    yield "png-bits", encoded(photo.convert("1"), "PNG")
    yield "png-alpha", encoded(photo.convert("RGBA"), "PNG", exif=tiff(_ORIENTED), icc_profile=_ICC)
    yield "png-interlaced", png((8 * 20, 8 * 20), 8, 0, zlib.compress(_adam7(160)), interlaced=1)
    yield "png-animated", encoded(photo, "PNG", save_all=True, append_images=[noise])
    yield "webp-lossy", encoded(photo, "WEBP", exif=tiff(_ORIENTED), icc_profile=_ICC)
    yield "webp-lossless", encoded(photo.convert("RGBA"), "WEBP", lossless=True)
    yield "webp-animated", encoded(photo, "WEBP", save_all=True, append_images=[noise])
    yield "avif-still", encoded(photo, "AVIF", exif=b"Exif\0\0" + tiff([(0x0100, 4, 1, 5), *_ORIENTED]), speed=10)
    yield "avif-animated", encoded(photo, "AVIF", save_all=True, append_images=[noise], speed=10)
    yield "heif-still", encoded(photo, "HEIF", exif=tiff(_ORIENTED), xmp=b"<x/>")
    yield "heif-alpha", encoded(photo.convert("RGBA"), "HEIF")
    yield "heif-several", encoded(photo, "HEIF", save_all=True, append_images=[noise, photo])
    yield "heif-grid", encoded(photo, "HEIF", tile_size=64)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the file of a picture."""
    decode_ready()
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decode_ready() -> None:
    """Register the HEIF plugin as the product does."""
    from selfiegate.decoding import decode

    decode._enable_heif()


def _photo() -> Image.Image:
    ramp = np.linspace(0, 255, 200)
    return Image.fromarray(np.dstack(np.broadcast_arrays(ramp, ramp[:150, None], ramp[::-1])).astype(np.uint8))


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (150, 200, 3), dtype=np.uint8))


def _mutated(good: Mapping[str, bytes], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    for name, data in good.items():
        yield from ((f"{name}, {how}", bad) for how, bad in _mutations(data, rng))


def _mutations(data: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    for share in (0.02, 0.1, 0.33, 0.8, 0.99):
        yield f"cut at {share}", data[: int(len(data) * share)]
    yield "cut before its last byte", data[:-1]
    for area, end in (("header", min(len(data), 400)), ("body", len(data))):
        for flips in (1, 8, 64):
            bad = bytearray(data)
            for _ in range(flips):
                bad[rng.randrange(8, end)] ^= 1 << rng.randrange(8)
            yield f"{flips} bits flipped in its {area}", bytes(bad)
    start = rng.randrange(len(data) // 2)
    yield "a part twice", data[:start] + data[start : start + 500] * 2 + data[start + 500 :]
    yield "a part lost", data[:start] + data[start + 300 :]
    yield "a part of zeros", data[:start] + bytes(300) + data[start + 300 :]
    yield "a part of ones", data[:start] + b"\xff" * 300 + data[start + 300 :]


# --- PNG ---


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int],
    bits: int,
    colour: int,
    pixels: bytes,
    *,
    interlaced: int = 0,
    before: Iterable[bytes] = (),
    after: Iterable[bytes] = (),
) -> bytes:
    """Return a PNG of what is given; `pixels` are compressed already."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlaced))
    body = [header, *before, chunk(b"IDAT", pixels), *after, chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def flat_png(size: tuple[int, int], bits: int, colour: int, before: Iterable[bytes] = ()) -> bytes:
    """Return a PNG whose pixels are all zero: a few kilobytes for a thousand times as many."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes((size[0] * bits * channels + 7) // 8 + 1)
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(size[1])) + packer.flush()
    return png(size, bits, colour, packed, before=before)


def _adam7(side: int) -> bytes:
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return b"".join((b"\0" + bytes(len(range(x, side, dx)))) * len(range(y, side, dy)) for x, y, dx, dy in passes)


_MEGAPIXELS = (7140, 7140)
"""As many pixels as the limit lets through."""
PALETTE = chunk(b"PLTE", bytes(range(256)) * 3)


def _pngs(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    small = (100, 100)
    pixels = zlib.compress(bytes(100 * 301))
    for size in ((0, 100), (1 << 31, 1), (40_000, 40_000), (1, 51_000_000), (0xFFFFFFFF, 0xFFFFFFFF), (7000, 7000)):
        yield f"its header says {size}", png(size, 8, 2, pixels)
    for bits, colour in ((3, 2), (16, 3), (8, 7), (255, 255)):
        yield f"{bits} bits, colour {colour}", png(small, bits, colour, pixels)
    alphas = chunk(b"tRNS", bytes(range(256)))
    for bits, colour, more in ((1, 0, ()), (16, 0, ()), (16, 2, ()), (8, 3, (PALETTE, alphas)), (8, 6, ())):
        yield (
            f"50 megapixels, {bits} bits, colour {colour}, {len(more)}",
            flat_png(_MEGAPIXELS, bits, colour, before=more),
        )
    yield "as long as it may be, and 80 high", flat_png((637_500, 80), 8, 0)
    bomb = zlib.compress(bytes(1 << 20), 9)
    bombs = {
        "iTXt": b"k\0\1\0\0\0" + bomb,
        "zTXt": b"k\0\0" + bomb,
        "zTXt without a name": b"\0\0" + bomb,
        "iTXt that is no UTF-8": b"k\0\1\0\0\0" + zlib.compress(b"\xff" * (1 << 20), 9),
        "iCCP": b"k\0\0" + bomb,
        "zTXt of 64 megabytes": b"k\0\0" + _zeros(1 << 26),
        "iCCP of 64 megabytes": b"k\0\0" + _zeros(1 << 26),
        "iTXt of 64 megabytes": b"k\0\1\0\0\0" + _zeros(1 << 26),
    }
    for name, data in bombs.items():
        one = chunk(name[:4].encode(), data)
        yield f"{name}, once", png(small, 8, 2, pixels, before=[one])
        yield f"{name}, before all else", png(small, 8, 2, pixels, before=[one] * (BIG // len(one)))
        yield f"{name}, behind", png(small, 8, 2, pixels, after=[one] * (BIG // len(one)))
    empty = chunk(b"abCd") * (BIG // 12)
    yield "millions of empty chunks", png(small, 8, 2, pixels, before=[empty])
    yield "millions of empty chunks behind", png(small, 8, 2, pixels, after=[empty])
    yield "millions of empty IDAT", png(small, 8, 2, pixels, before=[chunk(b"IDAT") * (BIG // 12)])
    yield (
        "a picture in IDAT of a byte",
        b"".join(
            [
                png(small, 8, 2, b"")[:33],
                *(chunk(b"IDAT", bytes([byte])) for byte in zlib.compress(np.random.default_rng(1).bytes(200_000), 0)),
                chunk(b"IEND"),
            ]
        ),
    )
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<a>" * 4_000_000)
    yield "XMP of megabytes", png(small, 8, 2, pixels, before=[xmp])
    for name, data in {
        "exif": b"x",
        "transparency": b"x",
        "bbox": b"x",
        "interlace": b"x",
        "icc_profile": b"x",
    }.items():
        yield f"text named {name}", png(small, 8, 2, pixels, before=[chunk(b"tEXt", name.encode() + b"\0" + data)])
        packed = chunk(b"zTXt", name.encode() + b"\0\0" + zlib.compress(data))
        yield f"packed text named {name}", png(small, 8, 2, pixels, before=[packed])
    raw = b"Raw profile type exif\0\nexif\n      99\nnot hexadecimal"
    yield "a raw profile that is none", png(small, 8, 2, pixels, before=[chunk(b"tEXt", raw)])
    plain = good["png-rgb"]
    for length in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
        lied = struct.pack(">I", length)
        yield f"IHDR of {length}", plain[:8] + lied + plain[12:]
        yield f"IDAT of {length}", plain[:33] + lied + plain[37:]
    for name, control in (("no", 0), ("2**31", 1 << 31), ("2", 2), ("1", 1)):
        animated = [chunk(b"acTL", struct.pack(">II", control, 0))]
        yield f"an animation of {name} frames", png(small, 8, 2, pixels, before=animated)
        yield f"an animation of {name} frames, twice", png(small, 8, 2, pixels, before=animated * 2)
    frame = struct.pack(">IIIIIHHBB", 0, 100, 100, 0, 0, 0, 0, 9, 9)
    yield (
        "a frame of no kind",
        png(small, 8, 2, pixels, before=[chunk(b"acTL", bytes([0, 0, 0, 1] * 2)), chunk(b"fcTL", frame)]),
    )
    yield "a palette of nothing", png(small, 8, 3, zlib.compress(bytes(100 * 101)), before=[chunk(b"PLTE")])
    yield "no palette", png(small, 8, 3, zlib.compress(bytes(100 * 101)))
    yield "a palette too long", png(small, 8, 3, zlib.compress(bytes(100 * 101)), before=[chunk(b"PLTE", bytes(3000))])
    yield "IDAT of endless zeros", png(small, 8, 2, _zeros(1 << 26))


def _zeros(count: int) -> bytes:
    """Return so many zeros, compressed: a mebibyte for a gibibyte."""
    packer, part = zlib.compressobj(9), bytes(1 << 20)
    return b"".join(packer.compress(part) for _ in range(count >> 20)) + packer.flush()


# --- JPEG ---


def segment(marker: int, data: bytes = b"") -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _jpegs(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    plain, progressive = good["jpeg-baseline"], good["jpeg-progressive"]
    frame = plain.index(b"\xff\xc0")
    for height, width in ((0, 0), (0, 200), (65535, 65535), (65535, 778), (1, 1), (7000, 7000)):
        lied = struct.pack(">HH", height, width)
        yield f"its frame says {width} x {height}", plain[: frame + 5] + lied + plain[frame + 9 :]
    for components in (0, 2, 5, 255):
        yield f"{components} components", plain[: frame + 9] + bytes([components]) + plain[frame + 10 :]
    large = encoded(Image.new("RGB", _MEGAPIXELS), "JPEG", progressive=True)
    scan = large[large.rindex(b"\xff\xda") : -2]
    yield "50 megapixels, progressive", large
    yield "50 megapixels, 90 scans", large[:-2] + scan * 80 + large[-2:]
    yield "50 megapixels, CMYK, progressive, long", encoded(Image.new("CMYK", (2550, 19_900)), "JPEG", progressive=True)
    yield "as long as it may be, and 80 high", encoded(Image.new("RGB", (65_500, 80)), "JPEG")
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    yield "thousands of scans", progressive[:-2] + scan * 5000 + progressive[-2:]
    padded = b"\xff" * 9 + scan
    yield "thousands of scans, padded", progressive[:-2] + padded * 5000 + progressive[-2:]
    for name, tiny in (("COM", segment(0xFE)), ("APP9", segment(0xE9)), ("DHT", segment(0xC4)), ("DNL", segment(0xDC))):
        yield f"millions of {name}", plain[:2] + tiny * (BIG // 4) + plain[2:]
    hidden = segment(0xF0) + segment(0xFE) * (BIG // 4)
    yield "millions of COM behind a segment that is none", plain[:2] + hidden + plain[2:]
    yield "millions of COM behind an end that is none", plain[:2] + b"\xff\xd9" + segment(0xFE) * (BIG // 4) + plain[2:]
    yield "millions of padding bytes", plain[:2] + b"\xff" * BIG + plain[2:]
    yield "millions of bytes of junk", plain[:2] + b"\1" * BIG + plain[2:]
    yield "millions of restarts", plain[:-2] + b"\xff\xd0" * (BIG // 2) + plain[-2:]
    exif = b"Exif\0\0" + tiff(_ORIENTED)
    yield "thousands of EXIF", plain[:2] + segment(0xE1, exif.ljust(4000)) * (BIG // 4004) + plain[2:]
    yield "megabytes of EXIF", plain[:2] + segment(0xE1, exif.ljust(65_000)) * (BIG // 65_004) + plain[2:]
    huge = tiff([(0x011A, 5, (BIG - 600_000) // 8, 0), (0x0112, 3, 1, 6 << 16)], BIG)
    parts = [b"Exif\0\0" + huge[at : at + 65_000] for at in range(0, len(huge), 65_000)]
    yield "a resolution of millions", plain[:2] + b"".join(segment(0xE1, part) for part in parts)[:BIG] + plain[2:]
    icc = [b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(65_000) for n in range(1, 256)]
    yield "an ICC of megabytes", plain[:2] + b"".join(segment(0xE2, part) for part in icc) + plain[2:]
    yield "an ICC that counts wrongly", plain[:2] + segment(0xE2, b"ICC_PROFILE\0\xff\0") * 3 + plain[2:]
    yield "an ICC cut short", plain[:2] + segment(0xE2, b"ICC_PROFILE\0") + plain[2:]
    for name, index in {
        "is empty": b"",
        "is cut short": b"II*\0\x08\0\0\0\x01",
        "counts to 2**32": tiff([(0xB001, 4, 1, 0xFFFFFFFF), (0xB002, 7, 16, 8)], 300),
        "counts nothing": tiff([(0xB001, 4, 1, 0), (0xB002, 7, 16, 8)], 300),
        "counts in text": tiff([(0xB001, 2, 4, 0x41424344), (0xB002, 7, 16, 8)], 300),
        "leads to nowhere": tiff([(0xB001, 4, 1, 2), (0xB002, 7, 32, 0xFFFFFF)], 300),
    }.items():
        yield f"an MPO whose index {name}", plain[:2] + segment(0xE2, b"MPF\0" + index) + plain[2:]
    for name, tail in {
        "APP1 of no length": b"\xff\xe1\0\0",
        "APP1 beyond the end": b"\xff\xe1\xff\xff",
        "DQT": b"\xff\xdb\0\3\xff",
        "Adobe": segment(0xEE, b"Adobe"),
        "Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\3\xed\xff"),
    }.items():
        yield f"{name}, broken", plain[:2] + tail + plain[2:]
    yield "arithmetic coding", plain.replace(b"\xff\xc0", b"\xff\xc9", 1)
    yield "lossless", plain.replace(b"\xff\xc0", b"\xff\xc3", 1)
    yield (
        "XMP of many parts",
        plain[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<" * 65_000) * 350 + plain[2:],
    )


# --- WEBP ---


def _webps(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    data = good["webp-lossy"]
    canvas = data.index(b"VP8X") + 12
    for width, height in ((1, 1), (16_384, 10_000), (1 << 24, 1 << 24), (1 << 24, 3), (7000, 7000)):
        lied = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        yield f"its canvas says {width} x {height}", data[:canvas] + lied + data[canvas + 6 :]
    for name in (b"EXIF", b"ICCP", b"VP8 ", b"VP8X", b"RIFF"):
        at = data.index(name) + 4
        for length in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            yield f"{name.decode()} of {length}", data[:at] + struct.pack("<I", length) + data[at + 4 :]
    for flags in range(0, 256, 51):
        yield f"flags {flags}", data[: canvas - 4] + bytes([flags]) + data[canvas - 3 :]
    yield "50 megapixels, lossless", encoded(Image.new("RGBA", _MEGAPIXELS), "WEBP", lossless=True, method=0, quality=0)
    yield "as long as it may be, and 80 high", encoded(Image.new("RGB", (16_383, 80)), "WEBP")
    tiny = b"abcd\0\0\0\0" * (BIG // 8)
    yield "millions of chunks", _riff(data[12:] + tiny)
    yield "millions of EXIF", _riff(data[12:] + tiny.replace(b"abcd", b"EXIF"))
    frame = b"ANMF" + struct.pack("<I", 16) + bytes(16)
    yield "a million frames", _riff(good["webp-animated"][12:] + frame * (BIG // len(frame)))


def _riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


# --- AVIF and HEIF ---


def _isos(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for kind in ("avif", "heif"):
        data = good[f"{kind}-still"]
        for size in ((0, 0), (1, 1), (7000, 7000), (60_000, 60_000), (0xFFFFFFFF, 0xFFFFFFFF)):
            yield f"{kind}, says {size}", resized(data, size)
        large = encoded(Image.new("RGB", (1500, 1500)), kind.upper(), quality=1, speed=10)
        yield f"{kind}, says it is small", resized(large, (200, 200))
        for box in (b"ipma", b"iloc", b"iinf", b"iprp", b"ipco", b"meta", b"ftyp", b"pitm", b"hvcC", b"av1C", b"iref"):
            at = data.find(box)
            if at < 0:
                continue
            for length in (0, 1, 9, 0x7FFFFFFF, 0xFFFFFFFF):
                yield f"{kind}, {box.decode()} of {length}", data[: at - 4] + struct.pack(">I", length) + data[at:]
            yield f"{kind}, {box.decode()} of ones", data[: at + 8] + b"\xff" * 8 + data[at + 16 :]
        for again in (30, 5000, 60_000):
            yield f"{kind}, EXIF of {again} overlapping parts", overlapping(data, again)
        length = BIG - 500_000 if kind == "heif" else 400_000  # Pillow writes it anew, for an AVIF
        exif = tiff([(0x0112, 3, 1, 6 << 16), (0x9286, 5, (length - 1000) // 8, 500)], length)
        yield f"{kind}, EXIF of megabytes", encoded(_photo(), kind.upper(), exif=b"Exif\0\0" + exif, speed=10)
        tables = b"iloc\0\0\0\0\0\0\xff\xff" * 1_000_000
        head = data[: data.index(b"meta") - 4]
        yield f"{kind}, a million tables of items", head + struct.pack(">I4s", len(tables) + 8, b"meta") + tables
        yield f"{kind}, nested boxes", data[: data.index(b"meta") - 4] + _nested(200_000)
        free = struct.pack(">I4s", 8, b"free")
        yield f"{kind}, millions of boxes", data + free * (BIG // 8)
        yield f"{kind}, millions of boxes before", data[: data.index(b"meta") - 4] + free * (BIG // 8)
    yield (
        "heif, of many pictures",
        encoded(_photo(), "HEIF", save_all=True, append_images=[_photo()] * 20, exif=b"Exif\0\0" + bytes(60_000)),
    )
    for brand in (b"mif1", b"msf1", b"heic", b"hevc", b"avif", b"avis", b"isom", b"crx "):
        for kind in ("avif", "heif"):
            yield f"{kind} that says {brand.decode()}", good[f"{kind}-still"][:8] + brand + good[f"{kind}-still"][12:]


def resized(data: bytes, size: tuple[int, int]) -> bytes:
    """Return an ISO file whose boxes say another size than its pictures have."""
    return re.sub(rb"ispe\0{4}.{8}", lambda _: b"ispe\0\0\0\0" + struct.pack(">II", *size), data, flags=re.DOTALL)


def _nested(depth: int) -> bytes:
    return b"".join(struct.pack(">I4sI", 12 * (depth - n) & 0xFFFFFFFF, b"meta", 0) for n in range(depth))


def overlapping(data: bytes, parts: int) -> bytes:
    """Return an ISO file whose second item, the EXIF, is all of the file's data, again and again."""
    at = data.index(b"iloc") - 4
    (length,) = struct.unpack_from(">I", data, at)
    version, sizes, more = data[at + 8], data[at + 12], data[at + 13]
    offset_size, length_size, base_size, index_size = sizes >> 4, sizes & 15, more >> 4, more & 15
    body = io.BytesIO(data[at + 14 : at + length])

    def number(size: int) -> int:
        return int.from_bytes(body.read(size), "big")

    items = []
    for _ in range(number(4 if version == 2 else 2)):
        name = number(4 if version == 2 else 2)
        method = number(2) if version else 0
        number(2)
        base = number(base_size)
        extents = []
        for _ in range(number(2)):
            number(index_size if version else 0)
            extents.append((base + number(offset_size), number(length_size)))
        items.append((name, method, extents))
    media = data.rindex(b"mdat") + 4
    growth = 0
    for _ in range(2):  # the offsets depend on the box's length
        out = [b"\1\0\0\0\x44\0", struct.pack(">H", len(items))]
        for name, method, extents in items:
            if name == items[1][0]:
                extents = [(media, len(data) - media)] * parts
            out.append(struct.pack(">HHHH", name, method, 0, len(extents)))
            out += [struct.pack(">II", start + (0 if method else growth), size) for start, size in extents]
        box = b"".join(out)
        growth = len(box) + 8 - length
    (outer,) = struct.unpack_from(">I", data, data.index(b"meta") - 4)
    head = data[:at].replace(struct.pack(">I4s", outer, b"meta"), struct.pack(">I4s", outer + growth, b"meta"))
    return head + struct.pack(">I4s", len(box) + 8, b"iloc") + box + data[at + length :]


# --- metadata ---

_ICC = bytes(128) + b"not a profile"
_ORIENTED = [(0x0112, 3, 1, 6 << 16)]


def tiff(entries: list[tuple[int, int, int, int]], length: int = 0, following: int = 0) -> bytes:
    """Return a TIFF directory of (tag, type, count, value or offset), big-endian, as long as wanted."""
    packed = b"".join(struct.pack(">HHII", *entry) for entry in sorted(entries))
    return (b"MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + packed + struct.pack(">I", following)).ljust(
        length, b"\1"
    )


def _exifs() -> Iterator[tuple[str, bytes]]:
    cases = {f"orientation {n}": tiff([(0x0112, 3, 1, n << 16)]) for n in (0, 1, 6, 9, 255, 65535)}
    cases |= {
        f"orientation as type {n}": tiff([(0x0112, n, 1, 6 << 16)], 40) for n in (0, 1, 2, 4, 5, 7, 9, 10, 12, 13, 99)
    }
    cases |= {
        "many orientations": tiff([(0x0112, 3, 9, 26)], 100),
        "no orientation at all": tiff([(0x0112, 3, 0, 6 << 16)]),
        "huge count": tiff([(0x0112, 3, 0xFFFFFFFF, 8)]),
        "offset beyond": tiff([(0x010E, 2, 1000, 0xFFFFFFF0), *_ORIENTED]),
        "refers to itself": tiff([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), *_ORIENTED], following=8),
        "refers to nowhere": tiff([(0x8769, 4, 1, 0x7FFFFFFF), *_ORIENTED], following=0xFFFFFFFF),
        "refers by text": tiff([(0x8769, 2, 4, 0x41424344), *_ORIENTED]),
        "interoperates with itself": tiff([(0x8769, 4, 1, 8), (0xA005, 4, 1, 8), *_ORIENTED]),
        "sixty thousand tags": tiff([(n, 3, 1, n) for n in range(60_000)]),
        "text as number": tiff([(0x0100, 2, 4, 0x41424344), (0x011A, 2, 4, 0x41424344), *_ORIENTED]),
        "divides by zero": tiff([(0x011A, 5, 1, 8), (0x0128, 3, 1, 3 << 16), *_ORIENTED], 60).replace(
            b"\1" * 8, bytes(8)
        ),
        "a float that is none": tiff([(0x011A, 11, 1, 0x7FC00000), (0x0128, 3, 1, 3 << 16), *_ORIENTED], 60),
        "big TIFF": b"MM\0+\0\x08\0\0" + bytes(40),
        "cut short": tiff(_ORIENTED)[:12],
        "no TIFF": b"hello world",
        "nothing": b"",
        "rationals by the million": tiff([(0x0112, 3, 1, 6 << 16), (0x9286, 5, 2_900_000, 100)], BIG),
        "orientation of a million rationals": tiff([(0x0112, 5, 2_900_000, 100)], BIG),
        "orientation of a million shorts": tiff([(0x0112, 3, 11_500_000, 100)], BIG),
    }
    for name, exif in cases.items():
        yield f"PNG, {name}", png((100, 100), 8, 2, zlib.compress(bytes(100 * 301)), after=[chunk(b"eXIf", exif)])
        if len(exif) < 65_000:
            plain = encoded(_photo(), "JPEG")
            yield f"JPEG, {name}", plain[:2] + segment(0xE1, b"Exif\0\0" + exif) + plain[2:]
        yield f"WEBP, {name}", _riff(
            b"VP8X" + struct.pack("<I", 10) + b"\x08\0\0\0\xc7\0\0\x95\0\0" + encoded(_photo(), "WEBP")[12:]
            + b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
        )  # fmt: skip


# --- what is no photo, or two things at once ---


def _polyglots(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("evil.txt", "x" * 1000)
    html, pdf = b"<html><script>alert(1)</script></html>", b"%PDF-1.4\n1 0 obj\n<<>>\nstream\n"
    for name in ("jpeg-baseline", "png-rgb", "webp-lossy", "avif-still", "heif-still"):
        data = good[name]
        for what, other in (("ZIP", archive.getvalue()), ("HTML", html), ("PDF", pdf), ("a JPEG", good["jpeg-mpo"])):
            yield f"{name} + {what}", data + other
            yield f"{what} + {name}", other + data
    yield "GIF + JS", b"GIF89a/*" + bytes(50) + b"*/=1;alert(1)"
    video = struct.pack(">I4s4s", 24, b"ftyp", b"mp42") + random.Random(2).randbytes(16_000_000)  # noqa: S311
    yield "a moving photo of a phone", good["jpeg-baseline"] + video


def _unnamed() -> Iterator[tuple[str, bytes]]:
    for kind in (
        "GIF",
        "TIFF",
        "BMP",
        "ICO",
        "PPM",
        "TGA",
        "PCX",
        "SGI",
        "DDS",
        "ICNS",
        "JPEG2000",
        "IM",
        "PDF",
        "EPS",
        "MSP",
        "SPIDER",
        "QOI",
    ):
        mode = "1" if kind == "MSP" else "F" if kind == "SPIDER" else "RGB"
        image = _photo().convert(mode)
        yield kind, encoded(image.resize((128, 128)) if kind == "ICNS" else image, kind)
    mark = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n"
    yield "EPS that writes a file", mark + b"(hostile.txt) (w) file closefile\nshowpage\n"
    yield "EPS within a wrapper", b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(mark)) + bytes(20) + mark
    yield "PSD", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 100, 100, 8, 3) + bytes(40_000)
    yield "SVG", b"<?xml version='1.0'?><!DOCTYPE s [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>"
    yield "FITS", b"SIMPLE  =                    T".ljust(80) + b"BITPIX  = 8".ljust(80) + b"END".ljust(2720)
    yield "WMF", b"\xd7\xcd\xc6\x9a\0\0" + bytes(100)
    yield "EMF", b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60)
    yield "XBM", b"#define x_width 100\n#define x_height 100\nstatic char x_bits[] = {0};"
    yield "MPEG", b"\0\0\1\xb3" + bytes(100)
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)
    yield "one byte", b"\0"
    yield "zeros", bytes(100_000)


MAGICS = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "WEBP": b"RIFF\xff\0\0\0WEBPVP8 ",
    "WEBP, extended": b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0",
    "WEBP, lossless": b"RIFF\xff\0\0\0WEBPVP8L\xff\0\0\0\x2f",
    "AVIF": b"\0\0\0\x14ftypavif\0\0\0\0avif",
    "HEIF": b"\0\0\0\x14ftypheic\0\0\0\0mif1",
    "either": b"\0\0\0\x14ftypmif1\0\0\0\0mif1",
    "nothing": b"",
}


def _randoms(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    for name, magic in MAGICS.items():
        for size in (0, 1, 30, 1000, 100_000):
            yield f"{size} bytes after the magic of {name}", magic + rng.randbytes(size)


# --- the process that looks at all this ---


def outcome(data: bytes, limits: Limits) -> str:
    """Say what came of a file: its picture's size, its reason, or what should never have come."""
    try:
        picture, size = decode(data, limits, SIDE)
    except PhotoRejected as rejected:
        return f"out of memory, {rejected}" if for_want_of_memory(rejected) else rejected.code
    except BaseException as error:  # noqa: BLE001, RUF100  this is what is looked for
        return f"raised {type(error).__name__}: {error}"
    try:
        is_plain(data)
    except BaseException as error:  # noqa: BLE001, RUF100
        return f"is_plain raised {type(error).__name__}: {error}"
    fine = picture.mode == "RGB" and max(picture.size) <= SIDE and not picture.info
    fine = fine and min(size) >= limits.min_side and size[0] * size[1] <= limits.max_pixels
    return "picture" if fine else f"a picture of {picture.mode} {picture.size}, {size}"


def for_want_of_memory(error: BaseException | None) -> bool:
    """Say whether a MemoryError is among the causes."""
    while error:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _memory(what: str) -> int:
    (found,) = re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found) * 1024


def _too_long(*_: object) -> None:
    raise TooLong


def main(kinds: list[str]) -> None:
    """Look at all files, or those of some kinds; each line stands before the next file is touched."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _too_long)
    limits = Limits()
    for kind, name, data in corpus(kinds):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this file
        before, start = _memory("VmRSS"), time.process_time()
        print(json.dumps({"kind": kind, "name": name, "bytes": len(data)}), flush=True)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        found = outcome(data, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        took, used = time.process_time() - start, _memory("VmHWM") - before
        print(json.dumps({"outcome": found, "seconds": round(took, 3), "memory": used}), flush=True)


assert FORMATS == ("JPEG", "PNG", "WEBP", "AVIF", "HEIF"), "a format without hostile files"

if __name__ == "__main__":
    main(sys.argv[1:])
