"""Draw what hides a face: masks, scarves, hands, phones, hair, and things that lie near a face without hiding it.

Lengths are in eye distances, from the point between the eyes. Each drawing returns what is seen and how much of each
pixel is hidden; labels follow from the second (`labels`), so that a hand on a cheek teaches what a mask is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from training.covering.cloth import cloth, pleats, shaded
from training.eyewear.draw import Image, Points, Pose, Rng, cover, stroke

Layer = tuple[Image, Image]
"""Colours (height, width, 3), 0..255, and how much they hide (height, width, 1), 0..1."""

PARTS = ("eyes", "nose", "mouth")
HIDDEN, SHOWN = 0.6, 0.25
"""A part is covered where this share of it is hidden; shown below the other; between them nobody asks."""

_TRIES, _LITTLE = 5, (0.04, 0.35)
"""How often a drawing is tried, and the share of a face that one at its edge hides."""

_NOSE, _MOUTH = 0.57, 1.155
"""How far below the eyes nose tip and mouth lie in ArcFace's template."""


def labels(pose: Pose, hidden: Image) -> list[int]:
    """Say for eyes, nose and mouth whether they are covered: 1, 0, or -1 where that is open to argument.

    One hidden eye is enough: a face is compared by both.
    """
    places = {
        "left": ((-0.5, 0.0), (0.24, 0.13)),
        "right": ((0.5, 0.0), (0.24, 0.13)),
        "nose": ((0.45 * pose.turn, _NOSE - 0.08), (0.2, 0.2)),
        "mouth": ((0.0, _MOUTH), (0.36, 0.16)),
    }
    share = {name: _share(pose, hidden, *place) for name, place in places.items()}
    eyes = max(share["left"], share["right"])
    return [1 if part >= HIDDEN else 0 if part <= SHOWN else -1 for part in (eyes, share["nose"], share["mouth"])]


def _share(pose: Pose, hidden: Image, spot: tuple[float, float], size: tuple[float, float]) -> float:
    region = cover(hidden.shape, pose.place(_ring(*size) + np.array(spot)))
    return float((hidden * region).sum() / max(float(region.sum()), 1e-6))


class Mask(NamedTuple):
    """Where a mask lies: what it hides, its outline in pixels, and in eye distances its top, sides, width and chin."""

    hidden: Image
    outline: Points
    top: float
    side: float
    wide: float
    chin: float


def mask_of(image: Image, pose: Pose, rng: Rng, high: float | None = None) -> Mask:
    """Choose a mask's shape: from the bridge of the nose or lower, down to the chin."""
    top = rng.choice([rng.uniform(0.12, 0.5), rng.uniform(0.78, 1.0), rng.uniform(1.45, 1.75)], p=[0.84, 0.09, 0.07])
    top = top if high is None else high
    side = top + rng.uniform(0.0, 0.35)
    wide, jaw, chin = rng.uniform(0.95, 1.3), rng.uniform(0.7, 1.05), rng.uniform(1.75, 2.3)
    shift = 0.35 * pose.turn
    outline = np.array(
        [
            [-wide, side], [-0.45, top + 0.3 * (side - top)], [shift, top], [0.45, top + 0.3 * (side - top)],
            [wide, side], [wide * 0.98, (side + chin) / 2], [jaw, chin - 0.25], [0.35, chin], [-0.35, chin],
            [-jaw, chin - 0.25], [-wide * 0.98, (side + chin) / 2],
        ]
    )  # fmt: skip
    shape = pose.place(_smooth(outline + rng.normal(0, 0.03, outline.shape)))
    return Mask(cover(image.shape, shape), shape, top, side, wide, chin)


def mask(image: Image, pose: Pose, scene: Image, rng: Rng) -> Layer:
    """A face mask; some hang under the nose or the chin."""
    worn = mask_of(image, pose, rng)
    colours = shaded(image, cloth(image, scene, rng), worn.hidden, pose, rng)
    if rng.random() < 0.5:
        colours = pleats(colours, pose, worn.top, worn.chin, rng)
    return hang(colours, worn, pose, rng)


def hang(colours: Image, worn: Mask, pose: Pose, rng: Rng) -> Layer:
    """Add the loops that reach to the ears; a few masks are thin."""
    hidden, tone = worn.hidden, rng.uniform(150, 255) if rng.random() < 0.7 else rng.uniform(20, 230, 3)
    if rng.random() < 0.6:
        for side_of in (-1, 1):
            loop = np.array(
                [[side_of * worn.wide, worn.side + 0.1], [side_of * (worn.wide + 0.5), rng.uniform(-0.1, 0.4)]]
            )
            line = stroke(colours.shape, pose.place(loop), rng.uniform(1, 3), closed=False)
            colours, hidden = colours * (1 - line) + line * tone, np.maximum(hidden, line)
    return colours, hidden * (1.0 if rng.random() < 0.95 else rng.uniform(0.85, 1.0))


