"""Things before mouth and nose: masks, scarves, hands, phones. Strengths are 0 (weak) to 2 (strong)."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.disguise import cloth
from benchmarks.disguise.cloth import RNG
from benchmarks.disguise.head import CHIN, Layer, Pixels, X, Y, half_width, merged, on_canvas, skin_depth, tent_depth


def soft(distance: Pixels, edge: float = 0.02) -> Pixels:
    """Turn a distance (positive inside) into an alpha with a soft edge, in eye distances."""
    return np.asarray(np.clip(distance / edge + 0.5, 0, 1), np.float32)


def _mask_alpha(top: float, width: float, rng: RNG) -> Pixels:
    """Fill from the nose to below the chin, as wide as the jaw; the mask's upper edge falls towards the ears."""
    upper = Y - (top + rng.uniform(0.2, 0.4) * np.abs(X) ** 1.6)
    side = width * half_width(np.clip(Y, 0.5, None)) + 0.03 - np.abs(X)
    lower = CHIN + 0.12 - 0.5 * X**2 - Y
    return soft(np.minimum(np.minimum(upper, np.maximum(side, 0.9 * (1.15 - np.abs(X)) - 0.8)), lower))


def _straps(top: float, width: float, colour: Pixels) -> Layer:
    alpha = np.zeros(X.shape, np.float32)
    for side in (-1, 1):
        for y in (top + 0.38, 1.45):
            at = on_canvas(side * width * float(half_width(y)), y)
            cv2.line(alpha, at, on_canvas(side * 1.12, 0.2), 0.9, 2, cv2.LINE_AA)
    return Layer(cloth.paint(colour), alpha, skin_depth() + 0.02, 0.15)


def _top(rng: RNG, strength: int) -> float:
    """Below the nose, at its tip, over its bridge."""
    return float((0.74, 0.42, 0.2)[strength] + rng.uniform(-0.05, 0.05))


