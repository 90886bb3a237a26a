"""What passes the gate without being a face before a camera: `python -m benchmarks.presentation [--photos N]`.

Photos of LFW are shown again as a print, as a screen and as a cartoon, and faces are drawn that are nobody's. The
first two are simulated: no camera was at hand. Nothing here is a promise. selfiegate checks no liveness; this says how
little its rules do instead.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.disguise.gate import Gate
from benchmarks.disguise.people import chosen
from selfiegate.matching import COSINE
from selfiegate.policy import judge
from selfiegate.settings import load_settings

Pixels = NDArray[np.uint8]
Rng = np.random.Generator


def main() -> None:
    """Show, look, count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=300)
    count = parser.parse_args().photos
    settings = load_settings()
    gate = Gate(settings)
    folder = Path(".bench/disguise")
    folder.mkdir(parents=True, exist_ok=True)
    pairs = chosen(gate, folder)[0].pairs[:count]
    print("| shown | one face found | passes the rules | passes, and is known as the person |\n|---|---:|---:|---:|")
    for name, show in SHOWN.items():
        rng, found, passed, known = np.random.default_rng(0), 0, 0, 0
        for pair in pairs:
            own = gate.look(pair.first.read_bytes())[1]
            shown = show(np.asarray(Image.open(pair.second).convert("RGB")), rng)
            file = io.BytesIO()
            Image.fromarray(shown).save(file, "JPEG", quality=90)
            detection, face = gate.look(file.getvalue())
            usable = judge(detection, settings.rules).usable
            found += len(detection.faces) == 1
            passed += usable
            same = own is not None and face is not None and float(own @ face) >= settings.matching.on(COSINE).match
            known += usable and same
        cells = " | ".join(f"{value / len(pairs):.0%}" for value in (found, passed, known))
        print(f"| {name} | {cells} |", flush=True)


def as_it_is(photo: Pixels, rng: Rng) -> Pixels:
    """Change nothing."""
    return photo


def on_screen(photo: Pixels, rng: Rng) -> Pixels:
    """Show a photo on a grid of red, green and blue stripes, a little askew: with moiré, glare and dull blacks."""
    big = cv2.resize(photo, (750, 750), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    stripes = np.full((1, 3, 3), 0.35, np.float32) + 0.65 * np.eye(3, dtype=np.float32)[None]
    grid = np.tile(stripes, (750, 250, 1))
    grid[::3] *= 0.6
    seen = 12 + big * grid * 1.5
    glare = np.exp(-((np.mgrid[:750, :750] - rng.uniform(0, 750, (2, 1, 1))) ** 2).sum(axis=0) / 30000)
    return _askew(seen + 70 * glare[..., None], rng)


def in_print(photo: Pixels, rng: Rng) -> Pixels:
    """Print a photo in dots of four sizes on warm paper, taken a little askew."""
    big = cv2.resize(photo, (1000, 1000), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    y, x = np.mgrid[:1000, :1000].astype(np.float32)
    layers = []
    for channel, angle in enumerate((0.26, 1.31, 0.0)):
        u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        screen = (np.sin(2 * np.pi * u / 4) * np.sin(2 * np.pi * v / 4) + 1) / 2
        layers.append(255 / (1 + np.exp(-10 * (big[..., channel] / 255 - 0.15 - 0.7 * screen))))
    return _askew(np.stack(layers, -1) * np.array([0.96, 0.93, 0.86]) + 8, rng)


def as_cartoon(photo: Pixels, rng: Rng) -> Pixels:
    """Flatten colours and draw edges, as a phone's filter does."""
    flat = photo
    for _ in range(4):
        flat = np.asarray(cv2.bilateralFilter(flat, 9, 40, 7), np.uint8)
    grey = cv2.medianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 5)
    edges = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 4)
    return np.asarray((flat // 24 * 24 + 12) * (edges[..., None] > 0), np.uint8)


def drawn(photo: Pixels, rng: Rng) -> Pixels:
    """Draw a face of ellipses and lines; the photo gives nothing but its size."""
    side = 500
    picture = Image.new("RGB", (side, side), tuple(int(value) for value in rng.integers(120, 255, 3)))
    draw = ImageDraw.Draw(picture)
    x, y, wide, high = side / 2, side / 2, rng.uniform(110, 150), rng.uniform(150, 190)
    skin = tuple(int(value) for value in np.array([235, 195, 165]) * rng.uniform(0.5, 1.05))
    draw.ellipse((x - wide * 1.1, y - high * 1.25, x + wide * 1.1, y + high * 0.4), fill=(60, 40, 30))
    draw.ellipse((x - wide, y - high, x + wide, y + high), fill=skin, outline=(90, 60, 50), width=2)
    for side_of in (-1, 1):
        eye = x + side_of * wide * 0.42
        draw.ellipse((eye - 26, y - 50, eye + 26, y - 22), fill="white", outline="black", width=2)
        draw.ellipse((eye - 11, y - 48, eye + 11, y - 24), fill=(70, 50, 30))
        draw.arc((eye - 34, y - 84, eye + 34, y - 50), 200, 340, fill=(50, 35, 30), width=6)
    draw.line((x, y - 30, x - 14, y + 30, x + 8, y + 34), fill=(120, 80, 70), width=4)
    draw.chord((x - 48, y + 50, x + 48, y + 100), 0, 180, fill=(180, 60, 70), outline=(110, 40, 50))
    return np.asarray(picture, np.uint8)


def _askew(picture: NDArray[np.float32], rng: Rng) -> Pixels:
    side = picture.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    moved = (corners + rng.normal(0, 0.025 * side, corners.shape)).astype(np.float32)
    turned = cv2.warpPerspective(picture, cv2.getPerspectiveTransform(corners, moved), (side, side))
    small = cv2.resize(cv2.GaussianBlur(turned, (0, 0), 0.8), (480, 480), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small + rng.normal(0, 3, small.shape), 0, 255).astype(np.uint8))


SHOWN: dict[str, Callable[[Pixels, Rng], Pixels]] = {
    "the second photo as it is": as_it_is,
    "on a screen": on_screen,
    "in print": in_print,
    "as a cartoon": as_cartoon,
    "nobody, drawn of ellipses": drawn,
}


if __name__ == "__main__":
    main()