def scarf(image: Image, pose: Pose, scene: Image, rng: Rng) -> Layer:
    """A scarf, collar or veil: all below a wavy edge."""
    x = np.linspace(-2.6, 2.6, 14)
    top = rng.choice([rng.uniform(0.1, 0.65), rng.uniform(0.75, 1.05), rng.uniform(1.5, 1.9)], p=[0.7, 0.15, 0.15])
    edge = np.stack([x, top + rng.uniform(-0.15, 0.25) * x**2 / 2 + rng.normal(0, 0.06, 14)], 1)
    hidden = cover(image.shape, pose.place(np.concatenate([_smooth(edge, False), [[2.6, 4.0], [-2.6, 4.0]]])))
    colours = shaded(image, cloth(image, scene, rng), hidden, pose, rng)
    for _ in range(rng.integers(0, 6)):
        fold = np.stack([x, rng.uniform(top, top + 2) + rng.normal(0, 0.05, 14) + rng.normal(0, 0.15) * x], 1)
        line = cv2.GaussianBlur(stroke(image.shape, pose.place(fold), rng.uniform(2, 8), False), (0, 0), 2)[..., None]
        colours = colours * (1 - line * rng.uniform(0.1, 0.4))
    return colours, hidden


def hand(image: Image, pose: Pose, scene: Image, rng: Rng) -> Layer:
    """Fingers, or a hand and its fingers, in a skin's colour, from below or from a side."""
    skin = _skin(image if rng.random() < 0.7 else scene, pose, rng)
    aim = np.array(
        [rng.uniform(-1.1, 1.1), rng.choice([rng.uniform(0.3, 1.5), rng.uniform(-0.5, 0.3)], p=[0.75, 0.25])]
    )
    angle = rng.choice([np.pi / 2, rng.uniform(-0.5, 3.6)]) + rng.normal(0, 0.25)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    hidden = np.zeros((*image.shape[:2], 1), np.float32)
    colours = np.zeros((*image.shape[:2], 3), np.float32) + skin
    fingers, width = int(rng.integers(1, 6)), rng.uniform(0.22, 0.36)
    scale = float(np.linalg.norm(pose.down))
    for finger in range(fingers):
        offset = (finger - (fingers - 1) / 2) * width * rng.uniform(0.9, 1.15)
        tip = aim + across * offset - along * rng.uniform(0, 0.3)
        bend = tip + along * rng.uniform(0.5, 0.9) + across * rng.normal(0, 0.06)
        line = np.stack([tip, bend, bend + along * 2.5])
        shape = stroke(image.shape, pose.place(_smooth(line, False)), width * scale, closed=False)
        rim = cv2.GaussianBlur(shape, (0, 0), 0.12 * width * scale + 0.5)[..., None]
        colours = colours * (1 - shape) + (skin * (0.55 + 0.5 * rim**2) * rng.uniform(0.93, 1.05)) * shape
        hidden = np.maximum(hidden, shape)
        nail = cover(image.shape, pose.place(_ring(0.07, 0.09) + tip + along * 0.1))
        if rng.random() < 0.4:
            colours = colours * (1 - 0.5 * nail) + 0.5 * nail * rng.uniform(120, 255, 3)
    if fingers >= 3 and rng.random() < 0.7:
        palm = cover(image.shape, pose.place(_ring(0.75, 0.8) + aim + along * rng.uniform(0.7, 1.4)))
        hidden, colours = np.maximum(hidden, palm), colours * (1 - palm) + palm * skin * rng.uniform(0.85, 1.05)
    grain = cv2.GaussianBlur(14 * rng.standard_normal(colours.shape, np.float32), (0, 0), 1.2)
    return colours + grain, hidden


