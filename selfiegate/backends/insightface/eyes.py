"""Whether eyes are open, each looked at by itself in the aligned eye region. Figures: COVERING.md."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfiegate.backends.insightface.eyewear import ABOVE_EYES, EYE_DISTANCE, WIDTH, one_thread

SIDE: Final = 32
"""Of an eye's patch in pixels: 0.8 eye distances, from the brow to below the lower lid."""

_TOP: Final = round(ABOVE_EYES * EYE_DISTANCE) - SIDE // 2
_LEFT: Final = round((WIDTH - EYE_DISTANCE) / 2) - SIDE // 2


def eye_patches(region: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut both eyes out of `eyewear.eye_region`'s crop, (2, 32, 32, 3); the second is mirrored, so both look alike."""
    rows = region[_TOP : _TOP + SIDE]
    return np.stack([rows[:, _LEFT : _LEFT + SIDE], rows[:, ::-1][:, _LEFT : _LEFT + SIDE]])


class Eyes:
    """Tell open eyes from closed ones, on one thread."""

    def __init__(self) -> None:
        self._session = one_thread("eyes.onnx")

    def __call__(self, region: NDArray[np.uint8]) -> float:
        """Return the probability that the eyes of an eye region are open: that of the eye that seems more so."""
        batch = eye_patches(region).transpose(0, 3, 1, 2).astype(np.float32)
        (probabilities,) = self._session.run(None, {"crops": batch})
        return float(np.max(probabilities))
