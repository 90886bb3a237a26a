"""A face, and where it is in its photo."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfiegate.values import Value


class Box(Value):
    """A rectangle in shares of the photo's width and height; it may reach beyond 0..1."""

    left: float
    top: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Share of the frame that the box covers, where all of it lies inside."""
        return self.width * self.height

    @property
    def margin(self) -> float:
        """Distance to the nearest edge of the frame, in box sides; negative by the share that is cut off."""
        if self.width <= 0 or self.height <= 0:
            return -1.0
        return min(
            self.left / self.width,
            self.top / self.height,
            (1 - self.left - self.width) / self.width,
            (1 - self.top - self.height) / self.height,
        )


Part = Literal["eyes", "nose", "mouth"]
"""A part of a face that may be covered."""


class Face(Value):
    """What a backend can say of one face. `None` is "cannot tell", never a guess.

    `landmarks` (eyes, nose, mouth corners: five (x, y) in shares of the frame) never leave the process.
    """

    box: Box
    confidence: float = Field(description="That this is a face, 0..1")
    landmarks: tuple[tuple[float, float], ...] = Field(default=(), exclude=True, repr=False)
    eye_distance: float | None = Field(None, description="Between the eyes, in pixels of the original photo")
    yaw: float | None = Field(None, description="Degrees, 0 frontal, positive towards the photo's right")
    pitch: float | None = Field(None, description="Degrees, 0 level, positive upwards")
    roll: float | None = Field(None, description="Degrees, 0 upright, positive clockwise")
    turned: int = Field(
        0,
        description="Degrees clockwise that the photo was turned by; all else is of the turned photo: 0, 90, 180, 270",
    )
    sharpness: float | None = Field(None, description="0 (featureless) to 100, on the aligned face")
    brightness: float | None = Field(None, description="Mean luma of the aligned face, 0 to 100")
    sunglasses: float | None = Field(None, description="Probability")
    eyeglasses: float | None = Field(None, description="Probability")
    eyes_open: float | None = Field(None, description="Probability")
    covered: float | None = Field(None, description="Probability that some part is, by a mask, a hand or a thing")
    covered_parts: tuple[Part, ...] = Field((), description="Which parts are; empty where that is not known")
    quality: float | None = Field(
        None,
        description="0 to 100, foretells whether this face matches its own clear photo (the unified quality score of "
        "ISO/IEC 29794-5 in kind); InsightFace alone tells it",
    )
