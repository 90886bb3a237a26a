"""How well embeddings tell people apart, and boxes meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
FOLDS = 10
PAIRS_A_PERSON = 12


def pairs(people: list[str], rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.intp]]:
    """Return as many pairs (n, 2) of one person as of two, who is one, and each pair's fold of ten, by person."""
    groups: dict[str, list[int]] = {}
    for index, person in enumerate(people):
        groups.setdefault(person, []).append(index)
    several = sorted(person for person, photos in groups.items() if len(photos) > 1)
    rng.shuffle(several)
    same, folds = [], []
    for place, person in enumerate(several):
        every = [(a, b) for a in groups[person] for b in groups[person] if a < b]
        for chosen in rng.permutation(len(every))[:PAIRS_A_PERSON]:
            same.append(every[chosen])
            folds.append(place % FOLDS)
    other = []
    by_fold = [[i for p in several[fold::FOLDS] for i in groups[p]] for fold in range(FOLDS)]
    for fold in folds:
        while people[(pair := rng.choice(by_fold[fold], 2, replace=False))[0]] == people[pair[1]]:
            pass
        other.append(tuple(pair))
    return np.array(same + other), np.arange(2 * len(same)) < len(same), np.array(folds * 2)


def accuracy(cosines: Floats, same: NDArray[np.bool_], folds: NDArray[np.intp]) -> tuple[float, float]:
    """Return mean and spread over ten folds, each judged at the threshold that is best on the other nine."""
    shares = []
    for fold in range(FOLDS):
        rest = folds != fold
        candidates = np.linspace(-0.2, 1, 601)
        right = [((cosines[rest] >= limit) == same[rest]).mean() for limit in candidates]
        shares.append(((cosines[~rest] >= candidates[int(np.argmax(right))]) == same[~rest]).mean())
    return float(np.mean(shares)), float(np.std(shares))


def area_under_curve(same: Floats, other: Floats) -> float:
    """Return the chance that a pair of one person is more alike than a pair of two."""
    below = np.searchsorted(np.sort(other), same, side="left") + np.searchsorted(np.sort(other), same, side="right")
    return float(below.mean() / 2 / len(other))


def accepted(same: Floats, other: Floats, false_rate: float) -> float:
    """Return the share of true pairs above the limit that lets `false_rate` of the false ones through."""
    return float((same > np.quantile(other, 1 - false_rate)).mean())


def overlap(box: Floats, boxes: Floats) -> Floats:
    """Return the intersection over union of one box (4,) with others (n, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:4], boxes[:, 2:4])
    inner = np.clip(high - low, 0, None).prod(axis=1)
    union = (box[2:4] - box[:2]).prod() + (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1) - inner
    return np.asarray(inner / union, np.float32)
