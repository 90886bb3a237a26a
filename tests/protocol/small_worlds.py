"""Small worlds of uploads with a past: drawn once, and built as often as they are needed, each time the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hypothesis import strategies as st

from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.listing import Entry
from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import PhotoRejected, SelfiegateError
from selfiegate.model import PhotoRef, ReasonCode
from selfiegate.privacy.erasures import request_erasure
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime
from selfiegate.steps import inline

USERS = ("user_a", "user_b", "user_c")
PEOPLE = ("ann", "ann~", "ann~~", "bob", "bob~")
"""'ann', 'ann~' and 'ann~~' are one person for the match threshold, whichever two are compared."""

ALIKE = "ann~~~~~"
"""A poor photo of somebody who is like 'ann' and 'ann~', though below the match threshold."""

BROKEN = ("nobody can read this",)

STORES = ("photos", "faces", "ledger", "profiles", "erasures", "thumbnails", "notifier")
LATER = 10
"""Later than all first uploads, microseconds."""
CALLS_OF_A_RUN = 40
"""No run of one photo calls its stores more often."""

Tap = Callable[[str, Callable[[], Any]], Any]
"""Is given a call's name ('ledger.claim') and its work, and returns what the call returns."""


class Upload(NamedTuple):
    """A photo, and what became of it before the test begins."""

    user_id: str
    people: tuple[str, ...]
    modified: int = 0
    past: Literal["new", "died", "held"] = "new"
    """Whether a run began on it, and died, or is alive and holds it."""
    calls: int = 0
    """To stores, that this run made."""
    gone: Literal["", "before", "later"] = ""
    """It vanishes before the test, or after it was looked at."""
    again: bool = False
    """Whether it is uploaded again, just as it was, before the test."""


class Drawn(NamedTuple):
    """Uploads, the first one first, and the numbers of those that are listed, in the listing's order."""

    uploads: tuple[Upload, ...]
    listing: tuple[int, ...]
    forgotten: tuple[str, ...] = ()
    being_forgotten: tuple[str, ...] = ()


class SmallWorld(NamedTuple):
    """A drawn world in stores."""

    rt: Runtime
    refs: list[PhotoRef]
    """Of all uploads."""
    entries: list[Entry]
    """The listing."""
    listed: list[PhotoRef]
    """The photos of the listing."""


@st.composite
def uploads(draw: st.DrawFn, people: Sequence[str] = PEOPLE) -> Upload:
    """Draw an upload; a photo that vanishes after it was looked at shows somebody whom no other user shows."""
    user_id = draw(st.sampled_from(USERS))
    gone: Literal["", "before", "later"] = draw(st.sampled_from(["", "", "", "", "before", "later"]))
    faces = [(who,) for who in (*people, f"self {user_id}", f"self {user_id}~")]
    shown = draw(st.sampled_from(faces[-2:] if gone == "later" else [*faces, *faces, (), ("ann", "bob"), BROKEN]))
    past: Literal["new", "died", "held"] = draw(st.sampled_from(["new", "new", "died", "died", "held"]))
    calls = draw(st.integers(0, CALLS_OF_A_RUN)) if past != "new" else 0
    return Upload(user_id, shown, draw(st.integers(0, 3)), past, calls, gone=gone, again=draw(st.booleans()))


@st.composite
def worlds(draw: st.DrawFn, people: Sequence[str] = PEOPLE) -> Drawn:
    """Draw a world in which users show these people, and themselves."""
    drawn = draw(st.lists(uploads(people), min_size=1, max_size=6))
    listing = draw(st.permutations(range(len(drawn))))[: draw(st.integers(1, len(drawn)))]
    wishes = draw(st.one_of(st.just([]), st.just([]), st.lists(st.sampled_from(USERS), max_size=2, unique=True)))
    finished = draw(st.integers(0, len(wishes)))
    return Drawn(tuple(drawn), tuple(listing), tuple(wishes[:finished]), tuple(wishes[finished:]))


