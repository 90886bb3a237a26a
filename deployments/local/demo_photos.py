"""Pictures for demo and tests where the workshop's are not at hand: cut from the one that comes with insightface.

None of it is in this repository. The names are the workshop's, and so are the verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

from selfiegate.errors import WrongInput

WORKSHOP = ("1_happy_face.jpg", "2_sunglass_face.jpg", "3_multiple_faces.jpg", "4_no_face.jpg")
ANOTHER = "selfie-picture.jpeg"

_Box = tuple[int, int, int, int]
_Point = tuple[float, float]

# In pixels of t1.jpg (1280 x 886): six people.
_HAPPY: _Box = (1086, 209, 1270, 465)
_OTHER: _Box = (5, 192, 220, 466)
_OTHERS_EYES: tuple[_Point, _Point] = ((83, 328), (124, 303))
_THREE: _Box = (0, 100, 620, 560)
_ENLARGED = 4
"""How much single faces are enlarged, to a phone's size."""


def draw(folder: Path) -> None:
    """Write the workshop's four photos and its selfie with other people: one, one in sunglasses, three, none, one."""
    group = _group()
    cool = _cut(group, _OTHER)
    _put_sunglasses(cool, [((x - _OTHER[0]) * _ENLARGED, (y - _OTHER[1]) * _ENLARGED) for x, y in _OTHERS_EYES])
    shapes = Image.new("RGB", (640, 480), "lightblue")
    ImageDraw.Draw(shapes).polygon([(80, 400), (320, 80), (560, 400)], fill="darkgreen")
    pictures = (_cut(group, _HAPPY), cool, group.crop(_THREE), shapes, _cut(group, _OTHER))
    for name, picture in zip((*WORKSHOP, ANOTHER), pictures, strict=True):
        picture.save(folder / name, "JPEG", quality=92)


def _group() -> Image.Image:
    insightface = find_spec("insightface")
    if insightface is None or insightface.origin is None:
        raise WrongInput("without --photos, the demo needs the insightface package's own picture")
    return Image.open(Path(insightface.origin).parent / "data" / "images" / "t1.jpg").convert("RGB")


def _cut(group: Image.Image, box: _Box) -> Image.Image:
    size = (box[2] - box[0]) * _ENLARGED, (box[3] - box[1]) * _ENLARGED
    return group.crop(box).resize(size, Image.Resampling.LANCZOS)


def _put_sunglasses(picture: Image.Image, eyes: Sequence[_Point]) -> None:
    """Draw two dark lenses with a bridge and arms, along the line between the eyes."""
    (x1, y1), (x2, y2) = eyes
    distance, turn = math.dist(*eyes), math.atan2(y2 - y1, x2 - x1)

    def at(x: float, y: float) -> _Point:
        """Return a place in eye distances from the point between the eyes."""
        across, down = x * distance, y * distance
        return (
            (x1 + x2) / 2 + across * math.cos(turn) - down * math.sin(turn),
            (y1 + y2) / 2 + across * math.sin(turn) + down * math.cos(turn),
        )

    pen, dark = ImageDraw.Draw(picture), (18, 18, 22)
    for side in (-0.5, 0.5):
        rim = [math.tau * n / 48 for n in range(48)]
        pen.polygon([at(side + 0.42 * math.cos(a), 0.08 + 0.32 * math.sin(a)) for a in rim], fill=dark)
    pen.line([at(-1.25, -0.12), at(-0.85, -0.02), at(0.85, -0.02), at(1.25, -0.12)], dark, width=int(distance / 12))
