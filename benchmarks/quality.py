"""How well each attribute tells what it should: `python -m benchmarks.quality [--photos N]`.

Eyewear is held against the labelled folders of `../shared/photos/glasses` (a folder's name is its label).
Sharpness and brightness are held against the same faces spoiled on purpose: blurred, under- and overexposed.
The whole policy is run over LFW photos with one face; every refusal goes onto a contact sheet, because a
refusal can only be judged by looking. Writes figures.md, roc.png and refused.png below .bench/quality.

The shipped eyewear network was trained on these photos, so its figures here are not held out: those are in
selfiegate/backends/insightface/EYEWEAR.md.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from benchmarks.lfw import PHOTOS as LFW
from selfiegate.backends.insightface import geometry
from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
from selfiegate.decoding.decode import decode
from selfiegate.face import Face
from selfiegate.model import Detection
from selfiegate.policy import Judgement, judge
from selfiegate.settings import Settings, load_settings

mpl.use("Agg")
from matplotlib import pyplot as plt

OUT = Path(".bench/quality")
GLASSES = LFW.parent / "glasses"
LABELS = {"sunglasses": "sunglasses", "clear_glasses": "clear", "none": "bare", "open": "bare"}
"""Folder name to what is worn; other folders are not clear enough to score."""

SPECTACLED = {"ch4f", "choon", "saavik"}
"""CMU's people who wear spectacles in the photos of their open eyes."""

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]
"""An attribute's values on faces that should be refused, and on faces that should pass."""