def build(drawn: Drawn, rt: Runtime, folder: Path | None = None) -> SmallWorld:
    """Upload the photos, let the earlier runs live and die, then carry out the erasures.

    In memory, or in a folder of photos where the runtime reads from there.
    """
    uris = [str(folder / f"{number}.png") if folder else f"{number}.png" for number in range(len(drawn.uploads))]
    refs = [_add(rt, uri, _photo(upload.people)) for uri, upload in zip(uris, drawn.uploads, strict=True)]
    for ref, upload in zip(refs, drawn.uploads, strict=True):
        if upload.past != "new":
            _run_until(rt, ref, upload)
    for user_id in drawn.forgotten:
        asyncio.run(forget_user(rt, inline(rt), user_id, "an erasure", sleep=_no_time))
    for user_id in drawn.being_forgotten:
        request_erasure(rt, user_id, "an erasure")
    entries = [
        Entry(uri=uri, user_id=upload.user_id, modified=upload.modified + LATER * upload.again)
        for uri, upload in zip(uris, drawn.uploads, strict=True)
    ]
    for ref, upload in zip(refs, drawn.uploads, strict=True):
        if upload.gone == "before":
            rt.photos.erase(ref, 2**62)
    later = {ref for ref, upload in zip(refs, drawn.uploads, strict=True) if upload.gone == "later"}
    photos: Any = Vanished(rt.photos, later)
    listing = drawn.listing
    return SmallWorld(replace(rt, photos=photos), refs, [entries[n] for n in listing], [refs[n] for n in listing])


class Vanished:
    """Photos of which some are gone for whoever reads them from now on; the face backend looked at them before."""

    def __init__(self, real: Any, gone: Collection[PhotoRef]) -> None:
        self._real, self._gone = real, gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def read(self, photo: PhotoRef) -> bytes:
        """Return a photo that is still there."""
        if photo in self._gone:
            raise PhotoRejected(ReasonCode.UNREADABLE_PHOTO)
        data: bytes = self._real.read(photo)
        return data


class Tapped:
    """A store each of whose calls goes through a tap."""

    def __init__(self, real: Any, name: str, tap: Tap) -> None:
        self._real, self._name, self._tap = real, name, tap

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._real, method)
        if not callable(real) or method in ("batch", "renew", "origin"):
            return real
        return lambda *args, **more: self._tap(f"{self._name}.{method}", lambda: real(*args, **more))


def tapped(rt: Runtime, tap: Tap) -> Runtime:
    """Return a runtime with a tap before each of its stores."""
    taps: dict[str, Any] = {name: Tapped(getattr(rt, name), name, tap) for name in STORES}
    return replace(rt, **taps)


class Killed(BaseException):
    """The process is gone: nothing that handles exceptions may see it."""


def _run_until(rt: Runtime, ref: PhotoRef, upload: Upload) -> None:
    """Run a photo until the process dies, or until now, where the photo is held."""
    left = upload.calls

    def tap(call: str, work: Callable[[], Any]) -> Any:
        nonlocal left
        if left <= 0:
            raise Killed
        left -= 1
        return work()

    doomed = tapped(rt, tap)
    order = f"{upload.modified:016d}" if upload.modified else ""
    with suppress(Killed, SelfiegateError):
        asyncio.run(process_photo(doomed, inline(doomed, attempts=1), ref, upload.user_id, f"earlier {ref.key}", order))
    if row := rt.ledger.get(ref, upload.user_id):
        rt.ledger.renew(row, 3600 if upload.past == "held" else -1)


async def _no_time(seconds: float) -> None:
    """Nobody is at work any more."""


def _add(rt: Runtime, uri: str, data: bytes) -> PhotoRef:
    photos: Any = rt.photos
    if hasattr(photos, "add"):
        ref: PhotoRef = photos.add(uri, data)
        return ref
    Path(uri).write_bytes(data)
    return rt.photos.find(uri)


@lru_cache
def _photo(people: tuple[str, ...]) -> bytes:
    poor = {"quality": 40} if ALIKE in people else {}
    return b"no picture" if people == BROKEN else scripted_photo(*people, size=(96, 96), **poor)
