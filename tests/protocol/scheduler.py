"""Runs of the enrolment protocol, advanced one store call at a time, over stores in memory and a clock of its own.

A run is a thread that holds the only baton while it works, and gives it back before each call to ledger, profiles,
gallery and thumbnails (and instead of each sleep). So whoever schedules decides, call by call and reproducibly,
who goes next, whose call fails, before its work or after it, and who dies. Two galleries are driven: the embedded
backend's own code over a gallery in memory, and `LaggingFaces`, all that Rekognition may do within what the
protocol assumes.
"""

from __future__ import annotations

import threading
import time
from functools import lru_cache
from typing import Any, SupportsIndex, TypeVar

from selfiegate.backends.embedding import EmbeddingBackend
from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.galleries.memory import MemoryGallery
from selfiegate.model import PhotoRef
from selfiegate.notices.memory import MemoryNotices
from selfiegate.ports import Thresholds
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.stores.memory_photos import MemoryPhotos, MemoryThumbnails
from selfiegate.stores.memory_records import memory_records
from selfiegate.thumbnails import ThumbnailSettings
from tests.protocol.lagging import LaggingFaces
from tests.protocol.scheduled import LateLook, PhotoRun, Run
from tests.protocol.watching import Watch
from tests.runtimes import THRESHOLDS

SETTINGS = Settings(lease_s=60, thumbnails=ThumbnailSettings(sizes=((16, 16),)))

USER_OF_LOOKS = "user_a"
"""Whom a late look is called after; it looks at everybody."""

UNCLEAR = Thresholds(match=0.99, verify=0.3, review=0.99, unclear=0.4)

picture = lru_cache(scripted_photo)

R = TypeVar("R", bound=Run)


