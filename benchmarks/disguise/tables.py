"""The tables: what a disguise is worth, what the rules cost, and what a near miss tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from benchmarks.disguise.measure import AS_IS, PLAIN, Seen
from selfiegate.matching import COSINE, Matching
from selfiegate.policy import Judgement, Rules, judge
from selfiegate.ports import Thresholds


@dataclass(frozen=True)
class Judged:
    """A photo version with its judgement by the present rules."""

    seen: Seen
    judgement: Judgement
    thresholds: Thresholds
    clear_quality: float

    @property
    def hidden(self) -> bool:
        """Whether the own first face is not found; without a face there is nothing to find."""
        return self.seen.own is None or self.seen.own < self.thresholds.match

    @property
    def nearest(self) -> float:
        """Return the cosine with the nearest enrolled face; plain photos count as new people's."""
        own = None if self.seen.disguise == PLAIN else self.seen.own
        return max(-1.0 if cosine is None else cosine for cosine in (own, self.seen.other))

    @property
    def matched(self) -> bool:
        """Whether the rules pass it and an enrolled face counts against it; unclear faces have a lower threshold."""
        if not self.judgement.usable:
            return False
        quality = self.seen.detection.faces[0].quality
        return self.nearest >= self.thresholds.floor(quality is not None and quality < self.clear_quality)

    @property
    def gets_through(self) -> bool:
        """Whether this is a second account."""
        return self.judgement.usable and self.hidden and not self.matched

    @property
    def failed(self) -> list[str]:
        """Return the rules that refuse it; its reasons where no rule was asked, or none was of one face."""
        rules = [check.name for check in self.judgement.checks if not check.passed and check.name != "faces"]
        return rules or [str(reason.code) for reason in self.judgement.reasons]


