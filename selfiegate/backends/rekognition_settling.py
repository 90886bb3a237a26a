"""Waits until searches of Rekognition show a face that was indexed here: they lag behind, and AWS states no bound."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

_KEPT = 1000
"""Faces whose time is remembered; older ones have long settled."""


class Settling:
    """When faces were indexed by this process; may be used from several threads."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._indexed: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, face_id: str) -> float:
        """Remember that a face is there from now on, if nothing earlier is known; returns since when."""
        with self._lock:
            since = self._indexed.setdefault(face_id, time.monotonic())
            while len(self._indexed) > _KEPT:
                self._indexed.popitem(last=False)
            return since

    def wait(self, face_id: str) -> None:
        """Return when `settle_s` have passed since a face was noted; one of another process is noted now."""
        time.sleep(max(0.0, self.note(face_id) + self._settle_s - time.monotonic()))
