"""Photos decoded in processes of their own: a file that harms its decoder takes nothing else along.

libjpeg, libpng, libwebp, libavif and libheif are C and C++ on bytes from strangers. What `decode` and `file_structure`
bound before they run is what is known to be bad; what is not known yet may crash, hang or fill the memory. So photos
are decoded by long-lived children, at most as many as there are CPUs for us, each with one photo at a time:

- the kernel ends it after `Limits.max_seconds` of CPU time; it gets no more memory than the largest photo takes;
- one that gives no answer for `Limits.max_stalled_seconds` more was stopped, or had no CPU: it is replaced and the step
  tried again, for nothing is known of the photo;
- if it crashes or uses up its time, the photo is `unreadable_photo`, and the next one gets a new child (0.8 s of a
  core); where it had decoded others before it crashed, the photo is tried once more in the new one: it may be theirs;
- of our environment it has what importing takes, so no keys of AWS, and it dumps no core; no sandbox beyond that.

JPEGs of up to `Limits.inline_jpeg_max` pixels are decoded in this process: apart, small ones cost half as much again, a
backfill's 2 %, and libjpeg-turbo is the decoder that was looked at most. 0 has these decoded apart, too.

Children are started anew, not forked: this process has threads, and models in memory. A socket is all that they share;
a child whose parent is gone reads its end, even after SIGKILL, or is ended by its own alarm. (`PR_SET_PDEATHSIG` would
fire when the *thread* that started it ends.) What a child answers is not trusted: sizes are checked, nothing is
unpickled.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from PIL import Image

from selfiegate.cpus import available_cpus
from selfiegate.decoding.child import HEAD, LATER_S, receive, send
from selfiegate.decoding.decode import Limits, loaded, opened
from selfiegate.errors import BackendUnavailable, PhotoRejected
from selfiegate.model import ReasonCode

Decoded = tuple[Image.Image, tuple[int, int]]
"""A picture, and the photo's full size."""

_JPEG = b"\xff\xd8\xff"
_START_S = 60.0
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP)
_WHY = {
    -signal.SIGKILL: "is short of memory, or somebody ended it",
    -signal.SIGALRM: "stood still for too long, as we did",
}
_PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
_log = logging.getLogger(__name__)


class Decoders:
    """Processes that decode; `function` is what they call, `module:name`. Safe to use from several threads."""

    def __init__(self, function: str = "selfiegate.decoding.decode:decode") -> None:
        self._function = function
        self._idle: deque[_Decoder] = deque()
        self._forget()
        os.register_at_fork(after_in_child=self._forget)  # the children are the parent's

    def decode(self, data: bytes, limits: Limits, max_side: int | None = None) -> Decoded:
        """Do as `decode.decode`; raises `BackendUnavailable` where no process, or no memory of ours, can be had."""
        try:
            return self._here(data, limits, max_side) or self._apart(data, limits, max_side)
        except MemoryError as error:
            raise BackendUnavailable("this process is short of the memory that a photo takes") from error

    def _here(self, data: bytes, limits: Limits, max_side: int | None) -> Decoded | None:
        """Decode a small JPEG in this process; None for others."""
        if data.startswith(_JPEG) and limits.inline_jpeg_max and len(data) <= limits.inline_jpeg_max:
            image = opened(data, limits)
            if image.width * image.height <= limits.inline_jpeg_max:
                return loaded(image, max_side)
        return None

    def _apart(self, data: bytes, limits: Limits, max_side: int | None) -> Decoded:
        with self._turns:
            try:
                return self._decoded(self._taken(), data, limits, max_side)
            except _Crashed as crashed:
                if crashed.is_first:
                    raise
                # It may be the photo before that spoiled the process: let this one show what it does to a new one.
                return self._decoded(_Decoder(self._function), data, limits, max_side)

    def close(self) -> None:
        """End all that are idle."""
        with suppress(IndexError):
            while True:
                self._idle.pop().end()

    def _decoded(self, decoder: _Decoder, data: bytes, limits: Limits, max_side: int | None) -> Decoded:
        try:
            answer = decoder.decode(data, limits, max_side)
        except PhotoRejected:
            self._idle.append(decoder)  # or what is left of it, which is not taken
            raise
        except BaseException:
            decoder.end()
            raise
        self._idle.append(decoder)
        return answer

    def _taken(self) -> _Decoder:
        with suppress(IndexError):  # none is idle; asking before would not be safe between threads
            while True:
                decoder = self._idle.pop()
                if not decoder.ended:
                    return decoder
                decoder.end()
        return _Decoder(self._function)

    def _forget(self) -> None:
        self._idle.clear()
        self._turns = threading.BoundedSemaphore(available_cpus())


