"""What records know of the gallery beside them; `galleries.bond` and `backends.rekognition_bond` compare the two."""

from __future__ import annotations

from typing import Protocol

from selfiegate.values import Value


class GalleryMark(Value):
    """What records rely on: which gallery it is, and its highest face number that any of their rows may name.

    Rekognition numbers no faces: there it is the most faces that the collection was seen to hold.
    """

    gallery_id: str
    newest: int


class KnownGallery(Protocol):
    """What the records know of the gallery beside them, so that a lost or older one is found out."""

    records_id: str
    """Names these records for good."""

    def get(self) -> GalleryMark | None:
        """Return the mark; None where no gallery was ever used with these records."""

    @property
    def is_durable(self) -> bool:
        """Say whether what this thread sees of the mark is stored for good: not within `Ledger.batch`."""

    def keep(self, mark: GalleryMark) -> None:
        """Store a first mark, or raise the number of the gallery that is known; another gallery's changes nothing."""

    def replace(self, mark: GalleryMark | None) -> None:
        """Rely on another gallery from now on, after a restore or a move; None: on none yet."""
