"""What the match threshold trades: `python -m benchmarks.duplicates [PICTURE]`, every LFW photo in turn as a new user.

A photo is refused where an enrolled face reaches the threshold, else its face is enrolled. Refusing a person who is
enrolled is right, refusing a new one is wrong; the folders' names tell who is who, and
are wrong themselves in some places.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.lfw import embeddings
from selfiegate.matching import COSINE

THRESHOLDS = (0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55)


def main(picture: Path) -> None:
    """Print and draw both shares for every threshold."""
    rows = [(threshold, *shares(threshold)) for threshold in THRESHOLDS]
    print("threshold   enrolled, refused   new, refused wrongly")
    for threshold, right, wrong in rows:
        print(f"{threshold:9.2f}   {right:17.1%}   {wrong:20.2%}")
    _draw(rows, picture)


def shares(threshold: float) -> tuple[float, float]:
    """Return the shares of refused photos among those of people enrolled before, and of new people."""
    vectors, people = embeddings()
    enrolled, count, names = np.empty_like(vectors), 0, set[str]()
    known: list[bool] = []
    new: list[bool] = []
    for vector, person in zip(vectors, people, strict=True):
        refused = count > 0 and bool((enrolled[:count] @ vector).max() >= threshold)
        (known if person in names else new).append(refused)
        if not refused:
            enrolled[count], count = vector, count + 1
            names.add(person)
    return float(np.mean(known)), float(np.mean(new))


def _draw(rows: list[tuple[float, float, float]], picture: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    thresholds, right, wrong = zip(*rows, strict=True)
    figure, axes = plt.subplots(figsize=(6, 3.6))
    axes.plot(thresholds, [1 - share for share in right], "o-", label="enrolled before, let through")
    axes.plot(thresholds, wrong, "s-", label="new, refused wrongly")
    axes.axvline(COSINE.match, color="grey", linestyle=":", label="default")
    axes.set(xlabel="match threshold (cosine)", ylabel="share of photos", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    print(f"drawn in {picture}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/duplicates.png"))
