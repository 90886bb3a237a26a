"""A pack's networks, run one picture at a time, or for many threads' pictures together (`gathering`, `batching`)."""

from __future__ import annotations

import ctypes
import json
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import onnxruntime
from insightface.model_zoo.scrfd import SCRFD
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import EngineError, EPFail, Fail, RuntimeException

from selfiegate.backends.insightface.batching import PIXELS, Unbatchable, batched_detector
from selfiegate.backends.insightface.gathering import Gathering
from selfiegate.errors import BackendUnavailable

Size = tuple[int, int]
"""Width and height in pixels."""

Outputs = list[NDArray[np.float32]]
"""Of a detector, for one picture: scores of all levels, then boxes, then landmarks; then places, where not all are."""

_AT_ONCE = 2
"""Calls under way: while a device computes one, the next one's pictures are copied."""

_COUNTS = (1, 8, 32, 128)
"""Pictures a call on a GPU: onnxruntime plans anew, for seconds, where a session is given another count than before."""

_ANY = 0
"""Stands for a session that takes any count."""

_SAME = 0.02
"""How far outputs may differ between pictures alone and together: scores, strides, and each number of an embedding.

Sums in another order move them by 0.00001, TensorFloat-32 by 0.005; mixed up pictures or places by whole units.
"""


def session_like(reference: Any, graph: bytes, profile: Path | None = None) -> Any:
    """Return a session of a graph with the options, and on the devices, of another session."""
    options, told = onnxruntime.SessionOptions(), reference.get_provider_options()
    options.intra_op_num_threads = reference.get_session_options().intra_op_num_threads
    options.log_severity_level = reference.get_session_options().log_severity_level
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    names = reference.get_providers()
    # It would take the CPU without a word where a GPU has no memory left.
    return onnxruntime.InferenceSession(
        graph, options, providers=names, provider_options=[told[one] for one in names], enable_fallback=0
    )


@contextmanager
def answering(device: str) -> Iterator[None]:
    """Raise `BackendUnavailable` where a call fails on its device: without memory, say. That is no fault of a photo."""
    try:
        yield
    except (EngineError, EPFail, Fail, RuntimeException) as error:
        raise BackendUnavailable(f"onnxruntime failed on {device}: {error}") from error


