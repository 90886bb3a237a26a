"""The gate as an upload meets it: decoded, analysed and embedded by the backend's own code, without stores."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfiegate.backends.embedding import EmbeddingBackend
from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
from selfiegate.galleries.memory import MemoryGallery
from selfiegate.matching import COSINE
from selfiegate.model import Detection
from selfiegate.settings import Settings
from selfiegate.stores.memory_photos import MemoryPhotos


class Gate:
    """Looks at photos, on one thread."""

    def __init__(self, settings: Settings) -> None:
        self._analyser = InsightFaceAnalyser(settings.insightface.model_copy(update={"threads": 1}))
        self.model = self._analyser.model
        self._photos = MemoryPhotos()
        self._backend = EmbeddingBackend(
            self._analyser,
            MemoryGallery(self._analyser.model),
            self._photos,
            settings.photos,
            settings.matching.on(COSINE),
        )
        self.alone = cache(self._alone)

    def look(self, data: bytes) -> tuple[Detection, NDArray[np.float32] | None]:
        """Return what is seen in a photo, and the main face's unit embedding, None without a face."""
        photo = self._photos.add("upload.jpg", data)
        detection = self._backend.detect(photo)
        if not detection.faces:
            return detection, None
        template = self._backend.template(self._backend.enrol(photo, "somebody"))
        self._backend.discard(photo, "somebody")
        return detection, np.array(template, np.float32)

    def _alone(self, photo: Path) -> bool:
        """Say whether one face is found."""
        return len(self._backend.detect(self._photos.add("upload.jpg", photo.read_bytes())).faces) == 1
