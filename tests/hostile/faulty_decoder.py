"""A decoder with the faults that native ones may have: the photo's first word says which."""

from __future__ import annotations

import ctypes
import os
import sys
import time

from PIL import Image

from selfiegate.decoding import decode as real
from selfiegate.decoding.decode import Limits
from tests.hostile import files

_C = ctypes.PyDLL(None)  # as C does: Python's lock is kept, and no signal's handler runs


def _hang() -> None:
    while True:
        _C.usleep(500_000)


def _spin() -> None:
    while True:
        pass


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(1 << 24))


def _eat_natively() -> None:
    _C.malloc.restype, _C.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    _C.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    while found := _C.malloc(1 << 24):
        _C.memset(found, 1, 1 << 24)
    os.abort()  # as C++ does where nobody catches


def _raise() -> None:
    raise ZeroDivisionError


def _spoil() -> None:
    _FAULTS[b""] = _FAULTS[b"crash"]


_FAULTS = {
    b"hang": _hang,
    b"sleep": lambda: time.sleep(1000),
    b"spin": _spin,
    b"crash": lambda: ctypes.string_at(0),
    b"abort": os.abort,
    b"eat": _eat,
    b"eat-natively": _eat_natively,
    b"raise": _raise,
    b"exit": sys.exit,
    b"spoil": _spoil,
}


def decode(data: bytes, limits: Limits, max_side: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """Do what the photo says; else decode it."""
    if fault := _FAULTS.get(b"") or _FAULTS.get(data):
        fault()
    if data == b"work":
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
    if data in (b"spoil", b"work"):
        return Image.new("RGB", (50, 50)), (50, 50)
    if data == b"lie":
        return Image.new("RGB", (5000, 5000)), (5000, 5000)
    if data.startswith(b"environment "):
        return Image.new("RGB", (1, 1), "red" if data.split()[1].decode() in os.environ else "green"), (100, 100)
    return real.decode(data, limits, max_side)


def slow_photo() -> bytes:
    """A real file that takes seconds: of as many pixels and nearly as many scans as are let through."""
    large = files.encoded(Image.new("RGB", (7000, 7000)), "JPEG", progressive=True)
    scan = large[large.rindex(b"\xff\xda") : -2]
    return large[:-2] + scan * 80 + large[-2:]
