"""Spoils, uploads and compares: one line for each photo version, kept below .bench/disguise."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from benchmarks.disguise.catalogue import DISGUISES, STRENGTHS, picture, pixels, spoiled
from benchmarks.disguise.gate import Gate
from benchmarks.disguise.people import pairs, plain
from selfiegate.model import Detection
from selfiegate.settings import load_settings

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

    def __init__(self, enrolled: Enrolled) -> None:
        self.gate, self._enrolled = Gate(load_settings()), enrolled

    def versions(self, person: str, photo: Path) -> list[Seen]:
        """Look at a photo as it is, and in every disguise."""
        data = photo.read_bytes()
        values, face = pixels(Image.open(io.BytesIO(data))), self.gate.look(data)[0].faces[0]
        landmarks = np.array(face.landmarks) * (values.shape[1], values.shape[0])
        found = [self.seen(person, photo, AS_IS, "", upload(picture(values)))]
        for name in DISGUISES:
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


def _start(enrolled: Enrolled) -> None:
    _tester.append(Tester(enrolled))


def _versions(job: tuple[str, Path]) -> list[Seen]:
    return _tester[0].versions(*job)


def _plain(photo: Path) -> list[Seen]:
    return [_tester[0].seen(photo.parent.name, photo, PLAIN, "", photo.read_bytes())]


def measure(wanted: int, plain_photos: int, processes: int) -> list[Seen]:
    """Enrol everyone's first photo, then look at the second in every disguise, and at plain photos."""
    began = time.monotonic()
    gate = Gate(load_settings())
    people = list(pairs(gate, wanted))
    faces = [gate.look(first.read_bytes())[1] for _, first, _ in people]
    enrolled = Enrolled([person for person, _, _ in people], np.stack([face for face in faces if face is not None]))
    photos = plain(gate, [second for _, _, second in people], plain_photos)
    print(f"{len(people)} people, {len(photos)} plain photos; {time.monotonic() - began:.0f} s", flush=True)
    found: list[Seen] = []
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (enrolled,)) as pool:
        spoils = pool.map(_versions, [(person, second) for person, _, second in people], chunksize=2)
        for lines in _shown(spoils, len(people), began):
            found += lines
        for lines in pool.map(_plain, photos, chunksize=20):
            found += lines
    firsts = {first for _, first, _ in people}
    return [one.model_copy(update={"own": None}) if one.photo in firsts else one for one in found]


def _shown(parts: Iterable[list[Seen]], count: int, began: float) -> Iterator[list[Seen]]:
    for n, part in enumerate(parts, 1):
        if n % 10 == 0 or n == count:
            print(f"\r{n} of {count} people, {time.monotonic() - began:.0f} s ", end="", flush=True)
        yield part
    print()


def write(found: Iterable[Seen], file: Path) -> None:
    """Keep what was seen."""
    with gzip.open(file, "wt") as out:
        out.writelines(one.model_dump_json() + "\n" for one in found)


def read(file: Path) -> list[Seen]:
    """Return what was kept."""
    with gzip.open(file, "rt") as lines:
        return [Seen.model_validate_json(line) for line in lines]
