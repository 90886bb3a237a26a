"""Who is measured: people of LFW with two photos or more. Training takes people with one photo only."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path

from benchmarks.disguise.gate import Gate
from benchmarks.lfw import PHOTOS


def several() -> list[str]:
    """Name the people with two photos or more, shuffled by a fixed rule, so that the first few stand for all."""
    names = [folder.name for folder in PHOTOS.iterdir() if len(list(folder.glob("*.jpg"))) > 1]
    return sorted(names, key=lambda name: (zlib.crc32(name.encode()), name))


def photos_of(person: str) -> list[Path]:
    """Return a person's photos in the order of their numbers."""
    return sorted((PHOTOS / person).glob("*.jpg"))


def pairs(gate: Gate, wanted: int) -> Iterator[tuple[str, Path, Path]]:
    """Yield people with their first two photos in which one face is found: one to enrol, one to spoil."""
    found = 0
    for person in several():
        alone = [photo for photo in photos_of(person)[:10] if gate.alone(photo)][:2]
        if len(alone) == 2:
            yield person, alone[0], alone[1]
            found += 1
        if found == wanted:
            return


def plain(gate: Gate, first: Sequence[Path], wanted: int) -> list[Path]:
    """Return photos with one face of the same people: these first, then everyone's first photo, second, and so on."""
    rounds = zip_longest(*map(photos_of, several()))
    others = (photo for round_ in rounds for photo in round_ if photo is not None and photo not in first)
    return [*first, *islice(filter(gate.alone, others), max(0, wanted - len(first)))][:wanted]
