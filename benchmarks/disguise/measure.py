"""Spoils, uploads and compares: one line for each photo version, kept below .bench/disguise."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from benchmarks.disguise.catalogue import STRENGTHS, picture, pixels, spoiled
from benchmarks.disguise.gate import Gate
from benchmarks.disguise.people import Pair, chosen
from selfiegate.model import Detection
from selfiegate.settings import load_settings

CACHE = "seen.jsonl.gz"
AS_IS = "as it is"
PLAIN = "plain"


class Seen(BaseModel):
    """What the gate saw of one version of a photo. A later judgement needs no picture."""

    person: str
    photo: Path
    disguise: str
    strength: str = ""
    own: float | None
    """Cosine with the person's own first photo; None without a face, or where this is the first photo."""
    other: float | None
    """Cosine with the nearest of all other people's first photos."""
    detection: Detection
    landmarks: list[tuple[float, float]] = []
    """Of the photo before it was spoiled, in pixels."""


class Enrolled:
    """Everyone's first face."""

    def __init__(self, people: Sequence[str], faces: NDArray[np.float32]) -> None:
        self._row = {person: row for row, person in enumerate(people)}
        self._faces = faces

    def nearest(self, person: str, face: NDArray[np.float32] | None) -> tuple[float | None, float | None]:
        """Return the cosines with the own face, and with the nearest other."""
        if face is None:
            return None, None
        cosines = self._faces @ face
        row = self._row.get(person)
        own = None if row is None else float(cosines[row])
        if row is not None:
            cosines[row] = -1
        return own, float(cosines.max())


class Tester:
    """Looks at spoiled photos; one in each process."""

    def __init__(self, enrolled: Enrolled, names: Sequence[str]) -> None:
        self.gate, self._enrolled, self._names = Gate(load_settings()), enrolled, names

    def versions(self, person: str, photo: Path) -> list[Seen]:
        """Look at a photo as it is, and in every disguise."""
        data = photo.read_bytes()
        values, face = pixels(Image.open(io.BytesIO(data))), self.gate.look(data)[0].faces[0]
        landmarks = np.array(face.landmarks) * (values.shape[1], values.shape[0])
        found = [self.seen(person, photo, AS_IS, "", upload(picture(values)))]
        for name in self._names:
            for strength, called in enumerate(STRENGTHS):
                data = upload(picture(spoiled(values, landmarks, name, strength, person)))
                found.append(self.seen(person, photo, name, called, data))
        places = [(float(x), float(y)) for x, y in landmarks]
        return [one.model_copy(update={"landmarks": places}) for one in found]

    def seen(self, person: str, photo: Path, disguise: str, strength: str, data: bytes) -> Seen:
        """Look at one upload."""
        detection, face = self.gate.look(data)
        own, other = self._enrolled.nearest(person, face)
        return Seen(
            person=person,
            photo=photo,
            disguise=disguise,
            strength=strength,
            own=own,
            other=other,
            detection=detection,
        )


def upload(image: Image.Image) -> bytes:
    """Encode a picture as phones and browsers do."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=90)
    return data.getvalue()


_tester: list[Tester] = []


def _start(enrolled: Enrolled, names: Sequence[str]) -> None:
    _tester.append(Tester(enrolled, names))


def _versions(pair: Pair) -> list[Seen]:
    return _tester[0].versions(pair.person, pair.second)


def _plain(photo: Path) -> list[Seen]:
    return [_tester[0].seen(photo.parent.name, photo, PLAIN, "", photo.read_bytes())]


def measure(folder: Path, people: int, plain: int, processes: int, names: Sequence[str]) -> None:
    """Enrol everyone's first photo, then look at some people's second in the disguises, and at plain photos.

    What was seen is written as it comes: what a run that was ended has left can be judged, too.
    """
    began = time.monotonic()
    who, faces = chosen(Gate(load_settings()), folder)
    enrolled = Enrolled([pair.person for pair in who.pairs], faces)
    firsts = {pair.first for pair in who.pairs}
    print(f"{len(who.pairs)} people enrolled; {time.monotonic() - began:.0f} s", flush=True)
    context = get_context("spawn")
    with (
        gzip.open(folder / CACHE, "wt") as out,
        ProcessPoolExecutor(processes, context, _start, (enrolled, names)) as pool,
    ):
        plain_ = pool.map(_plain, who.plain[:plain], chunksize=10)
        spoiled_ = pool.map(_versions, who.pairs[:people])
        for n, ones in enumerate(chain(plain_, spoiled_), 1):
            # A first photo is compared with itself.
            kept = [one.model_copy(update={"own": None}) if one.photo in firsts else one for one in ones]
            out.writelines(one.model_dump_json() + "\n" for one in kept)
            out.flush()
            if n % 10 == 0:
                told = f"{min(n, plain)} plain photos, {max(0, n - plain)} of {people} people"
                print(f"\r{told}, {time.monotonic() - began:.0f} s ", end="", flush=True)
    print()


def read(folder: Path) -> list[Seen]:
    """Return what was seen, as far as it was written."""
    found = []
    with suppress(EOFError), gzip.open(folder / CACHE, "rt") as lines:
        for line in lines:
            found.append(Seen.model_validate_json(line))  # noqa: PERF401  what came before the end is kept
    return found
