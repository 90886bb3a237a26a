"""Processes that forget a user over slow stores, and others that reconcile beside them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfiegate.aws import clients
from selfiegate.backends.scripted import scripted_photo
from selfiegate.errors import BackendMisconfigured, ClaimLost
from selfiegate.model import Claim
from selfiegate.privacy.sequence import forget_user
from selfiegate.reconciliation import Restarts, carry_on_erasures
from selfiegate.records import Erasure
from selfiegate.runtime import Runtime, open_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from tests.chaos.worker import SMALL, shared_session
from tests.runtimes import scripted_runtime

USER, FIRST = "user_a", "the first run"


@dataclass(frozen=True)
class Slow:
    """Stores on disk, one of which takes its time over each removal, or refuses to remove originals."""

    home: Path
    seconds: float = 0
    lease_s: float = 4
    locked: bool = False
    aws: Any = None
    """Where the faces are in Rekognition; the records are files all the same."""

    def open(self) -> Runtime:
        """Open the product's stores."""
        settings = Settings(home=self.home, lease_s=self.lease_s, thumbnails=SMALL)
        if self.aws:
            clients.take_access_from(lambda *_: clients.Access(shared_session()))
            return open_runtime(settings.model_copy(update={"backend": "rekognition", "aws": self.aws}))
        rt = scripted_runtime(self.home, settings)
        faces: Any = Slowed(rt.faces, self.seconds)
        photos: Any = Refusing(rt.photos) if self.locked else rt.photos
        return replace(rt, faces=faces, photos=photos)


class Slowed:
    """A gallery far away."""

    def __init__(self, real: Any, seconds: float) -> None:
        self._real, self._seconds = real, seconds

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return self._slowly(real) if name == "remove" else real

    def _slowly(self, real: Callable[[str], None]) -> Callable[[str], None]:
        def call(face_id: str) -> None:
            time.sleep(self._seconds)
            real(face_id)

        return call


class Refusing:
    """A bucket whose photos this role may not delete."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        if name == "erase":
            raise BackendMisconfigured("s3:DeleteObjectVersion on the bucket photos: AccessDenied")
        return getattr(self._real, name)


def enrol_many(where: Slow, count: int) -> None:
    """Leave photos of a user behind, each with its row and its face."""
    rt = where.open()
    (where.home / "photos" / USER).mkdir(parents=True)
    for n in range(count):
        file = where.home / "photos" / USER / f"{n}.png"
        file.write_bytes(scripted_photo(f"person {n}"))
        photo = rt.photos.find(str(file))
        row = rt.ledger.claim(photo, USER, "a run that died", 0.001)
        rt.ledger.note_face(row, rt.faces.enrol(photo, USER))


def forget(where: Slow, photos: bool = False, keep_originals: bool = False) -> None:
    """Forget the user; another run may take over, and the originals may be locked."""
    rt = where.open()
    with contextlib.suppress(ClaimLost, BackendMisconfigured):
        asyncio.run(forget_user(rt, inline(rt), USER, FIRST, photos, keep_originals=keep_originals))


def reconcile(where: Slow, name: str) -> None:
    """Carry on what seems dead, once a second."""
    rt, turn = where.open(), 0

    async def carry_on(erasure: Erasure) -> str:
        with contextlib.suppress(ClaimLost, BackendMisconfigured):
            await forget_user(rt, inline(rt), erasure.user_id, f"{name} {turn}", erasure.photos, erasure.asked_at)
        return ""

    async def none(_: Claim) -> str:
        return ""

    async def no_runs() -> int:
        return 0

    while True:
        turn += 1
        asyncio.run(carry_on_erasures(inline(rt), Restarts(none, carry_on, no_runs), []))
        time.sleep(1)
