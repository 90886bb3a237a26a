"""What becomes of photos that are stored turned: `python -m benchmarks.turned [--turned N] [--upright N]`.

Stores photos of LFW by a quarter turn, by two and by three, without EXIF, and compares what becomes of them with what
becomes of the upright ones. Then looks for upright photos that are taken for turned, and what looking costs.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.lfw import PHOTOS as LFW
from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
from selfiegate.backends.insightface.orientation import UPRIGHT, quarter_turn
from selfiegate.decoding.decode import decode, turned
from selfiegate.model import Detection
from selfiegate.policy import judge
from selfiegate.settings import Settings, load_settings
from selfiegate.thumbnails import render


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turned", type=int, default=300, help="photos to turn")
    parser.add_argument("--upright", type=int, default=1000, help="photos that nobody turned")
    given, settings = parser.parse_args(), load_settings()
    analyser = InsightFaceAnalyser(settings.insightface)
    print(_turned(analyser, settings, given.turned), _wrongly_turned(analyser, settings, given.upright), sep="\n\n")


class _Judged(NamedTuple):
    usable: bool
    turned: int
    embedding: NDArray[np.float32]
    thumbnail: NDArray[np.float32]


def _judged(analyser: InsightFaceAnalyser, settings: Settings, data: bytes) -> _Judged | None:
    picture, size = decode(data, settings.photos, settings.photos.working_side)
    found = analyser.analyse(picture, size)
    if not found:
        return None
    face, aligned = found[0]
    judgement = judge(Detection(faces=tuple(face for face, _ in found)), settings.rules)
    small = render(data, face, settings.thumbnails, settings.photos)["250x250"]
    pixels = np.asarray(Image.open(io.BytesIO(small)), np.float32)
    return _Judged(not judgement.reasons, face.turned, analyser.embed([aligned])[0], pixels)


def _turned(analyser: InsightFaceAnalyser, settings: Settings, count: int) -> str:
    files = sorted(LFW.glob("*/*.jpg"))
    files = files[:: max(1, len(files) // count)][:count]
    upright = [_judged(analyser, settings, file.read_bytes()) for file in files]
    usable = [(file, one) for file, one in zip(files, upright, strict=True) if one and one.usable]
    lines = [
        f"{len(usable)} of {len(files)} photos are usable as they are. The same, turned and stored without EXIF:",
        "",
        "| turned clockwise | usable | set upright | cosine to the upright face: least, median | thumbnail upright |",
        "|---|---:|---:|---:|---:|",
    ]
    for degrees in (90, 180, 270):
        pairs = [(before, _judged(analyser, settings, _stored(file, degrees))) for file, before in usable]
        found = [(before, after) for before, after in pairs if after]
        same = [after for _, after in found if after.usable]
        right = [after for _, after in found if after.turned == 360 - degrees]
        cosines = [float(before.embedding @ after.embedding) for before, after in found if after.usable]
        drawn = [np.abs(before.thumbnail - after.thumbnail).mean() < 5 for before, after in found if after.usable]
        lines.append(
            f"| {degrees}° | {len(same)} ({len(same) / len(usable):.1%}) | {len(right)} "
            f"| {min(cosines):.3f}, {np.median(cosines):.3f} | {sum(drawn)} of {len(drawn)} |"
        )
    return "\n".join(lines)


def _stored(file: Path, degrees: int) -> bytes:
    out = io.BytesIO()
    turned(Image.open(file), degrees).save(out, "JPEG", quality=95)
    return out.getvalue()


def _wrongly_turned(analyser: InsightFaceAnalyser, settings: Settings, count: int) -> str:
    files = sorted(LFW.glob("*/*.jpg"))
    files = files[:: max(1, len(files) // count)][:count]
    times, wrong, unsure = [], [], 0
    for file in files:
        picture, _ = decode(file.read_bytes(), settings.photos, settings.photos.working_side)
        found = analyser.locate(picture)
        began = time.perf_counter()
        turn = quarter_turn(analyser.detector, picture, found)
        times.append(1000 * (time.perf_counter() - began))
        wrong += [file.stem] if turn else []
        unsure += not (found[0][:1, 4] >= UPRIGHT).all()
    return (
        f"Of {len(files)} upright photos {len(wrong)} are taken for turned ({', '.join(wrong) or 'none'}). "
        f"In {unsure} the detector is not sure of the face. "
        f"Looking for the turn takes {np.mean(times):.2f} ms a photo, median {np.median(times):.3f} ms."
    )


if __name__ == "__main__":
    main()
