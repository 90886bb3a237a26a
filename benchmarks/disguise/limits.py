"""What each value's limit would do: which plain photos it costs, and which hidden faces are left.

A limit follows from both: error against discard, as ISO/IEC 29794-1 draws the worth of a quality score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.disguise.measure import AS_IS, PLAIN
from benchmarks.disguise.tables import Judged

COSTS = (0.0025, 0.005, 0.01, 0.02)
"""Shares of plain photos refused that limits are told for."""


@dataclass(frozen=True)
class Limit:
    """A value of a face and its rule."""

    value: str
    check: str
    """The name of its check, as `explain` shows it."""
    least: bool = True
    """Whether lower values are refused, else higher ones."""

    @property
    def name(self) -> str:
        """Say what is refused."""
        return f"{self.value} {'<' if self.least else '>'}"

    def of(self, one: Judged) -> float | None:
        """Return the value, higher is better; None where it is not known."""
        value = getattr(one.seen.detection.faces[0], self.value, None)
        return None if value is None else float(value) if self.least else -float(value)

    def told(self, value: float) -> float:
        """Return a value as the setting has it."""
        return value if self.least else -value


LIMITS = (
    Limit("quality", "quality"),
    Limit("covered", "covered", least=False),
    Limit("eyes_open", "eyes open"),
    Limit("sunglasses", "sunglasses", least=False),
    Limit("sharpness", "sharpness"),
    Limit("brightness", "brightness, least"),
    Limit("brightness", "brightness, most", least=False),
    Limit("eye_distance", "eye distance"),
    Limit("confidence", "confidence"),
)


@dataclass(frozen=True)
class Curve:
    """Plain photos' and other photos' values of one limit, higher is better, and which photos are hidden."""

    limit: Limit
    values: NDArray[np.float64]
    plain: NDArray[np.bool_]
    compared: NDArray[np.bool_]
    """Whether there is a first photo to compare with: it is not this photo."""
    hidden: NDArray[np.bool_]
    disguises: NDArray[np.str_]

    def at(self, cost: float) -> float:
        """Return the limit below which this share of plain photos is."""
        return float(np.quantile(self.values[self.plain], cost, method="lower"))

    def left(self, limit: float) -> float:
        """Return the share that is hidden among photos of this value or better."""
        return float(self.hidden[self.compared & (self.values >= limit)].mean())

    def refused(self, limit: float) -> float:
        """Return the share of plain photos below a limit."""
        return float((self.values[self.plain] < limit).mean())


def curves(all_: Sequence[Judged], alone: bool) -> Iterator[Curve]:
    """Yield a curve for each value that is known: of all photos, or of those that every other rule lets through."""
    single = [one for one in all_ if len(one.seen.detection.faces) == 1]
    for limit in LIMITS:
        kept = single if alone else [one for one in single if _passes_others(one, limit.check)]
        known = [(value, one) for one in kept if (value := limit.of(one)) is not None]
        if any(one.seen.disguise == PLAIN for _, one in known):
            yield Curve(
                limit,
                np.array([value for value, _ in known]),
                np.array([one.seen.disguise == PLAIN for _, one in known]),
                np.array([one.seen.own is not None for _, one in known]),
                np.array([one.seen.own is not None and one.hidden for _, one in known]),
                np.array([one.seen.disguise for _, one in known]),
            )


def _passes_others(one: Judged, check: str) -> bool:
    return all(made.passed for made in one.judgement.checks if made.name != check)


def table(all_: Sequence[Judged]) -> str:
    """Tabulate what each limit would catch of the hidden faces that every other rule lets through, at some costs."""
    lines = [
        "Of photos that every other rule lets through: the limit that refuses this share of plain photos, and the "
        "share of hidden faces that it catches.",
        "",
        "| refused when | " + " | ".join(f"{cost:.2%} of plain" for cost in COSTS) + " | catches most at 1 % |",
        "|---|" + "---:|" * len(COSTS) + "---|",
    ]
    for curve in curves(all_, alone=False):
        hidden = curve.hidden & ~np.isin(curve.disguises, (PLAIN, AS_IS))
        cells = []
        for cost in COSTS:
            caught = hidden & (curve.values < curve.at(cost))
            cells.append(f"{curve.limit.told(curve.at(cost)):.3g}: {caught.sum() / max(1, hidden.sum()):.1%}")
        found = hidden & (curve.values < curve.at(0.01))
        most = Counter(curve.disguises[found].tolist()).most_common(3)
        told = ", ".join(f"{name} {n / max(1, (hidden & (curve.disguises == name)).sum()):.0%}" for name, n in most)
        lines.append(f"| {curve.limit.name} | {' | '.join(cells)} | {told} |")
    return "\n".join(lines)