def surgical_mask(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """A pleated mask: light blue, green, white, pink or dark."""
    top, width = _top(rng, strength), rng.uniform(0.86, 0.98)
    ground = np.array(
        [[0.62, 0.79, 0.88], [0.68, 0.85, 0.8], [0.93, 0.94, 0.95], [0.95, 0.75, 0.8], [0.2, 0.22, 0.26]], np.float32
    )[rng.choice(5, p=(0.4, 0.15, 0.25, 0.1, 0.1))]
    shade = np.ones(X.shape, np.float32)
    for n in range(4):
        pleat = Y - (top + 0.28 + n * rng.uniform(0.24, 0.3)) + 0.06 * X**2
        shade -= rng.uniform(0.1, 0.2) * np.exp(-((pleat / 0.02) ** 2)) - 0.06 * np.exp(-(((pleat - 0.07) / 0.05) ** 2))
    hem = np.abs(Y - (top + 0.07 + 0.3 * np.abs(X) ** 1.6)) < 0.012
    colour = cloth.folded(cloth.paint(ground) * (shade - 0.1 * hem)[..., None], rng, 0.05)
    return [_straps(top, width, ground), Layer(colour, _mask_alpha(top, width, rng), tent_depth())]


def cloth_mask(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """A sewn mask with a print and a seam."""
    top, width = _top(rng, strength), rng.uniform(0.88, 1.02)
    seam = 1 - 0.2 * np.exp(-((X / 0.015) ** 2))
    colour = cloth.folded(cloth.PRINTS[rng.integers(len(cloth.PRINTS))](rng) * seam[..., None], rng, 0.1)
    straps = _straps(top, width, cloth.tone(rng, (0, 0.2), (0.05, 0.95)))
    return [straps, Layer(colour, _mask_alpha(top, width, rng), tent_depth())]


def black_mask(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """A stretched mask of black or dark grey foam, with a sheen beside its seam."""
    top, width = _top(rng, strength), rng.uniform(0.92, 1.02)
    sheen = 0.08 * np.exp(-(((np.abs(X) - 0.25) / 0.25) ** 2) - ((Y - 0.9) / 0.5) ** 2)
    ground = cloth.paint(np.full(3, rng.uniform(0.03, 0.2), np.float32)) + sheen[..., None]
    seam = 1 - 0.35 * np.exp(-((X / 0.012) ** 2))
    layer = Layer(cloth.folded(ground * seam[..., None], rng, 0.12), _mask_alpha(top, width, rng), tent_depth())
    return [_straps(top, width, np.full(3, 0.08, np.float32)), layer]


def printed_mask(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """A mask of the colour of skin with another's mouth, and a nose where it reaches so high."""
    top, width = _top(rng, strength), rng.uniform(0.9, 1.0)
    ground = cloth.paint(skin * np.float32(rng.uniform(0.85, 1.1)) * rng.uniform(0.95, 1.05, 3).astype(np.float32))
    x, y = X / rng.uniform(0.3, 0.5), Y - 1.15 - rng.uniform(-0.12, 0.12)
    lips = soft(0.13 * rng.uniform(0.7, 1.3) * np.sqrt(np.clip(1 - x**2, 0, 1)) - np.abs(y), 0.05)[..., None]
    parted = np.exp(-(((y + 0.02 * np.cos(4 * x)) / 0.02) ** 2)) * (np.abs(x) < 0.95)
    colour = ground * (1 - 0.6 * lips) + 0.6 * lips * cloth.tone(rng, (0.4, 0.7), (0.5, 0.8), hue=0.98)
    nostrils = sum(np.exp(-(((X - side * 0.14) / 0.06) ** 2) - ((Y - 0.7) / 0.03) ** 2) for side in (-1, 1))
    sides = np.exp(-(((np.abs(X) - 0.25) / 0.04) ** 2) - ((Y - 0.55) / 0.15) ** 2)
    shade = 1 - 0.6 * parted - 0.5 * nostrils - 0.2 * sides
    colour = cloth.folded(np.asarray(colour * shade[..., None], np.float32), rng, 0.05)
    return [_straps(top, width, skin), Layer(colour, _mask_alpha(top, width, rng), tent_depth())]


def scarf(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """A scarf over the mouth; stronger, over nose and cheeks."""
    top = (0.8, 0.45, 0.15)[strength] + rng.uniform(-0.06, 0.06)
    tilt, sag = rng.uniform(-0.12, 0.12), rng.uniform(0, 0.25)
    edge = Y - (top + tilt * X + sag * X**2 + 0.03 * cloth.noise(rng, 0.25))
    colour = cloth.SCARVES[rng.integers(len(cloth.SCARVES))](rng)
    fold = np.zeros(X.shape, np.float32)
    for n in range(5):
        line = Y - (top + 0.12 + n * 0.3) - rng.uniform(-0.25, 0.25) * X - rng.uniform(-0.2, 0.2) * X**2
        fold += rng.uniform(0.15, 0.35) * np.exp(-((line / rng.uniform(0.03, 0.07)) ** 2))
    colour = cloth.folded(colour * (1 - np.clip(fold, 0, 0.6))[..., None], rng, 0.12)
    around = soft(1.25 + 0.1 * np.clip(Y - 1, 0, None) - np.abs(X))
    return [Layer(colour, soft(edge) * around, tent_depth() + 0.08, 0.35)]


def hand(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """Two fingers on the mouth; a hand before it; before mouth and nose. Some hands are before an eye instead."""
    side = rng.choice([-1, 1])
    angle = rng.uniform(-0.25, 0.25)
    place = (
        (side * (0.4, 0.1, -0.25)[strength], -0.25)
        if rng.uniform() < 0.25
        else (-side * 0.45, (0.95, 0.95, 0.55)[strength])
    )
    tip = np.array(place) + rng.uniform(-0.08, 0.08, 2)
    return [merged(_hand(rng, tip, side, angle, (2, 4, 4)[strength], skin * rng.uniform(0.9, 1.1), palm=strength > 0))]


def _hand(
    rng: RNG, tip: NDArray64, side: int, angle: float, fingers: int, skin: Pixels, palm: bool = True
) -> list[Layer]:
    """Fingers that reach from one side to a point, the first on top; tips first, then the palm and the wrist."""
    along = np.array([side * np.cos(angle), np.sin(angle) + 0.25])
    along /= np.hypot(*along)
    across = np.array([-along[1], along[0]]) * side
    depth, colour = np.full(X.shape, 0.5, np.float32), cloth.folded(cloth.paint(skin), rng, 0.035)
    layers = []
    wrist = tip + along * 1.9 + across * 0.35
    if palm:
        back = np.maximum(
            _limb(tip + along * 0.95 + across * 0.36, wrist, 0.42, 0.34),
            _limb(wrist, wrist + along * 0.9 + np.array([0, 0.8]), 0.33, 0.34),
        )
        layers.append(_flesh(back, 0.4, colour, depth))
    reach = np.array([-0.05, 0.06, 0.0, -0.18]) + rng.uniform(-0.05, 0.05, 4)
    for n in reversed(range(fingers)):
        start = tip + across * 0.235 * n - along * reach[n]
        bend = rng.uniform(-0.04, 0.04)
        finger = _limb(start, start + along * 1.2 + across * bend, 0.105, 0.14)
        layers.append(_flesh(finger, 0.12, _nailed(colour, start, along, rng), depth))
    return layers


NDArray64 = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _limb(start: NDArray64, end: NDArray64, thin: float, thick: float) -> Pixels:
    """Return the depth inside a rounded bar that grows from thin to thick, negative outside."""
    x, y = X - start[0], Y - start[1]
    length = float(np.hypot(*(end - start)))
    share = np.clip((x * (end - start)[0] + y * (end - start)[1]) / length**2, 0, 1)
    away = np.hypot(x - share * (end - start)[0], y - share * (end - start)[1])
    return np.asarray(thin + share * (thick - thin) - away, np.float32)


def _flesh(inside: Pixels, radius: float, colour: Pixels, depth: Pixels) -> Layer:
    """Shade a limb as a cylinder: dark and red towards its edges."""
    height = np.clip(inside / radius, 0, 1)
    shade = 0.74 + 0.34 * np.sqrt(height)
    tinted = colour * shade[..., None] * (1 - (1 - height[..., None]) * np.array([0, 0.1, 0.13], np.float32))
    return Layer(np.asarray(np.clip(tinted, 0, 1), np.float32), soft(inside), depth, 0.4)


def _nailed(colour: Pixels, start: NDArray64, along: NDArray64, rng: RNG) -> Pixels:
    """Add a nail and the creases of two joints."""
    x, y = X - start[0], Y - start[1]
    a, b = x * along[0] + y * along[1], y * along[0] - x * along[1]
    nail = soft(1 - np.hypot((a - 0.03) / 0.085, b / 0.065), 0.15)[..., None]
    painted = colour * (1 - 0.45 * nail) + 0.45 * nail * np.array([0.95, 0.75, 0.72], np.float32)
    crease = sum(np.exp(-(((a - at) / 0.018) ** 2)) for at in (0.32, 0.7))
    return np.asarray(painted * (1 - 0.13 * crease)[..., None], np.float32)


def phone(rng: RNG, strength: int, skin: Pixels, hair: Pixels) -> list[Layer]:
    """A phone, as in a mirror: before a mouth's corner and the chin; before the mouth; before half a face."""
    side = rng.choice([-1, 1])
    middle = np.array([[0.75, 1.35], [0.25, 1.4], [0.55, 0.75]][strength]) * (side, 1) + rng.uniform(-0.08, 0.08, 2)
    turn, half = rng.uniform(-0.3, 0.3), np.array([0.56, 1.1])
    x, y = X - middle[0], Y - middle[1]
    a, b = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    corner = 0.12
    beyond = np.stack([np.abs(a) - half[0] + corner, np.abs(b) - half[1] + corner])
    inside = corner - np.hypot(*np.clip(beyond, 0, None)) - np.clip(beyond.max(axis=0), None, 0)
    ground = cloth.tone(rng, (0, 0.5), (0.05, 0.9))
    gloss = 1 + 0.12 * np.sin(3 * a + 2 * b + rng.uniform(0, 6)) - 0.5 * (inside < 0.03)
    colour = cloth.paint(ground) * gloss[..., None].astype(np.float32)
    bump = soft(0.2 - np.maximum(np.abs(a - 0.28), np.abs(b + 0.8)), 0.05)[..., None]
    colour = colour * (1 - 0.35 * bump)
    for place in ((0.2, -0.88), (0.2, -0.7), (0.37, -0.79)):
        lens = soft(0.075 - np.hypot(a - place[0], b - place[1]))[..., None]
        colour = colour * (1 - lens) + 0.06 * lens
    body = Layer(np.clip(colour, 0, 1).astype(np.float32), soft(inside), np.full(X.shape, 0.75, np.float32), 0.3)
    grip = middle + np.array([side * 0.2, 0.1])
    return [merged([body, *_hand(rng, grip, side, rng.uniform(0, 0.4), 4, skin, palm=False)])]
