"""What of an aligned face is covered, and how well the face would be recognised. Figures: COVERING.md."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfiegate.backends.insightface.eyewear import one_thread
from selfiegate.face import Part

PARTS: Final[tuple[Part, ...]] = ("eyes", "nose", "mouth")


class Covered(NamedTuple):
    """Probabilities that a part is covered, in the order of `PARTS`, and the quality, 0 to 100."""

    parts: tuple[float, float, float]
    quality: float


class Covering:
    """Tell covered faces and poor pictures of faces, on one thread (about a millisecond a face)."""

    def __init__(self) -> None:
        self._session = one_thread("covering.onnx")

    def __call__(self, aligned: NDArray[np.uint8]) -> Covered:
        """Look at one face as `geometry.align` gives it, (112, 112, 3) RGB.

        Quality is 100 times the similarity to a clear picture of the same face that the network foretells.
        """
        batch = aligned.transpose(2, 0, 1)[None].astype(np.float32)
        ((*parts, quality),) = self._session.run(None, {"crops": batch})[0].tolist()
        return Covered((parts[0], parts[1], parts[2]), 100 * quality)