def thing(image: Image, pose: Pose, scene: Image, rng: Rng) -> Layer:
    """A phone, cup, microphone, sheet of paper or another thing, somewhere on or beside the face."""
    spot = np.array([rng.normal(0, 0.6), rng.uniform(-0.8, 1.9)])
    kind = rng.choice(["slab", "round", "microphone", "corner"])
    if kind == "microphone":
        size = rng.uniform(0.18, 0.42)
        head, stick = (
            _ring(size, size * rng.uniform(0.9, 1.3)) + spot,
            np.stack([spot, spot + np.array([rng.normal(0, 0.6), 3])]),
        )
        hidden = np.maximum(
            cover(image.shape, pose.place(head)),
            stroke(image.shape, pose.place(stick), size * float(np.linalg.norm(pose.down)), closed=False),
        )
    elif kind == "round":
        hidden = cover(image.shape, pose.place(_ring(*rng.uniform(0.25, 0.9, 2)) + spot))
    elif kind == "corner":  # cuts the face off from a side, as a door or a shoulder does
        edge, tilt, down = rng.uniform(-0.9, 1.0), rng.normal(0, 0.4), rng.choice([-1, 1])
        area = np.array([[edge - 3 * tilt, -3], [edge + 4 * tilt, 4], [4 * down, 4], [4 * down, -3]])
        hidden = cover(image.shape, pose.place(area))
    else:
        half = np.array([rng.uniform(0.3, 0.9), rng.uniform(0.3, 1.2)])
        angle = rng.normal(0, 0.35)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        hidden = cover(image.shape, pose.place(corners @ turn.T + spot))
    colours = shaded(image, cloth(image, scene, rng), hidden, pose, rng)
    if kind == "slab" and rng.random() < 0.5:
        dot = cover(image.shape, pose.place(_ring(0.08, 0.08) + spot - rng.uniform(0, 0.25, 2)))
        colours = colours * (1 - dot) + dot * rng.uniform(0, 90)
    return colours, hidden


def hair(image: Image, pose: Pose, scene: Image, rng: Rng) -> Layer:
    """A fringe or a side of hair: strands over the brow, over one eye, or beside the face."""
    colour = rng.uniform(5, 200) * np.array([1.0, rng.uniform(0.7, 0.95), rng.uniform(0.4, 0.85)])
    start, side = rng.uniform(-1.2, 1.2), rng.choice([-1, 1])
    end = rng.choice([rng.uniform(-0.6, -0.15), rng.uniform(0.1, 1.6)])
    hidden = np.zeros((*image.shape[:2], 1), np.float32)
    colours = np.zeros((*image.shape[:2], 3), np.float32) + colour
    for _ in range(rng.integers(30, 90)):
        x = start + rng.normal(0, rng.uniform(0.15, 0.5))
        bend = np.array(
            [[x, -1.9], [x + side * 0.25, -0.7], [x + side * rng.uniform(0.2, 0.6), end + rng.normal(0, 0.2)]]
        )
        strand = stroke(image.shape, pose.place(_smooth(bend, False)), rng.uniform(1, 4), closed=False)
        colours = colours * (1 - strand) + strand * colour * rng.uniform(0.6, 1.5)
        hidden = np.maximum(hidden, strand)
    return np.clip(colours, 0, 255), cv2.GaussianBlur(hidden, (0, 0), 0.7)[..., None]


def edge(image: Image, pose: Pose, scene: Image, rng: Rng) -> Layer:
    """A hand or a thing at a face's edge: it hides a part of the face that is small, not nothing."""
    face = cover(image.shape, pose.place(_ring(0.95, 1.35) + np.array([0.0, 0.55])))
    for _ in range(_TRIES):
        layer = (hand if rng.random() < 0.5 else thing)(image, pose, scene, rng)
        if _LITTLE[0] < float((layer[1] * face).sum() / face.sum()) < _LITTLE[1]:
            break
    return layer


DRAWN: dict[str, Callable[[Image, Pose, Image, Rng], Layer]] = {
    "mask": mask, "scarf": scarf, "hand": hand, "thing": thing, "hair": hair, "edge": edge
}  # fmt: skip


def put(image: Image, layer: Layer, rng: Rng) -> Image:
    """Lay a drawing over a face, with a soft edge and, for some, a shadow."""
    colours, hidden = layer
    if rng.random() < 0.5:
        shadow = cv2.GaussianBlur(np.roll(hidden, (3, 2), axis=(0, 1)), (0, 0), 4)[..., None]
        image = image * (1 - rng.uniform(0.1, 0.5) * shadow * (1 - hidden))
    return np.clip(image * (1 - hidden) + colours * hidden, 0, 255).astype(np.float32)


def _ring(width: float, height: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return np.stack([np.cos(angle) * width, np.sin(angle) * height], 1)


def _smooth(points: Points, closed: bool = True) -> Points:
    """Round a polygon's corners (Chaikin's corner cutting, twice)."""
    for _ in range(2):
        following = np.roll(points, -1, axis=0)
        cut = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1)
        points = cut.reshape(-1, 2) if closed else np.concatenate([points[:1], cut[:-1].reshape(-1, 2), points[-1:]])
    return points


def _skin(image: Image, pose: Pose, rng: Rng) -> Image:
    """Take a cheek's colour, lighter or darker by a little."""
    cheek = cover(image.shape, pose.place(_ring(0.2, 0.2) + np.array([rng.choice([-0.6, 0.6]), 0.65])))
    mean = (image * cheek).sum(axis=(0, 1)) / max(float(cheek.sum()), 1e-6)
    return np.asarray(np.clip(mean * rng.uniform(0.75, 1.25) * rng.uniform(0.93, 1.07, 3), 15, 250), np.float32)
