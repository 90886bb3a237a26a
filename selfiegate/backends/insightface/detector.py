"""SCRFD's pictures in and faces out, over the sessions that insightface made.

Finds what insightface's own `detect` finds (a test holds the two together) in less time beside the network: boxes and
landmarks are worked out where a score passes, not at all 16,800 places of a 640 pixel input, and the network's
input, 4.9 MB, is written into memory that each thread keeps. Fresh memory has to be mapped page by page, which
cost up to 4 ms a photo.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from insightface.model_zoo.scrfd import SCRFD
from numpy.typing import NDArray

from selfiegate.backends.insightface.batching import ANCHORS, KEPT
from selfiegate.backends.insightface.networks import Outputs, Size, Together

_INPUT = ((np.arange(256, dtype=np.float32) - 127.5) / 128).astype(np.float32)
"""What the network is given for each value of a pixel."""

Found = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes (n, 5: left, top, right, bottom, confidence) and landmarks (n, 5, 2), in pixels of the picture."""

_NOTHING: Found = np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32)


def fitted(picture: NDArray[np.uint8], size: Size) -> Size:
    """Return the size of a picture that is scaled to fit into another."""
    height, width = picture.shape[:2]
    shape = height / width
    tall = shape > size[1] / size[0]
    return (max(1, int(size[1] / shape)), size[1]) if tall else (size[0], max(1, int(size[0] * shape)))


class _Canvas(threading.local):
    """A thread's own memory for one input size."""

    def __init__(self, size: Size) -> None:
        self._size = size

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        return np.zeros((*self._size[::-1], 3), np.uint8)

    @cached_property
    def _input(self) -> NDArray[np.float32]:
        return np.zeros((1, 3, *self._size[::-1]), np.float32)

    def fit(self, picture: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """Return a picture that is scaled to `size`, top left on black, as bytes (height, width, 3)."""
        width, height = size
        cv2.resize(picture, size, dst=self._pixels[:height, :width])
        self._pixels[height:], self._pixels[:, width:] = 0, 0
        return self._pixels

    def draw(self, picture: NDArray[np.uint8], size: Size) -> NDArray[np.float32]:
        """Return the network's input for a picture that is scaled to `size`, top left on black.

        A picture is converted where it is small, before it is enlarged: that takes 0.4 ms instead of 1.0 from 250 to
        640 pixels, and differs from insightface's own by the rounding that it saves.
        """
        width, height = size
        enlarged = picture.shape[0] < height
        if not enlarged:
            picture = np.asarray(cv2.resize(picture, size, dst=self._pixels[:height, :width]), np.uint8)
        for channel, plane in enumerate(self._input[0]):
            values = cv2.extractChannel(picture, channel)
            part = plane[:height, :width]
            if enlarged:
                cv2.resize(cv2.LUT(values, _INPUT), size, dst=part)
            else:
                cv2.LUT(values, _INPUT, dst=part)
            plane[height:], plane[:, width:] = _INPUT[0], _INPUT[0]
        return self._input


class Detector:
    """Callable from several threads at once."""

    def __init__(self, scrfd: SCRFD, together: Together | None = None) -> None:
        """Take over a prepared detector; its sessions are made here, one for each size.

        With `together`, several threads' pictures share a call; a picture that is enlarged is rounded to bytes then, as
        insightface does. Raises `ValueError` where it finds no landmarks. Each thread that calls keeps 7 MB for an
        input of 640 pixels, or 1.3 MB with `together`.
        """
        if not scrfd.use_kps:
            raise ValueError("the detector finds no landmarks")
        scrfd.detect(np.zeros((64, 64, 3), np.uint8))
        self._scrfd, self._sessions = scrfd, scrfd.resolution_sessions
        self._canvases: dict[Size, _Canvas] = {size: _Canvas(size) for size in scrfd.input_sizes}
        self._levels, self._together = scrfd.fmc, together

    @property
    def sessions(self) -> list[Any]:
        """The sessions of onnxruntime, one for each input size."""
        return [*self._sessions.values(), *(self._together.sessions.values() if self._together else ())]

    @property
    def side(self) -> int:
        """The longest side of the largest input, in pixels."""
        return max(side for size in self._canvases for side in size)

    def __call__(self, picture: NDArray[np.uint8]) -> Found:
        """Find the faces of an RGB picture (height, width, 3), surest first."""
        found = [self._within(picture, size, outputs) for size, outputs in self._outputs(picture)]
        boxes, landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(-boxes[:, 4], kind="stable")
        keep = order[self._scrfd.nms(boxes[order])]
        return boxes[keep], landmarks[keep]

    def confidences(self, pictures: Sequence[NDArray[np.uint8]]) -> list[float]:
        """Return how sure the smallest input size is of the surest face of each RGB picture, 0..1."""
        size = min(self._canvases)
        if self._together:
            seen = self._together.now(np.stack([self._fit(picture, size).copy() for picture in pictures]), size)
        else:
            seen = [self._run(picture, size) for picture in pictures]
        return [max(float(scores.max()) for scores in outputs[: self._levels]) for outputs in seen]

    def _within(self, picture: NDArray[np.uint8], size: Size, outputs: Outputs) -> Found:
        """Read the faces of the picture fitted into one input size."""
        levels = [self._at_level(outputs[level :: self._levels], 8 * 2**level, size) for level in range(self._levels)]
        boxes, landmarks = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        scale = np.float32(picture.shape[0] / fitted(picture, size)[1])
        boxes[:, :4] *= scale
        return boxes, landmarks * scale

    def _outputs(self, picture: NDArray[np.uint8]) -> Iterable[tuple[Size, Outputs]]:
        """Run the network at each input size: scores of all levels, then boxes, then landmarks."""
        if self._together:
            found = self._together(lambda size: self._fit(picture, size))
            if not any(self._overflows(outputs) for outputs in found.values()):
                return found.items()
        return ((size, self._run(picture, size)) for size in self._canvases)

    def _overflows(self, outputs: Outputs) -> bool:
        """Say whether more places pass at some level than were given: a crowd, which is looked at alone."""
        given = [scores[-1, 0] >= self._scrfd.det_thresh and len(scores) == KEPT for scores in outputs[: self._levels]]
        return any(given)

    def _run(self, picture: NDArray[np.uint8], size: Size) -> Outputs:
        fed = {self._scrfd.input_name: self._canvases[size].draw(picture, fitted(picture, size))}
        found: Outputs = self._sessions[size].run(self._scrfd.output_names, fed)
        return found

    def _fit(self, picture: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        return self._canvases[size].fit(picture, fitted(picture, size))

    def _at_level(self, outputs: Outputs, stride: int, size: Size) -> Found:
        """Read one feature map: scores (k, 1), distances to the box's sides (k, 4) and landmarks (k, 10) in strides.

        Places go row by row, each with one or two anchors; where not all are given, their numbers (k, 1) come last.
        """
        scores, sides, points, *places = (output.reshape(-1, output.shape[-1]) for output in outputs)
        at = np.flatnonzero(scores >= self._scrfd.det_thresh)
        if not at.size:
            return _NOTHING
        across = size[0] // stride
        place = (places[0][at, 0] if places else at) // ANCHORS[self._levels]
        centre = np.stack([place % across, place // across], axis=1).astype(np.float32) * stride
        near, far = centre - sides[at, :2] * stride, centre + sides[at, 2:] * stride
        landmarks = centre[:, None] + points[at].reshape(-1, 5, 2) * stride
        return np.hstack([near, far, scores[at]]), landmarks
