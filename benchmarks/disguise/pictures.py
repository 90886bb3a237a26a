"""The pictures: samples of the disguises, who is refused, who gets through, and what each limit costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.disguise import limits
from benchmarks.disguise.catalogue import DISGUISES, STRENGTHS, picture, pixels, spoiled
from benchmarks.disguise.measure import AS_IS, Seen
from benchmarks.disguise.tables import Judged

mpl.use("Agg")
from matplotlib import pyplot as plt


def shown(seen: Seen) -> Image.Image:
    """Draw a photo version again."""
    values = pixels(Image.open(seen.photo))
    if seen.disguise not in DISGUISES:
        return picture(values)
    strength = STRENGTHS.index(seen.strength)
    return picture(spoiled(values, np.array(seen.landmarks), seen.disguise, strength, seen.person))


def samples(found: Sequence[Seen], file: Path, people: int = 4, side: int = 170) -> None:
    """Draw every disguise at its three strengths on some people."""
    first = [one for one in found if one.disguise == AS_IS][:people]
    sheet = Image.new("RGB", (len(first) * 3 * side + 110, len(DISGUISES) * side), "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(DISGUISES):
        draw.text((4, row * side + side // 2), name[:18], "black")
        for column, one in enumerate(first):
            for n, strength in enumerate(STRENGTHS):
                drawn = shown(one.model_copy(update={"disguise": name, "strength": strength}))
                drawn.thumbnail((side, side))
                sheet.paste(drawn, (110 + (3 * column + n) * side, row * side))
    sheet.save(file)


def sheet(ones: Sequence[Judged], file: Path, side: int = 150, across: int = 10) -> None:
    """Draw photo versions with their values."""
    rows = max(1, -(-len(ones) // across))
    canvas = Image.new("RGB", (across * side, rows * (side + 36)), "white")
    draw = ImageDraw.Draw(canvas)
    for n, one in enumerate(ones):
        x, y = n % across * side, n // across * (side + 36)
        drawn = shown(one.seen)
        drawn.thumbnail((side, side))
        canvas.paste(drawn, (x, y))
        failed = [check for check in one.judgement.checks if not check.passed]
        told = ", ".join(f"{check.name.split(',')[0]} {check.value:.3g}" for check in failed if check.value is not None)
        lines = (told or _values(one), f"{one.seen.disguise} {one.seen.strength}", one.seen.photo.stem)
        for line, text in enumerate(lines):
            draw.text((x + 2, y + side + 12 * line), text[:25], "black" if line == 0 else "grey")
    canvas.save(file)


def _values(one: Judged) -> str:
    face = one.seen.detection.faces[0]
    known = [("q", "quality"), ("c", "covered"), ("s", "sharpness")]
    told = [f"{short}{value:.2g}" for short, name in known if (value := getattr(face, name, None)) is not None]
    return " ".join([f"own {one.seen.own or 0:.2f}", *told])


def curves(all_: Sequence[Judged], file: Path) -> None:
    """Draw error against discard: for each value alone, plain photos refused, and what is hidden among the others."""
    figure, axes = plt.subplots(figsize=(7.5, 5.5))
    for curve in limits.curves(all_, alone=True):
        steps = [curve.at(cost) for cost in np.linspace(0, 0.1, 51)]
        axes.plot([curve.refused(step) for step in steps], [curve.left(step) for step in steps], label=curve.limit.name)
    axes.set(xlabel="plain photos refused (share)", ylabel="hidden among photos left (share)", ylim=(0, None))
    axes.axvline(0.02, color="grey", linestyle=":")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120, bbox_inches="tight")