def judged(found: Iterable[Seen], rules: Rules, matching: Matching) -> list[Judged]:
    """Judge all by the present rules."""
    thresholds = matching.on(COSINE)
    return [Judged(one, judge(one.detection, rules), thresholds, matching.clear_quality) for one in found]


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Return the interval of a share, of 95 % confidence (Wilson 1927)."""
    if not whole:
        return 0.0, 1.0
    z, share = 1.96, part / whole
    middle = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    reach = z / (1 + z * z / whole) * np.sqrt(share * (1 - share) / whole + z * z / (4 * whole**2))
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))


def versions(all_: Sequence[Judged]) -> dict[tuple[str, str], list[Judged]]:
    """Group spoiled photos by disguise and strength, in the order of the catalogue."""
    groups: dict[tuple[str, str], list[Judged]] = {}
    for one in all_:
        if one.seen.disguise != PLAIN:
            groups.setdefault((one.seen.disguise, one.seen.strength), []).append(one)
    return groups


def disguises(all_: Sequence[Judged], wanted: float = 0.03) -> str:
    """Tabulate each disguise and strength; name the rows that let through more than is wanted."""
    lines = [
        "| disguise | strength | hidden | refused | most by | unclear | passes and is hidden | 95 % |  |",
        "|---|---|---:|---:|---|---:|---:|---:|---|",
    ]
    rows: list[tuple[float, str]] = []
    for (name, strength), group in versions(all_).items():
        hidden, refused = (sum(x) for x in zip(*((one.hidden, not one.judgement.usable) for one in group), strict=True))
        through, whole = sum(one.gets_through for one in group), len(group)
        asked = sum(one.hidden and one.matched for one in group)
        codes = Counter(code for one in group for code in one.failed).most_common(2)
        by = ", ".join(f"{code} {n / whole:.0%}" for code, n in codes)
        low, high = wilson(through, whole)
        share = through / whole
        lines.append(
            f"| {name} | {strength} | {hidden / whole:.1%} | {refused / whole:.1%} | {by} | {asked / whole:.1%} "
            f"| {share:.1%} | {low:.1%}-{high:.1%} | {'above' if share > wanted else ''} |"
        )
        rows.append((share, f"{name}, {strength}".rstrip(", ")))
    above = [f"{name} {share:.1%}" for share, name in sorted(rows, reverse=True) if share > wanted]
    worst = max(rows)
    lines += ["", f"Worst: {worst[1]}, {worst[0]:.1%}. Above {wanted:.0%}: {'; '.join(above) or 'none'}."]
    return "\n".join(lines)


def summary(all_: Sequence[Judged]) -> str:
    """Tabulate the same for documents: hidden, and of these what passes, a column for each strength."""
    rows: dict[str, list[str]] = {}
    for (name, _), group in versions(all_).items():
        hidden, through = (
            sum(x) / len(group) for x in zip(*((one.hidden, one.gets_through) for one in group), strict=True)
        )
        rows.setdefault(name, []).append(f"{hidden:.0%}, {through:.1%}")
    lines = ["| hidden, passes and is hidden | weak | middle | strong |", "|---|---:|---:|---:|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join([*cells, '', ''][:3])} |" for name, cells in rows.items())])


def cost(all_: Sequence[Judged]) -> str:
    """Tabulate which plain photos the rules refuse, together and each alone."""
    plain = [one for one in all_ if one.seen.disguise == PLAIN]
    refused = [one for one in plain if not one.judgement.usable]
    low, high = wilson(len(refused), len(plain))
    usable = [one for one in plain if one.judgement.usable and one.nearest < one.thresholds.match]
    asked = sum(one.matched for one in usable)
    lines = [
        f"{len(refused)} of {len(plain)} plain photos are refused: {len(refused) / len(plain):.1%} "
        f"({low:.1%}-{high:.1%}). Of {len(usable)} others that are like nobody else, {asked} are asked for a better "
        f"photo: {asked / max(1, len(usable)):.2%}.",
        "",
        "| rule | plain photos | share | by this rule alone |",
        "|---|---:|---:|---:|",
    ]
    for code, n in Counter(code for one in refused for code in one.failed).most_common():
        alone = sum(one.failed == [code] for one in refused)
        lines.append(f"| {code} | {n} | {n / len(plain):.2%} | {alone / len(plain):.2%} |")
    return "\n".join(lines)


BANDS = (-1.0, 0.2, 0.25, 0.28, 0.3, 0.32, 0.34, 0.36, 0.38, 0.4, 1.01)


def near_misses(all_: Sequence[Judged]) -> str:
    """Tabulate how near accepted photos come to an enrolled face: of new people, and of the hidden."""
    usable = [one for one in all_ if one.judgement.usable and one.seen.other is not None]
    new = [float(one.seen.other or 0) for one in usable if one.seen.disguise == PLAIN]
    hidden = [one for one in usable if one.seen.disguise not in (PLAIN, AS_IS) and one.hidden]
    columns = {
        "plain, new": new,
        "spoiled, all": [float(one.seen.other or 0) for one in usable if one.seen.disguise not in (PLAIN, AS_IS)],
        "hidden: own": [float(one.seen.own or 0) for one in hidden],
        "hidden: nearest": [one.nearest for one in hidden],
    }
    counts = {name: np.histogram(values, BANDS)[0] for name, values in columns.items()}
    heads = [f"{name} ({len(values)})" for name, values in columns.items()]
    lines = [f"| cosine | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for n, (low, high) in enumerate(pairwise(BANDS)):
        shares = " | ".join(f"{count[n] / max(1, count.sum()):.2%}" for count in counts.values())
        lines.append(f"| {max(low, 0):.2f} to {min(high, 1):.2f} | {shares} |")
    return "\n".join(lines)


def unclear(all_: Sequence[Judged], value: str = "quality") -> str:
    """Tabulate who is asked for a better photo: nearest face from `unclear_threshold`, quality below `clear_quality`.

    New people: the nearest of the other people's faces counts. Hidden: the own face counts too. Unknown quality counts
    as low here, so that the thresholds can be told without.
    """
    usable = [one for one in all_ if one.judgement.usable and one.seen.other is not None]
    new = [one for one in usable if one.seen.disguise == PLAIN and one.nearest < one.thresholds.match]
    hidden = [one for one in usable if one.seen.disguise not in (PLAIN, AS_IS) and one.hidden]
    near_new = np.array([float(one.seen.other or 0) for one in new])
    near_hidden = np.array([one.nearest for one in hidden])
    good_new, good_hidden = (np.array([_value(one, value) for one in group]) for group in (new, hidden))
    qualities = (40.0, 50.0, 60.0, 70.0, 80.0, np.inf)
    lines = [
        f"New people asked / hidden caught, of {len(new)} and {len(hidden)}:",
        "",
        "| unclear_threshold | " + " | ".join(f"{value} < {q:g}" for q in qualities) + " |",
        "|---|" + "---:|" * len(qualities),
    ]
    rows: dict[float, list[str]] = {}
    for threshold, quality in product((0.28, 0.30, 0.32, 0.34, 0.36, 0.38), qualities):
        asked = ((near_new >= threshold) & (good_new < quality)).mean() if len(new) else 0.0
        caught = ((near_hidden >= threshold) & (good_hidden < quality)).mean() if len(hidden) else 0.0
        rows.setdefault(threshold, []).append(f"{asked:.2%} / {caught:.1%}")
    return "\n".join([*lines, *(f"| {threshold:.2f} | {' | '.join(row)} |" for threshold, row in rows.items())])


def _value(one: Judged, name: str) -> float:
    value = getattr(one.seen.detection.faces[0], name, None)
    return -1.0 if value is None else float(value)