class World:
    """The stores, the clock, and the runs that share them; `with` it, time is this world's."""

    def __init__(self, lagging: bool, one_sided: bool = False, dated: bool = False, unclear: bool = False) -> None:
        """`unclear`: all photos are poor, and one person's face differs from user to user by as much as others' do."""
        self.lagging, self.runs, self.journal, self.dated = lagging, list[Run](), list[str](), dated
        self.refuses = False
        """Whether the gallery is lost, older or another's: then each call to it is refused."""
        self.doubled = False
        """Whether searches had let two users with one face through, and late looks have not parted them yet."""
        self.disturbed = False
        """Whether a run wrote to a store without a ledger after it had lost its claim: then only an audit mends."""
        self.refusing_until = 0
        """Until when erasures may remove neither faces nor thumbnails, microseconds since 1970."""
        self.photos, self.thumbnails = MemoryPhotos(), MemoryThumbnails()
        self.ledger, self.profiles, self.erasures, self.known_gallery = memory_records()
        self.thresholds = UNCLEAR if unclear else THRESHOLDS
        self.gallery: Any = LaggingFaces(one_sided, self.thresholds) if lagging else MemoryGallery("scripted")
        self.uploads: dict[tuple[str, str], PhotoRef] = {}
        self.orders: dict[tuple[str, str], str] = {}
        """When a photo was uploaded last; nobody knows it where the world is not `dated`."""
        self.watch = Watch(self)
        self._now, self._here = 1_700_000_000.0, threading.local()
        self.runtimes = [self._runtime() for _ in range(2)]
        self.rt = self.runtimes[0]
        self._real = time.time_ns, time.time, time.sleep

    def __enter__(self) -> World:
        time.time_ns, time.time, time.sleep = (lambda: int(self._time() * 1e9)), self._time, self._sleep
        return self

    def __exit__(self, *_: object) -> None:
        for run in self.live:
            run.kill()
        time.time_ns, time.time, time.sleep = self._real

    @property
    def photo_runs(self) -> list[Run]:
        """Those of them that take a photo."""
        return [run for run in self.live if not (run.erases or run.looks)]

    @property
    def live(self) -> list[Run]:
        """The runs that have not ended."""
        return [run for run in self.runs if not run.over]

    def start(
        self, user_id: str, name: str, process: int = 0, owner: str = "", flow: bool = False, skew: int = 0
    ) -> Run:
        """Begin a run of a photo, named 'ann-1', say, in one of two processes; its clock is `skew` seconds wrong."""
        if (user_id, name) not in self.uploads:
            self.upload(user_id, name)
        run = PhotoRun(self, user_id, name, self.runtimes[process], owner, flow, skew)
        self.log(f"{run} starts{' as the flow' if flow else ''}{f', owned by {owner}' if owner else ''}")
        return self.begin(run)

    def look(self, process: int = 0) -> Run:
        """Begin a late look."""
        return self.begin(LateLook(self, USER_OF_LOOKS, self.runtimes[process], ""))

    def let_both_through(self, *users: str) -> None:
        """Accept users with one face, and let the time pass after which it is looked up; searches find all then."""
        self.doubled = self.gallery.blind = True
        for user_id in users:
            self.start(user_id, "ann-0").end()
        self.gallery.blind = False
        self.gallery.catch_up()
        self.let_pass(SETTINGS.recheck_after_s)

    def begin(self, run: R) -> R:
        """Let a run come to its first call."""
        self.runs.append(run)
        run.start()
        return run

    def upload(self, user_id: str, name: str) -> None:
        """Let a photo be uploaded, or uploaded again just as it was."""
        turn = "~" * (ord(user_id[-1]) % 3)  # nobody's face is quite another's
        data = picture(name.split("-")[0] + turn, size=(96, 96 + int(name[-1])), quality=82)
        self.uploads[user_id, name] = self.photos.add(f"{user_id}/{name}.png", data)
        self._now += 0.001
        self.orders[user_id, name] = f"{self.micros():016d}.0" if self.dated else ""

    def expire(self, run: Run) -> None:
        """Let the lease of a run's row end now."""
        if run.looks:
            return
        if run.erases:
            self.expire_erasure(run.user_id)
            return
        row = self.ledger.get(run.photo, run.user_id)
        if row and row.verdict is None:
            self.log(f"{run}: its lease ends")
            self.ledger.renew(row, -1000)

    def expire_erasure(self, user_id: str) -> None:
        """Let the lease of a user's erasure end now."""
        if (erasure := self.erasures.get(user_id)) and erasure.finished_at is None:
            ended = erasure.model_copy(update={"lease_until": 0, "revision": erasure.revision + 1})
            assert self.erasures.put(ended, replacing=erasure)

    def let_pass(self, seconds: float) -> None:
        """Let time pass, in which those who hold a lease renew it."""
        held = [(run, self.ledger.get(run.photo, run.user_id)) for run in self.photo_runs]
        rows = [row for run, row in held if row and run.holds(row) and row.lease_until >= self.micros()]
        found = [(run, self.erasures.get(run.user_id)) for run in self.live if run.erases]
        erasures = [one for run, one in found if one and one.run == run.owner and one.lease_until >= self.micros()]
        self._now += seconds
        for row in rows:
            self.ledger.renew(row, SETTINGS.lease_s)
        for one in erasures:
            lease_until = self.micros() + int(SETTINGS.lease_s * 1e6)
            renewed = one.model_copy(update={"lease_until": lease_until, "revision": one.revision + 1})
            self.erasures.put(renewed, replacing=one)

    def micros(self) -> int:
        """Return the time, in microseconds since 1970."""
        return int(self._now * 1e6)

    def log(self, line: str) -> None:
        self.journal.append(line)

    def current(self) -> Run | None:
        """Return the run whose thread this is."""
        return getattr(self._here, "run", None)

    def enter(self, run: Run) -> None:
        """Say that this thread is a run's."""
        self._here.run = run

    def _time(self) -> float:
        run = self.current()
        self._now += 0.001
        return self._now + (run.skew if run else 0)

    def _sleep(self, seconds: SupportsIndex | float) -> None:
        run = self.current()
        if run is None:
            self._real[2](seconds)
            return
        run.point("sleep", (), lambda: self.let_pass(float(seconds)) if float(seconds) > 1 else None)

    def _runtime(self) -> Runtime:
        """Build what one process has: caches of its own over the shared stores."""
        faces: Any = self.gallery
        wired = Wired(self, "faces" if self.lagging else "gallery", faces)
        if not self.lagging:
            faces = EmbeddingBackend(ScriptedAnalyser(), wired, self.photos, SETTINGS.photos, self.thresholds)
        return Runtime(
            settings=SETTINGS,
            photos=self.photos,
            faces=wired if self.lagging else faces,
            ledger=Wired(self, "ledger", self.ledger),
            profiles=Wired(self, "profiles", self.profiles),
            erasures=Wired(self, "erasures", self.erasures),
            known_gallery=self.known_gallery,
            thumbnails=Wired(self, "thumbnails", self.thumbnails),
            notifier=MemoryNotices(),
        )


class Wired:
    """A store each of whose calls is a point at which the calling run waits for its turn."""

    def __init__(self, world: World, name: str, real: Any) -> None:
        self._world, self._name, self._wired = world, name, real

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._wired, method)
        run = self._world.current()
        if run is None or not callable(real) or method in ("origin", "detect"):
            return real
        return lambda *args, **more: run.point(f"{self._name}.{method}", args, lambda: real(*args, **more))
