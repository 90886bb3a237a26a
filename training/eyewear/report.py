"""Write what the networks said: one row per photo, and the figures of the model card."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfiegate.policy import Rules
from training.eyewear.data import Photo, describe

Scores = NDArray[np.float32]
SUNGLASSES = Rules().max_sunglasses
CURVE = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def write_probabilities(path: Path, photos: list[Photo], scores: Scores, faceless: list[str]) -> None:
    """Write path, source, label and the three probabilities; no probabilities where no face was found."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "source", "label", "p_none", "p_clear", "p_sun"])
        for photo, row in zip(photos, scores, strict=True):
            table.writerow([photo.path, photo.source, photo.kind, *(f"{value:.4f}" for value in row)])
        for name in faceless:
            source, kind, _ = describe(Path(name))
            table.writerow([name, source, kind, "", "", ""])


def write_figures(path: Path, photos: list[Photo], runs: dict[str, Scores], faceless: list[str]) -> None:
    """Write one table per run, rates as shares of the faces found."""
    parts = [f"No face found: {', '.join(faceless)}\n"]
    for name, scores in runs.items():
        parts += [f"## {name}\n", _table(photos, scores), ""]
    parts += ["## threshold, held out by person\n", _curve(photos, next(iter(runs.values()))), ""]
    path.write_text("\n".join(parts))


def _table(photos: list[Photo], scores: Scores) -> str:
    lines = [
        f"| source | kind | n | called none | clear | sunglasses (most likely) | p_sun >= {SUNGLASSES} |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, rows in _groups(photos).items():
        said = np.bincount(scores[rows].argmax(axis=1), minlength=3)
        over = int((scores[rows, 2] >= SUNGLASSES).sum())
        cells = [*group, len(rows), *said, f"{over} ({over / len(rows):.2%})"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _curve(photos: list[Photo], scores: Scores) -> str:
    groups = _groups(photos)
    lines = [
        "| threshold | " + " | ".join(" ".join(group) for group in groups) + " |",
        "|---" * (len(groups) + 1) + "|",
    ]
    for threshold in CURVE:
        rates = [f"{(scores[rows, 2] >= threshold).mean():.2%}" for rows in groups.values()]
        lines.append(f"| {threshold} | " + " | ".join(rates) + " |")
    return "\n".join(lines)


def _groups(photos: list[Photo]) -> dict[tuple[str, str], list[int]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for index, photo in enumerate(photos):
        groups.setdefault((photo.source, photo.kind), []).append(index)
        if photo.label is not None:
            groups.setdefault(("all", photo.kind), []).append(index)
    return dict(sorted(groups.items()))
