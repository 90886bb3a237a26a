"""Who is measured: people of LFW with two photos or more. Training takes people with one photo only."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from benchmarks.disguise.gate import Gate
from benchmarks.lfw import PHOTOS

PEOPLE, PLAIN = 1000, 2000


class Pair(BaseModel):
    """A person, the photo that is enrolled, and the photo that is spoiled."""

    person: str
    first: Path
    second: Path


class Chosen(BaseModel):
    """Who is measured; kept, so that later runs measure the same."""

    model: str
    pairs: list[Pair]
    plain: list[Path]


def chosen(gate: Gate, folder: Path) -> tuple[Chosen, NDArray[np.float32]]:
    """Return who is measured and the embeddings of all first photos; chosen once for each recogniser."""
    told, vectors = folder / "chosen.json", folder / "enrolled.npy"
    if told.exists() and vectors.exists():
        kept = Chosen.model_validate_json(told.read_text())
        if kept.model == gate.model:
            return kept, np.load(vectors)
    print("choosing people and plain photos, once", flush=True)
    people = list(islice(_pairs(gate), PEOPLE))
    new = Chosen(model=gate.model, pairs=people, plain=_plain(gate, [pair.second for pair in people]))
    faces = np.stack([face for pair in people if (face := gate.look(pair.first.read_bytes())[1]) is not None])
    np.save(vectors, faces)
    told.write_text(new.model_dump_json(indent=1))
    return new, faces


def _several() -> list[str]:
    """Name the people with two photos or more, shuffled by a fixed rule, so that the first few stand for all."""
    names = [folder.name for folder in PHOTOS.iterdir() if len(list(folder.glob("*.jpg"))) > 1]
    return sorted(names, key=lambda name: (zlib.crc32(name.encode()), name))


def _photos_of(person: str) -> list[Path]:
    return sorted((PHOTOS / person).glob("*.jpg"))


def _pairs(gate: Gate) -> Iterator[Pair]:
    """Yield people with their first two photos in which one face is found."""
    for person in _several():
        alone = list(islice(filter(gate.alone, _photos_of(person)), 2))
        if len(alone) == 2:
            yield Pair(person=person, first=alone[0], second=alone[1])


def _plain(gate: Gate, seconds: Sequence[Path]) -> list[Path]:
    """Return photos with one face of the same people: these first, then everyone's first photo, second, and so on."""
    known = set(seconds)
    rounds = zip_longest(*map(_photos_of, _several()))
    others = (photo for round_ in rounds for photo in round_ if photo is not None and photo not in known)
    return [*seconds, *islice(filter(gate.alone, others), PLAIN - len(seconds))]
