"""What a photo's file is made of, counted before any decoder walks it.

Pillow and the libraries below it bound single chunks, not how many there are: 24 MB of empty or of well packed ones
keep a core busy for minutes, and what a file says of its size need not be what its decoder makes room for.
"""

from __future__ import annotations

import io
import re
import struct

from selfiegate.errors import PhotoRejected
from selfiegate.model import ReasonCode

MAX_EXIF = 1 << 20
"""Bytes; a JPEG's segment holds 64 KiB. Pillow makes an object of each number that it looks at."""

_MAX_SCANS = 100
"""Scans of a JPEG. Encoders make 1 to about 12; each costs a pass over all pixels, so a small file with
thousands keeps a core busy for minutes."""

_MAX_SEGMENTS = 1000
"""Segments of a JPEG. Profiles have up to 255, depth maps in XMP some hundred of 64 KiB."""

_MAX_JUNK = 1 << 16
"""Bytes between a JPEG's segments before its first scan."""

_MAX_CHUNKS, _MAX_PIXEL_CHUNKS = 500, 100_000
"""Chunks of a PNG: text and profiles of which each may unpack to 1 MiB, and pixels, which some writers cut small."""

_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
"""What stands for itself in packed pixels, too; restarts aside."""
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_BARE = {_SOI, _EOI, 0xC8, *range(0xF0, 0xFE)}
"""Those that Pillow takes to have no length; libjpeg refuses most."""

_SIZE = re.compile(rb"ispe\0{4}(.{8})", re.DOTALL)
_ITEMS = re.compile(rb"iloc([\0\1\2])\0{3}(..)", re.DOTALL)
_MAX_PARTS = 20_000
"""Items and their parts of an AVIF or HEIF; phones write some dozen tiles of one part each."""
_EXIF_ITEM = re.compile(rb"(infe\x02.{7}|infe\x03.{9})Exif", re.DOTALL)


def checked(data: bytes, max_pixels: int) -> bytes:
    """Return the file as it may be opened; raise `PhotoRejected` where it is made of absurdly much."""
    if data.startswith(b"\xff\xd8\xff"):
        _jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _png(data)
    elif data[4:8] == b"ftyp":
        return _iso(data, max_pixels)
    return data


def _jpeg(data: bytes) -> None:
    """Count as libjpeg does: what follows the first picture (a phone's video, say) is not looked at."""
    at = segments = scans = exif = junk = 0
    while found := _MARKER.search(data, at):
        junk += 0 if scans else found.start() - at
        marker, at = found[1][0], found.end()
        segments += 1
        if marker == _EOI and scans:  # before the first scan, Pillow reads on
            return
        if marker not in _BARE:
            length = int.from_bytes(data[at : at + 2], "big")
            scans += marker == _SOS
            exif += length if marker == _APP1 and data[at + 2 : at + 6] == b"Exif" else 0
            at += max(2, length)
        if segments > _MAX_SEGMENTS or scans > _MAX_SCANS or exif > MAX_EXIF or junk > _MAX_JUNK:
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
        if marker == _SOS and scans == 1 and data.count(b"\xff\xda", at) < _MAX_SCANS:
            return  # most files, without a look at each marker
    if not scans:  # Pillow would look for them byte by byte
        raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)


def _png(data: bytes) -> None:
    at, others, pixels = 8, 0, 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        at += 12 + length
        pixels, others = (pixels + 1, others) if kind == b"IDAT" else (pixels, others + 1)
        if others > _MAX_CHUNKS or pixels > _MAX_PIXEL_CHUNKS:
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)


def _iso(data: bytes, max_pixels: int) -> bytes:
    """Look at AVIF and HEIF: no part may be cut off, nor a picture be larger than allowed, whatever is cropped."""
    at = boxes = 0
    while at + 8 <= len(data):
        boxes += 1
        length, kind = struct.unpack_from(">I4s", data, at)
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        elif length == 0:
            break
        at += max(8, length)
        # libheif leaves a grid's missing tiles blank
        if boxes > _MAX_CHUNKS or (kind in (b"meta", b"mdat") and at > len(data)):
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
        if kind == b"meta" and _listed(data[at - length : at]) > 2 * len(data):
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
    for width, height in (struct.unpack(">II", found[1]) for found in _SIZE.finditer(data)):
        if width * height > max_pixels:
            raise PhotoRejected(ReasonCode.PHOTO_TOO_LARGE, width, height)
    # Both formats say in boxes of their own which way is up, EXIF has no say; Pillow would write it anew for AVIF.
    return _EXIF_ITEM.sub(rb"\1skip", data)


def _listed(meta: bytes) -> int:
    """Add up the lengths of all items' parts: where these overlap, a library reads the same bytes again."""
    total = parts = 0
    for found in _ITEMS.finditer(meta):
        body, version = io.BytesIO(meta), found[1][0]
        body.seek(found.end())
        offset_size, length_size, base_size, index_size = (n for size in found[2] for n in (size >> 4, size & 15))

        def number(size: int, body: io.BytesIO = body) -> int:
            return int.from_bytes(body.read(size), "big")

        for _ in range(min(number(4 if version == 2 else 2), _MAX_PARTS)):
            body.seek((4 if version == 2 else 2) + (2 if version else 0) + 2 + base_size, io.SEEK_CUR)
            count = number(2)
            parts += 1 + count
            if parts > _MAX_PARTS:
                break
            for _ in range(count):
                body.seek((index_size if version else 0) + offset_size, io.SEEK_CUR)
                total += number(length_size)
        parts += 1
        if parts > _MAX_PARTS:
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
    return total