def operations(file: Path, reference: Any) -> Counter[str]:
    """Run a recogniser's file once, as another session runs it, and count the operations that each device took.

    A session lists the devices that it may use. What it gave to each, its profile alone tells.
    """
    with TemporaryDirectory() as folder:
        session = session_like(reference, file.read_bytes(), Path(folder) / "profile")
        given = session.get_inputs()[0]
        session.run(None, {given.name: np.zeros((1, *given.shape[1:]), np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text())
    took = [one["args"] for one in events if one.get("cat") == "Node" and "provider" in one.get("args", {})]
    return Counter(str(args["provider"]) for args in took)


class Together:
    """A detector's sessions, each of which takes the pictures of several threads in one call."""

    def __init__(self, scrfd: SCRFD, size: int, wait_s: float, padded: bool) -> None:
        """Take `size` pictures a call at most; `padded`: counts are rounded up to `_COUNTS`, with a session for each.

        Raises `Unbatchable`.
        """
        self._size = size
        graphs = {side: batched_detector(Path(scrfd.model_file), side) for side in scrfd.input_sizes}
        self._counts = counts(size) if padded else [_ANY]
        self.sides = list(graphs)
        self.sessions = {
            (side, count): session_like(scrfd.session, graph)
            for side, graph in graphs.items()
            for count in self._counts
        }
        self._buffers: SimpleQueue[dict[Size, NDArray[np.uint8]]] = SimpleQueue()
        for _ in range(_AT_ONCE):
            self._buffers.put({side: _buffer((size, *side[::-1], 3), padded) for side in scrfd.input_sizes})
        self._gathered = Gathering(self._run, size, wait_s, _AT_ONCE)
        self._prove(scrfd)
        for count in self._counts if padded else ():
            self._run([{side: _clouds(0, side) for side in self.sides}] * count)

    def __call__(self, draw: Callable[[Size], NDArray[np.uint8]]) -> dict[Size, Outputs]:
        """Return the outputs at each input size for a picture that `draw` fits into it."""
        return self._gathered(lambda: {side: draw(side) for side in self.sides})

    def now(self, pixels: NDArray[np.uint8], side: Size) -> list[Outputs]:
        """Return the outputs at one input size for one caller's pictures (n, height, width, 3), in its own call."""
        return [one for n in range(0, len(pixels), self._size) for one in self._ran(side, pixels[n : n + self._size])]

    def _ran(self, side: Size, pixels: NDArray[np.uint8]) -> list[Outputs]:
        count = rounded_up(len(pixels), self._counts)
        filled = np.resize(pixels, (count, *pixels.shape[1:])) if count else pixels
        outputs = self.sessions[side, count].run(None, {PIXELS: filled})
        return [[output[n] for output in outputs] for n in range(len(pixels))]

    def _run(self, pictures: Sequence[dict[Size, NDArray[np.uint8]]]) -> list[dict[Size, Outputs]]:
        found: list[dict[Size, Outputs]] = [{} for _ in pictures]
        count = rounded_up(len(pictures), self._counts)
        with self._buffer() as buffer:
            for side in self.sides:
                batch = buffer[side][: count or len(pictures)]
                for n, picture in enumerate(pictures):
                    batch[n] = picture[side]
                outputs = self.sessions[side, count].run(None, {PIXELS: batch})
                for n, one in enumerate(found):
                    one[side] = [output[n] for output in outputs]
        return found

    @contextmanager
    def _buffer(self) -> Iterator[dict[Size, NDArray[np.uint8]]]:
        """Lend memory that is mapped already: to map it anew costs more than to fill it."""
        buffer = self._buffers.get()
        try:
            yield buffer
        finally:
            self._buffers.put(buffer)

    def _prove(self, scrfd: SCRFD) -> None:
        """Hold two pictures together against each alone in the pack's own graph; raises `Unbatchable`."""
        pictures = [{side: _clouds(seed, side) for side in self.sides} for seed in (1, 2)]
        for picture, found in zip(pictures, self._run(pictures), strict=True):
            for side, outputs in found.items():
                blob = np.float32((picture[side].transpose(2, 0, 1)[None] - np.float32(127.5)) / 128)
                expected = scrfd.resolution_sessions.get(side, scrfd.session).run(
                    scrfd.output_names, {scrfd.input_name: blob}
                )
                every = [part.reshape(-1, part.shape[-1]) for part in expected]
                *values, places = (outputs[n : n + scrfd.fmc] for n in range(0, 4 * scrfd.fmc, scrfd.fmc))
                for level, place in enumerate(places):
                    alone = [part[place[:, 0]] for part in every[level :: scrfd.fmc]]
                    _compare([kind[level] for kind in values], alone)


class EmbeddedTogether:
    """A recogniser that takes the faces of several threads in one call."""

    def __init__(self, recogniser: Any, size: int, wait_s: float, padded: bool) -> None:
        """Parameters are those of `Together`; raises `Unbatchable` where faces together are not what each is alone."""
        self._counts = counts(size) if padded else [_ANY]
        self._recognisers = {count: copy(recogniser) for count in self._counts}
        for one in self._recognisers.values() if padded else ():
            one.session = session_like(recogniser.session, Path(recogniser.model_file).read_bytes())
        self._gathered = Gathering(self._run, size, wait_s, _AT_ONCE)
        faces = [_clouds(seed, (112, 112)) for seed in (1, 2)]
        _compare([_unit(one) for one in self._run(faces)], [_unit(recogniser.get_feat([face])[0]) for face in faces])
        for count in self._counts if padded else ():
            self._run(faces[:1] * count)

    def __call__(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features (512,) of one aligned face, BGR."""
        return self._gathered(lambda: face)

    def _run(self, faces: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.float32]]:
        count = rounded_up(len(faces), self._counts)
        features = self._recognisers[count].get_feat([*faces, *[faces[0]] * (count - len(faces))])
        return list(features[: len(faces)])


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(features / np.linalg.norm(features), np.float32)


def counts(size: int) -> list[int]:
    """Return how many pictures a GPU is given in a call of at most `size`."""
    return [*(count for count in _COUNTS if count < size), size]


def rounded_up(count: int, planned: Sequence[int]) -> int:
    """Return the least planned count that so many pictures fit into."""
    return next((one for one in planned if one >= count), _ANY)


def _buffer(shape: tuple[int, ...], page_locked: bool) -> NDArray[np.uint8]:
    """Return memory for pixels; a GPU fetches them four times as fast where CUDA may lock the pages."""
    buffer = np.zeros(shape, np.uint8)
    for version in ("13", "12") if page_locked else ():
        with suppress(OSError):
            cuda, address = ctypes.CDLL(f"libcudart.so.{version}"), ctypes.c_void_p(buffer.ctypes.data)
            if cuda.cudaHostRegister(address, ctypes.c_size_t(buffer.nbytes), 0) == 0:
                weakref.finalize(buffer, cuda.cudaHostUnregister, address)
            break
    return buffer


def _clouds(seed: int, size: Size) -> NDArray[np.uint8]:
    """Return a picture in which no two places look alike."""
    rough = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, size), np.uint8)


def _compare(found: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> None:
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape or not np.allclose(one, other, rtol=_SAME, atol=_SAME):
            raise Unbatchable("pictures give other outputs together than alone")
