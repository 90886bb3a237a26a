"""The photos in the bridge's hands that no run has claimed, and what each waits for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from selfiegate.ingestion.photo_requests import PhotoRequest


class Wait(StrEnum):
    """What a photo waits for. The last two hold no place in the window: the photo is parked."""

    PLACE = "place"
    TURN = "turn"
    """It has a place, and its turn has not ended."""
    CLAIM = "claim"
    """Its turn ended, and no run claimed it."""
    ERASURE = "erasure"
    """Its user is being forgotten: no run may claim it until that has ended."""


PARKED = (Wait.CLAIM, Wait.ERASURE)


@dataclass(eq=False)
class Unclaimed:
    """One photo of a message, on its way to a run."""

    request: PhotoRequest
    message_id: str = ""
    sent_at: float = 0.0
    """When its message came into the queue, seconds since 1970."""
    deliveries: int = 1
    waits_for: Wait = Wait.PLACE
    emitted: int = 0
    overtaken: bool = False
    """Photos that were handed over later were claimed, and it was not: its event was lost, or no run can claim it."""
    parked: int = 0
    """How often."""
    since: float | None = None
    """When its first turn began, by `time.monotonic`; begins anew after an erasure of its user."""

    @property
    def upload_rank(self) -> str:
        """When it was uploaded, as the event says; else when its message came into the queue. Sorts as text."""
        return self.request.upload_order or (f"{int(self.sent_at * 1e6):016d}" if self.sent_at else "")


class UnclaimedPhotos:
    """All of them; read by the health server's threads, too."""

    def __init__(self) -> None:
        self._photos: dict[int, Unclaimed] = {}
        self._messages = Counter[str]()

    @property
    def messages(self) -> int:
        """Count the messages that they are of."""
        return len(self._messages)

    @contextmanager
    def holding(self, photo: Unclaimed) -> Iterator[None]:
        """Count a photo among them."""
        self._photos[id(photo)] = photo
        self._messages[photo.message_id] += 1
        try:
            yield
        finally:
            del self._photos[id(photo)]
            self._messages[photo.message_id] -= 1
            self._messages += Counter()  # without those that are settled

    def count(self, *waits: Wait) -> int:
        """Count the photos that wait for any of these."""
        return len(self._waiting(*waits))

    def oldest_s(self, *waits: Wait) -> float:
        """Return for how long the oldest message of such a photo has been in the queue; 0 where there is none."""
        sent = [photo.sent_at for photo in self._waiting(*waits)]
        return max(0.0, time.time() - min(sent)) if sent else 0.0

    def longest_unclaimed_s(self) -> float:
        """Return for how long a photo has been offered to runs in vain; 0 where there is none."""
        begun = [photo.since for photo in list(self._photos.values()) if photo.since is not None]
        return time.monotonic() - min(begun) if begun else 0.0

    def _waiting(self, *waits: Wait) -> list[Unclaimed]:
        return [photo for photo in list(self._photos.values()) if photo.waits_for in waits]
