"""All disguises by name, and a spoiled photo as it would be uploaded."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.disguise import covers, spoiling, wear
from benchmarks.disguise.cloth import RNG, tone
from benchmarks.disguise.head import Layer, Pixels, View, level, put, view
from benchmarks.disguise.spoiling import picture, pixels

STRENGTHS = ("weak", "middle", "strong")

Thing = Callable[[RNG, int, Pixels, Pixels], list[Layer]]
Spoil = Callable[[Pixels, View, RNG, int], Pixels]


def _before(*things: Thing) -> Spoil:
    """Put things before the face, in the colours of its skin and hair."""

    def spoil(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
        skin, hair = _colours(photo, seen, rng)
        return put(photo, seen, [layer for thing in things for layer in thing(rng, strength, skin, hair)], rng)

    return spoil


def _both(first: Spoil, second: Spoil) -> Spoil:
    """Two at once: both weak; one of them middle; both middle."""

    def spoil(photo: Pixels, seen: View, rng: RNG, strength: int) -> Pixels:
        between = int(strength == 2 or (strength == 1 and rng.uniform() < 0.5))
        other = int(strength == 2) if between else int(strength == 1)
        return second(np.clip(first(photo, seen, rng, between), 0, 1), seen, rng, other)

    return spoil


_hair, _tinted, _cap = _before(wear.hair), _before(wear.sunglasses), _before(wear.cap)

DISGUISES: dict[str, Spoil] = {
    "surgical mask": _before(covers.surgical_mask),
    "cloth mask": _before(covers.cloth_mask),
    "black mask": _before(covers.black_mask),
    "printed mask": _before(covers.printed_mask),
    "scarf": _before(covers.scarf),
    "hand": _before(covers.hand),
    "phone": _before(covers.phone),
    "hair": _hair,
    "cap": _cap,
    "sunglasses": _tinted,
    "mask and glasses": _before(wear.clear_glasses, covers.surgical_mask),
    "blur": spoiling.blur,
    "motion": spoiling.motion,
    "few pixels": spoiling.resolution,
    "half dark": spoiling.half_dark,
    "dark": spoiling.dark,
    "overexposed": spoiling.overexposed,
    "heavy JPEG": spoiling.heavy_jpeg,
    "cut off": spoiling.crop,
    "rotated": spoiling.rotation,
    "lying": spoiling.lying,
    "noise": spoiling.noise,
    "blur, dark": _both(spoiling.blur, spoiling.dark),
    "motion, heavy JPEG": _both(spoiling.motion, spoiling.heavy_jpeg),
    "few pixels, half dark": _both(spoiling.resolution, spoiling.half_dark),
    "hair, sunglasses": _both(_tinted, _hair),
    "cap, blur": _both(_cap, spoiling.blur),
}


def spoiled(photo: Pixels, landmarks: NDArray[np.floating], name: str, strength: int, person: str) -> Pixels:
    """Return the spoiled photo; the same person, disguise and strength give the same picture."""
    rng = np.random.default_rng(zlib.crc32(f"{person}/{name}/{strength}".encode()))
    return np.clip(DISGUISES[name](photo, view(landmarks), rng, strength), 0, 1)


def _colours(photo: Pixels, seen: View, rng: RNG) -> tuple[Pixels, Pixels]:
    """Return the colours of skin and hair as they would be in plain light."""
    gain = level(photo, seen)
    skin = np.median([_patch(photo, seen, x, y) for x, y in ((-0.5, 0.75), (0.5, 0.75), (0, -0.45))], axis=0) / gain
    tops = [_patch(photo, seen, x, y) for x, y in ((-0.5, -1.15), (0, -1.3), (0.5, -1.15), (-0.9, -0.7), (0.9, -0.7))]
    hair = sorted(tops, key=lambda patch: float(patch.sum()))[1] / gain
    if np.abs(hair - skin).max() < 0.25 or hair[1:].max() > hair[0] + 0.03:  # bald, or the wall behind
        hair = tone(rng, (0.2, 0.6), (0.08, 0.5), hue=0.07)
    return np.clip(skin, 0.1, 0.95).astype(np.float32), np.clip(hair, 0.04, 0.8).astype(np.float32)


def _patch(photo: Pixels, seen: View, x: float, y: float) -> Pixels:
    u, v = np.clip(seen.at(x, y), 3, [photo.shape[1] - 4, photo.shape[0] - 4]).astype(int)
    return np.asarray(np.median(photo[v - 3 : v + 4, u - 3 : u + 4], axis=(0, 1)), np.float32)


__all__ = ["DISGUISES", "STRENGTHS", "picture", "pixels", "spoiled"]