def main() -> None:
    """Measure, plot and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=2000, help="LFW photos to run the policy over")
    count = parser.parse_args().photos
    OUT.mkdir(parents=True, exist_ok=True)
    settings = load_settings()
    analyser = InsightFaceAnalyser(settings.insightface)
    rules = settings.rules
    curves = {
        f"sunglasses > {rules.max_sunglasses:g}": (_eyewear(analyser, settings, "sunglasses"), rules.max_sunglasses),
        "eyeglasses > 0.5 (not refused)": (_eyewear(analyser, settings, "eyeglasses"), 0.5),
        **_spoiled(analyser, settings),
    }
    _plot({name: scores for name, (scores, _) in curves.items()})
    tables = [_confusion(curves), _policy(analyser, settings, count), _cost(analyser, settings)]
    (OUT / "figures.md").write_text("\n\n".join(tables) + "\n")
    print("\n\n".join(tables))


def _faces(analyser: InsightFaceAnalyser, settings: Settings, files: Iterable[Path]) -> Iterator[tuple[Path, Face]]:
    for file in files:
        detection = _detect(analyser, settings, file.read_bytes())
        if detection.faces:
            yield file, detection.faces[0]


def _detect(analyser: InsightFaceAnalyser, settings: Settings, data: bytes) -> Detection:
    picture, size = decode(data, settings.photos.model_copy(update={"min_side": 1}), settings.photos.working_side)
    return Detection(faces=tuple(face for face, _ in analyser.analyse(picture, size)))


def _eyewear(analyser: InsightFaceAnalyser, settings: Settings, attribute: str) -> Scores:
    wanted = {"sunglasses": "sunglasses", "eyeglasses": "clear"}[attribute]
    values: dict[bool, list[float]] = {True: [], False: []}
    files = (file for file in sorted(GLASSES.rglob("*.jp*g")) if file.parent.name in LABELS)
    for file, face in _faces(analyser, settings, files):
        spectacled = file.parent.name == "open" and file.stem.split("_")[0] in SPECTACLED
        worn = "clear" if spectacled else LABELS[file.parent.name]
        if (value := getattr(face, attribute)) is not None:
            values[worn == wanted].append(value)
    return np.array(values[True]), np.array(values[False])


def _spoiled(analyser: InsightFaceAnalyser, settings: Settings) -> dict[str, tuple[Scores, float]]:
    aligned = []
    for file in sorted(LFW.glob("*/*_0001.jpg"))[::20]:
        picture, size = decode(file.read_bytes(), settings.photos, settings.photos.working_side)
        aligned += [face for _, face in analyser.analyse(picture, size)[:1]]
    rules = settings.rules
    sharp, bright = geometry.sharpness, geometry.brightness

    def scores(measure: Callable[[NDArray[np.uint8]], float], spoil: Callable[[Image.Image], Image.Image]) -> Scores:
        spoiled = [measure(np.asarray(spoil(Image.fromarray(face)))) for face in aligned]
        return np.array(spoiled), np.array([measure(face) for face in aligned])

    def negated(found: Scores) -> Scores:
        return -found[0], -found[1]

    blur = ImageFilter.GaussianBlur(2)  # pixels of the aligned face, whose eyes are 35 apart
    return {
        f"sharpness < {rules.min_sharpness:g} (blur of 2 px)": (
            negated(scores(sharp, lambda face: face.filter(blur))), -rules.min_sharpness
        ),
        f"brightness < {rules.min_brightness:g} (2 stops under)": (
            negated(scores(bright, lambda face: ImageEnhance.Brightness(face).enhance(2**-2))), -rules.min_brightness
        ),
        f"brightness > {rules.max_brightness:g} (1.5 stops over)": (
            scores(bright, lambda face: ImageEnhance.Brightness(face).enhance(2**1.5)), rules.max_brightness
        ),
    }  # fmt: skip


def _rates(scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    limits = np.sort(np.concatenate([*scores, [-np.inf, np.inf]]))[::-1]
    found, wrong = ((values[:, None] > limits).mean(axis=0) for values in scores)
    return wrong, found


def _plot(curves: dict[str, Scores]) -> None:
    figure, axes = plt.subplots(figsize=(7, 6))
    for name, scores in curves.items():
        wrong, found = _rates(scores)
        axes.plot(wrong, found, label=f"{name}, area {np.trapezoid(found, wrong):.4f}")
    axes.set(
        xlabel="passed faces refused (share)", ylabel="bad faces refused (share)", xlim=(-0.01, 0.3), ylim=(0.7, 1.01)
    )
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(OUT / "roc.png", dpi=120, bbox_inches="tight")


def _confusion(curves: dict[str, tuple[Scores, float]]) -> str:
    lines = ["| refused when | bad faces refused | good faces refused | area under ROC |", "|---|---:|---:|---:|"]
    for name, ((bad, good), limit) in curves.items():
        wrong, found = _rates((bad, good))
        lines.append(
            f"| {name} | {(bad > limit).sum()} of {len(bad)} ({(bad > limit).mean():.1%}) "
            f"| {(good > limit).sum()} of {len(good)} ({(good > limit).mean():.2%}) "
            f"| {np.trapezoid(found, wrong):.4f} |"
        )
    return "\n".join(lines)


def _policy(analyser: InsightFaceAnalyser, settings: Settings, count: int) -> str:
    files = sorted(LFW.glob("*/*.jpg"))
    files = files[:: max(1, len(files) // count)][:count]
    refused: list[tuple[Path, Judgement]] = []
    single = 0
    for file in files:
        detection = _detect(analyser, settings, file.read_bytes())
        if len(detection.faces) == 1:
            single += 1
            judgement = judge(detection, settings.rules)
            refused += [(file, judgement)] if judgement.reasons else []
    _contact_sheet(refused)
    reasons = Counter(str(reason.code) for _, judgement in refused for reason in judgement.reasons)
    lines = [
        f"{single} of {len(files)} LFW photos have one face; "
        f"the policy refuses {len(refused)} ({len(refused) / single:.1%}):"
    ]
    return "\n".join(
        [*lines, "", "| reason | photos |", "|---|---:|", *(f"| {code} | {n} |" for code, n in reasons.most_common())]
    )


def _contact_sheet(refused: list[tuple[Path, Judgement]], side: int = 150, across: int = 10) -> None:
    rows = -(-len(refused) // across)
    sheet = Image.new("RGB", (across * side, max(rows, 1) * (side + 24)), "white")
    draw = ImageDraw.Draw(sheet)
    for n, (file, judgement) in enumerate(refused):
        x, y = n % across * side, n // across * (side + 24)
        sheet.paste(Image.open(io.BytesIO(file.read_bytes())).resize((side, side)), (x, y))
        failed = [check for check in judgement.checks if not check.passed]
        draw.text((x + 2, y + side), ", ".join(f"{c.name.split(',')[0]} {c.value:.3g}" for c in failed)[:26], "black")
        draw.text((x + 2, y + side + 11), file.stem[:26], "grey")
    sheet.save(OUT / "refused.png")


def _cost(analyser: InsightFaceAnalyser, settings: Settings) -> str:
    """Time each part alone on the same faces; on one thread where SELFIEGATE_INSIGHTFACE__THREADS is 1."""
    times: dict[str, list[float]] = {"detection": [], "attributes": [], "recognition": []}
    for file in sorted(LFW.glob("*/*_0001.jpg"))[:200]:
        picture, size = decode(file.read_bytes(), settings.photos, settings.photos.working_side)
        began = time.perf_counter()
        boxes, landmarks = analyser.locate(picture)
        located = time.perf_counter()
        found = analyser.describe(picture, size, boxes[:1], landmarks[:1])
        described = time.perf_counter()
        analyser.embed([aligned for _, aligned in found])
        embedded = time.perf_counter()
        for name, seconds in zip(times, (located - began, described - located, embedded - described), strict=True):
            times[name].append(1000 * seconds)
    lines = ["| part | median per photo | share |", "|---|---:|---:|"]
    total = sum(np.median(ms) for ms in times.values())
    lines += [f"| {name} | {np.median(ms):.2f} ms | {np.median(ms) / total:.1%} |" for name, ms in times.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
