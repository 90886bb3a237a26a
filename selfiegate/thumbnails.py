"""Small upright pictures of accepted photos, under keys that name user and photo version."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image
from pydantic import BeforeValidator, Field

from selfiegate.decoding.decode import Limits, turned
from selfiegate.decoding.process_pool import decode
from selfiegate.face import Box, Face
from selfiegate.model import PhotoRef
from selfiegate.setting_types import COMMAS, Group, Size


class ThumbnailSettings(Group):
    """Which thumbnails are made of each accepted photo."""

    sizes: Annotated[tuple[Size, ...], COMMAS] = Field(
        ((250, 250),), min_length=1, description="Boxes to fit into, in pixels: 250x250,100x100"
    )
    format: Literal["jpeg", "webp"] = Field("jpeg", description="Of the files")
    quality: int = Field(85, ge=1, le=95, description="Of JPEG or WebP: 1 (smallest) to 95 (best)")
    folder: Annotated[Path | None, BeforeValidator(lambda value: value or None)] = Field(
        None, description="Where they lie, unless in a bucket; SELFIEGATE_HOME's folder thumbnails, if nothing is set"
    )
    square: bool = Field(False, description="Crop a square round the face first")

    @property
    def content_type(self) -> str:
        """The media type of the files."""
        return f"image/{self.format}"


def folder(photo: PhotoRef, user_id: str) -> str:
    """Return where a photo's thumbnails lie; equal photos of equal users share it, nobody else does."""
    return folder_of(photo.id, user_id)


def folder_of(photo_id: str, user_id: str) -> str:
    """Return the same by the photo's id."""
    return f"{home(user_id)}/{photo_id}"


def home(user_id: str) -> str:
    """Return where a user's thumbnails lie, named like the user id and unique to it (at most 57 characters)."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", user_id).strip(".")[:40]
    return f"{readable}-{hashlib.sha256(user_id.encode()).hexdigest()[:16]}"


def key(photo: PhotoRef, user_id: str, size: str, settings: ThumbnailSettings) -> str:
    """Return the key of one thumbnail; `size` is '250x250', say."""
    return f"{folder(photo, user_id)}/{size}.{'jpg' if settings.format == 'jpeg' else 'webp'}"


def render(data: bytes, face: Face, settings: ThumbnailSettings, limits: Limits) -> dict[str, bytes]:
    """Return size ('250x250') to the encoded thumbnail: upright, without metadata, never enlarged."""
    largest = max(max(size) for size in settings.sizes)
    # A square crop keeps about three faces' heights, so it needs more pixels than the thumbnail's own.
    wanted = int(largest / max(min(1.0, 1.8 * face.box.height), 0.05)) if settings.square else largest
    picture = turned(decode(data, limits, wanted)[0], face.turned)
    if settings.square:
        picture = picture.crop(_square(picture.size, face.box))
    return {f"{w}x{h}": _encode(_fit(picture, (w, h)), settings) for w, h in settings.sizes}


def _square(size: tuple[int, int], face: Box) -> tuple[int, int, int, int]:
    width, height = size
    side = min(width, height, round(1.8 * max(face.height * height, face.width * width)))
    left = round((face.left + face.width / 2) * width - side / 2)
    top = round((face.top + face.height / 2) * height - side / 2)
    left, top = min(max(left, 0), width - side), min(max(top, 0), height - side)
    return left, top, left + side, top + side


def _fit(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    small = picture.copy()
    small.thumbnail(box, Image.Resampling.LANCZOS)
    return small


def _encode(picture: Image.Image, settings: ThumbnailSettings) -> bytes:
    out = io.BytesIO()
    picture.save(out, settings.format.upper(), quality=settings.quality)
    return out.getvalue()
