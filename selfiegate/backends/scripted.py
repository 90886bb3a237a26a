"""An analyser that reads faces from a script in the picture: for tests of all that is not detection.

The pictures are real PNGs whose first pixels spell JSON, so decoding and thumbnails do their real work.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfiegate.face import Box, Face

_SIDE = 512
"""Dimensions of the scripted embeddings: two random ones have a cosine of 0 +- 0.044."""


def scripted_photo(*people: str, size: tuple[int, int] = (320, 240), **attributes: object) -> bytes:
    """Return a PNG that shows these people; equal names have equal faces, and 'ann~' looks much like 'ann'.

    `attributes` are fields of `Face`, the same for all of them.
    """
    script = json.dumps({"people": people, "attributes": attributes}).encode() + b"\0"
    pixels = np.full((size[1], size[0], 3), 160, np.uint8)
    pixels.reshape(-1)[: len(script)] = np.frombuffer(script, np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


class ScriptedAnalyser:
    """Sees what the script says; the 'aligned face' is the name's bytes."""

    model = device = "scripted"
    photos_a_call = 1

    def try_out(self) -> str:
        """Return the name: there is nothing to try."""
        return self.device

    def analyse(self, picture: Image.Image, size: tuple[int, int]) -> Sequence[tuple[Face, NDArray[np.uint8]]]:
        """Return the scripted people, side by side."""
        script = json.loads(np.asarray(picture).tobytes().split(b"\0", 1)[0])
        people, share = script["people"], 0.8 / max(len(script["people"]), 1)
        boxes = [Box(left=0.1 + share * n, top=0.2, width=share, height=0.6) for n in range(len(people))]
        return [
            (Face(box=box, confidence=0.9, **script["attributes"]), np.frombuffer(name.encode(), np.uint8))
            for name, box in zip(people, boxes, strict=True)
        ]

    def embed(self, aligned: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return one fixed random direction a name; a trailing '~' turns it a little."""
        return np.stack([_direction(face.tobytes()) for face in aligned])


def _direction(name: bytes) -> NDArray[np.float32]:
    person = name.rstrip(b"~")
    vector = _random(person) + 0.5 * (len(name) - len(person)) * _random(name)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _random(seed: bytes) -> NDArray[np.float64]:
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest()))
    return generator.normal(0, _SIDE**-0.5, _SIDE)