class _Crashed(PhotoRejected):
    """A decoder did, at its first photo or a later one."""

    def __init__(self, is_first: bool) -> None:
        super().__init__(ReasonCode.UNREADABLE_PHOTO)
        self.is_first = is_first


class _Decoder:
    """One process, seen from here."""

    def __init__(self, function: str) -> None:
        self._photos = 0
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "selfiegate.decoding.child", function]
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=_environment()
                )
        except OSError as error:
            self._socket.close()
            raise BackendUnavailable(f"no process can be started to decode photos: {error}") from error
        try:
            receive(self._socket, 1, time.monotonic() + _START_S)
        except (OSError, EOFError):
            self.end()
            status = self._process.returncode
            raise BackendUnavailable(
                f"the process that decodes photos does not start: it ended with {status}, and said why on stderr"
            ) from None

    @property
    def ended(self) -> bool:
        """Whether it can decode no more."""
        return self._process.poll() is not None

    def decode(self, data: bytes, limits: Limits, max_side: int | None) -> Decoded:
        """Have it decode one photo."""
        until = time.monotonic() + limits.decoder_timeout_s
        self._photos += 1
        try:
            send(self._socket, {"limits": limits.model_dump(), "max_side": max_side}, data, until)
            return _answer(self._socket, limits, max_side, until)
        except TimeoutError:
            raise self._stalled(limits) from None
        except (ValueError, LookupError, TypeError, OverflowError):
            raise self._harmed("gave an answer that is none") from None
        except (OSError, EOFError):
            raise self._death(limits) from None

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # the kernel keeps what waits for a disk
            self._process.wait(LATER_S)
        self._socket.close()

    def _harmed(self, how: str) -> PhotoRejected:
        self.end()
        _log.warning("a photo's decoder %s; it was replaced", how)
        return PhotoRejected(ReasonCode.UNREADABLE_PHOTO)

    def _stalled(self, limits: Limits) -> BackendUnavailable:
        self.end()
        return BackendUnavailable(
            f"the process that decodes photos gave no answer in {limits.decoder_timeout_s:g} s and was replaced; "
            "it was stopped, or the machine is short of CPU"
        )

    def _death(self, limits: Limits) -> Exception:
        """Say whose fault it is that the process is no more."""
        try:
            status = self._process.wait(LATER_S)
        except subprocess.TimeoutExpired:
            return self._harmed("closed its connection")
        if status == -signal.SIGPROF:
            return self._harmed(f"used more than {limits.max_seconds:g} s of the CPU")
        if -status in _CRASHES:
            self._harmed(f"crashed with {signal.Signals(-status).name}")
            return _Crashed(is_first=self._photos == 1)
        self.end()
        why = _WHY.get(status, "said why on stderr")
        return BackendUnavailable(f"the process that decodes photos ended with {status}: it {why}")


_shared = Decoders()
decode = _shared.decode
atexit.register(_shared.close)


def _environment() -> dict[str, str]:
    """Return what the child needs to import what this process imports, and nothing else."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def _answer(connection: socket.socket, limits: Limits, max_side: int | None, until: float) -> Decoded:
    """Receive a picture, or the reason that there is none; one that no decoder of ours would give is an error."""
    length, count = HEAD.unpack(receive(connection, HEAD.size, until))
    if length > 1000 or count > 3 * limits.max_pixels:
        raise ValueError
    about = json.loads(receive(connection, length, until))
    if "code" in about:
        raise PhotoRejected(ReasonCode(about["code"]), *(int(number) % 2**63 for number in about["measured"][:2]))
    (width, height), (full_width, full_height) = about["picture"], about["size"]
    if 3 * width * height != count or (max_side and max(width, height) > max_side):
        raise ValueError
    picture = Image.frombytes("RGB", (width, height), receive(connection, count, until))
    return picture, (int(full_width), int(full_height))
