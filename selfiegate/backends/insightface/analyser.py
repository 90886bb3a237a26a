"""The pack's detector and recogniser as a `backends.embedding.Analyser`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import onnxruntime  # noqa: F401  before insightface: what that says of its absence names no extra of ours
from insightface.app import FaceAnalysis
from numpy.typing import NDArray
from PIL import Image

from selfiegate.backends.insightface import geometry
from selfiegate.backends.insightface.covering import PARTS, Covering
from selfiegate.backends.insightface.detector import Detector, Found
from selfiegate.backends.insightface.devices import (
    ON_NVIDIA,
    device_of,
    options_of,
    session_options,
    wanted_providers,
    warn_once,
)
from selfiegate.backends.insightface.eyes import Eyes
from selfiegate.backends.insightface.eyewear import Eyewear, eye_region
from selfiegate.backends.insightface.networks import EmbeddedTogether, Together, answering, operations
from selfiegate.backends.insightface.orientation import lying, quarter_turn, stands
from selfiegate.backends.insightface.pack import PackSettings, digest, pack_folder
from selfiegate.cpus import available_cpus
from selfiegate.decoding.decode import turned
from selfiegate.errors import BackendMisconfigured
from selfiegate.face import Box, Face

_log = logging.getLogger(__name__)

N = TypeVar("N")

_LIKELY = 0.5
"""Probability from which a part is named as covered, and from which eyes behind it are not judged."""


class InsightFaceAnalyser:
    """Keeps one detector and one recogniser; its methods may be called from several threads."""

    def __init__(self, settings: PackSettings) -> None:
        """Load the pack; raises `BackendMisconfigured` where it is absent or not usable."""
        folder, providers = pack_folder(settings), wanted_providers(settings)
        try:
            app = FaceAnalysis(
                name=str(folder),
                allowed_modules=["detection", "recognition"],
                providers=[(name, options_of(name, settings)) for name in providers],
                sess_options=session_options(settings),
            )
            app.prepare(ctx_id=0, det_thresh=settings.detection_threshold, det_size=_sizes(settings))
            scrfd, self.recogniser = app.models["detection"], app.models["recognition"]
            self.detector = Detector(scrfd)
        except Exception as error:  # onnxruntime's errors share no base, insightface asserts
            raise BackendMisconfigured(
                f"{folder} is not a pack with a detector and a recogniser ({type(error).__name__}: {error}); "
                "set SELFIEGATE_INSIGHTFACE__PACK to one"
            ) from error
        file = Path(self.recogniser.model_file)
        # Of the process: photos side by side must not fight over cores.
        sessions = [self.recogniser.session, *self.detector.sessions]
        self.device = device_of(sessions, providers, settings)
        for session in sessions:
            session.disable_fallback()  # to the CPU, without a word, at the first call that a device fails
        self.photos_a_call = settings.batch
        self._embedded: EmbeddedTogether | None = None
        if self.photos_a_call > 1:
            shared = self.photos_a_call, settings.batch_wait_ms / 1000, self.device.startswith(ON_NVIDIA)
            together = _unless_it_resists(scrfd.model_file, lambda: Together(scrfd, *shared))
            self.detector = Detector(scrfd, together)
            self._embedded = _unless_it_resists(file.name, lambda: EmbeddedTogether(self.recogniser, *shared))
            if not (together or self._embedded):
                self.photos_a_call = 1
        cv2.setNumThreads(settings.threads or available_cpus())
        self._eyewear, self._eyes, self._covering = Eyewear(), Eyes(), Covering()
        self.model = f"{file.stem}@{digest(file)}"
        _log.info("loaded %s on %s", self.model, self.device)

    def analyse(self, picture: Image.Image, size: tuple[int, int]) -> Sequence[tuple[Face, NDArray[np.uint8]]]:
        """Return the faces, largest first, each with its aligned 112x112 RGB picture.

        Only the largest is described: of the others it matters that they are there. A photo that shows one turned face,
        or none until it is turned, is turned first: boxes, angles and aligned faces are of the turned photo then.
        Raises `BackendUnavailable` where a model fails.
        """
        with answering(self.device):
            return self._analysed(picture, size)

    def _analysed(self, picture: Image.Image, size: tuple[int, int]) -> Sequence[tuple[Face, NDArray[np.uint8]]]:
        found = self.locate(picture)
        turn = quarter_turn(self.detector, picture, found)
        if not turn:
            return self._seen(picture, size, found)
        upright = turned(picture, turn)
        if len(found[0]) < 2 and stands(standing := self.locate(upright)):  # of several faces none says which way is up
            seen = self._seen(upright, size if turn == 180 else size[::-1], standing)
            return [(face.model_copy(update={"turned": turn}), aligned) for face, aligned in seen]
        seen = self._seen(picture, size, found)
        return [*((lying(face, turn), aligned) for face, aligned in seen[:1]), *seen[1:]]

    def _seen(self, picture: Image.Image, size: tuple[int, int], found: Found) -> list[tuple[Face, NDArray[np.uint8]]]:
        (boxes, landmarks), pixels = found, np.asarray(picture)
        rest = zip(boxes[1:], landmarks[1:], strict=True)
        others = [(_located(picture, box), geometry.align(pixels, points)) for box, points in rest]
        return [*self.describe(picture, size, boxes[:1], landmarks[:1]), *others]

    def locate(self, picture: Image.Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (n, 5: left, top, right, bottom, confidence) and landmarks (n, 5, 2), largest first."""
        boxes, landmarks = self.detector(np.asarray(picture))
        order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
        return boxes[order], landmarks[order]

    def describe(
        self,
        picture: Image.Image,
        size: tuple[int, int],
        boxes: NDArray[np.float32],
        landmarks: NDArray[np.float32],
    ) -> Sequence[tuple[Face, NDArray[np.uint8]]]:
        """Return each located face's attributes with its aligned 112x112 RGB picture."""
        pixels, scale = np.asarray(picture), size[0] / picture.width
        described = [_described(pixels, box, points, scale) for box, points in zip(boxes, landmarks, strict=True)]
        return [(self._looked_at(pixels, face, aligned), aligned) for face, aligned in described]

    def embed(self, aligned: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return unit embeddings, shape (n, 512); raises `BackendUnavailable` where the model fails."""
        faces = [np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2BGR), np.uint8) for face in aligned]
        with answering(self.device):
            if self._embedded and len(faces) == 1:
                features = self._embedded(faces[0])[None]
            else:
                features = self.recogniser.get_feat(faces)
        unit: NDArray[np.float32] = features / np.linalg.norm(features, axis=1, keepdims=True)
        return unit

    def try_out(self) -> str:
        """Look at one picture and embed a face; say how long that took and which device took how many operations."""
        picture = Image.fromarray(np.zeros((640, 640, 3), np.uint8))
        for _ in range(2):  # at the first a GPU makes its plans
            began = time.perf_counter()
            self.analyse(picture, picture.size)
            self.embed([np.zeros((geometry.ALIGNED, geometry.ALIGNED, 3), np.uint8)])
        took = f"{(time.perf_counter() - began) * 1000:.0f} ms for a photo"
        ran = operations(Path(self.recogniser.model_file), self.recogniser.session)
        placed = ", ".join(f"{count} operations on {provider}" for provider, count in ran.items())
        return f"{self.device}; {took}; of the recogniser {placed}"

    def _looked_at(self, pixels: NDArray[np.uint8], face: Face, aligned: NDArray[np.uint8]) -> Face:
        """Add what the small networks see; closed eyes are told only where nothing is before them."""
        parts, quality = self._covering(aligned)
        seen: dict[str, object] = {"covered": max(parts), "quality": quality}
        seen["covered_parts"] = tuple(part for part, share in zip(PARTS, parts, strict=True) if share >= _LIKELY)
        region = eye_region(pixels, np.array(face.landmarks) * (pixels.shape[1], pixels.shape[0]))
        if region is not None:
            _, clear, dark = map(float, self._eyewear([region])[0])
            seen |= {"eyeglasses": clear, "sunglasses": dark}
            if max(parts[0], dark) < _LIKELY:
                seen["eyes_open"] = self._eyes(region)
        return face.model_copy(update=seen)


def _located(picture: Image.Image, box: NDArray[np.float32]) -> Face:
    left, top, right, bottom, confidence = map(float, box)
    width, height = picture.size
    place = Box(left=left / width, top=top / height, width=(right - left) / width, height=(bottom - top) / height)
    return Face(box=place, confidence=confidence)


def _described(
    pixels: NDArray[np.uint8], box: NDArray[np.float32], landmarks: NDArray[np.float32], scale: float
) -> tuple[Face, NDArray[np.uint8]]:
    height, width = pixels.shape[:2]
    aligned = geometry.align(pixels, landmarks)
    left, top, right, bottom, confidence = map(float, box)
    yaw, pitch, roll = geometry.pose(landmarks) or (None, None, None)
    face = Face(
        box=Box(left=left / width, top=top / height, width=(right - left) / width, height=(bottom - top) / height),
        confidence=confidence,
        landmarks=tuple((float(x) / width, float(y) / height) for x, y in landmarks),
        eye_distance=float(np.hypot(*(landmarks[1] - landmarks[0]))) * scale,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        sharpness=geometry.sharpness(aligned),
        brightness=geometry.brightness(aligned),
    )
    return face, aligned


def _unless_it_resists(file: str, build: Callable[[], N]) -> N | None:
    """Return what runs a network for several photos at once, or None where its graph does not allow that."""
    try:
        return build()
    except Exception as error:  # onnx's and onnxruntime's errors share no base
        warn_once(f"{file} takes one photo a call, which leaves a GPU idle: {type(error).__name__}: {error}")
        return None


def _sizes(settings: PackSettings) -> list[tuple[int, int]]:
    return [(side, side) for side in settings.detection_sizes]
