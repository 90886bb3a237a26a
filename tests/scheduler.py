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
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from selfiegate import enrolment
from selfiegate.alone import finish
from selfiegate.backends.embedding import EmbeddingBackend
from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.errors import BackendUnavailable, SelfiegateError
from selfiegate.galleries.memory import MemoryGallery
from selfiegate.model import Claim, PhotoRef
from selfiegate.notices.memory import MemoryNotices
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.stores.memory import MemoryPhotos, MemoryThumbnails
from selfiegate.stores.memory_records import memory_records
from selfiegate.thumbnails import ThumbnailSettings
from tests.flowlike import as_the_flow, brief, tried
from tests.lagging import LaggingFaces
from tests.runtimes import THRESHOLDS

SETTINGS = Settings(lease_s=60, thumbnails=ThumbnailSettings(sizes=((16, 16),)))

_ADDS = ("gallery.add", "faces.enrol", "thumbnails.put", "profiles.put")
_REMOVES = ("gallery.remove", "faces.remove", "faces.discard", "thumbnails.remove")

picture = lru_cache(scripted_photo)


class Killed(BaseException):
    """The process is gone: nothing that handles exceptions may see it."""


class World:
    """The stores, the clock, and the runs that share them; `with` it, time is this world's."""

    def __init__(self, lagging: bool, one_sided: bool = False) -> None:
        self.lagging, self.runs, self.journal = lagging, list[Run](), list[str]()
        self.disturbed = False
        """Whether a run wrote to a store without a ledger after it had lost its claim: then only an audit mends."""
        self.photos, self.thumbnails = MemoryPhotos(), MemoryThumbnails()
        self.ledger, self.profiles, self.erasures = memory_records()
        self.gallery: Any = LaggingFaces(one_sided) if lagging else MemoryGallery("scripted")
        self.uploads: dict[tuple[str, str], PhotoRef] = {}
        self._now, self._here = 1_700_000_000.0, threading.local()
        self._runtimes = [self._runtime() for _ in range(2)]
        self.rt = self._runtimes[0]
        self._real = time.time_ns, time.time, time.sleep

    def __enter__(self) -> World:
        time.time_ns, time.time, time.sleep = (lambda: int(self._time() * 1e9)), self._time, self._sleep
        return self

    def __exit__(self, *_: object) -> None:
        for run in self.live:
            run.kill()
        time.time_ns, time.time, time.sleep = self._real

    @property
    def live(self) -> list[Run]:
        """The runs that have not ended."""
        return [run for run in self.runs if not run.over]

    def start(
        self, user_id: str, name: str, process: int = 0, owner: str = "", flow: bool = False, skew: int = 0
    ) -> Run:
        """Begin a run of a photo, named 'ann-1', say, in one of two processes; its clock is `skew` seconds wrong."""
        key = f"{user_id}/{name}.png"
        if (user_id, name) not in self.uploads:
            turn = "~" * (ord(user_id[-1]) % 3)  # nobody's face is quite another's
            size = (96, 96 + int(name[-1]))
            self.uploads[user_id, name] = self.photos.add(key, picture(name.split("-")[0] + turn, size=size))
        run = Run(self, len(self.runs), user_id, name, self._runtimes[process], owner, flow, skew)
        self.runs.append(run)
        self.log(f"{run} starts{' as the flow' if flow else ''}{f', owned by {owner}' if owner else ''}")
        run.start()
        return run

    def expire(self, run: Run) -> None:
        """Let the lease of a run's row end now."""
        row = self.ledger.get(run.photo, run.user_id)
        if row and row.verdict is None:
            self.log(f"{run}: its lease ends")
            self.ledger.renew(row, -1000)

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

    def _sleep(self, seconds: float) -> None:
        run = self.current()
        if run is None:
            return self._real[2](seconds)
        return run.point("sleep", (), lambda: None)

    def _runtime(self) -> Runtime:
        """Build what one process has: caches of its own over the shared stores."""
        faces: Any = self.gallery
        wired = Wired(self, "faces" if self.lagging else "gallery", faces)
        if not self.lagging:
            faces = EmbeddingBackend(ScriptedAnalyser(), wired, self.photos, SETTINGS.photos, THRESHOLDS)
        return Runtime(
            settings=SETTINGS,
            photos=self.photos,
            faces=wired if self.lagging else faces,
            ledger=Wired(self, "ledger", self.ledger),
            profiles=Wired(self, "profiles", self.profiles),
            erasures=Wired(self, "erasures", self.erasures),
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


class Run:
    """One attempt at one photo, in a thread that works only while `step` waits for it."""

    def __init__(
        self, world: World, number: int, user_id: str, name: str, rt: Runtime, owner: str, flow: bool, skew: int
    ) -> None:
        self.user_id, self.name, self.photo, self.skew = user_id, name, world.uploads[user_id, name], skew
        self.owner = owner or f"run {number}"
        self.over, self.next, self.claim = False, "", None
        self._world, self._number, self._rt, self._flow = world, number, rt, flow
        self._order, self._dead = "go", False
        self._go, self._parked = threading.Semaphore(0), threading.Semaphore(0)
        self.crashed: BaseException | None = None

    claim: Claim | None

    def __repr__(self) -> str:
        return f"#{self._number} ({self.user_id} {self.name})"

    def start(self) -> None:
        """Run up to the first call."""
        threading.Thread(target=self._live, daemon=True).start()
        self._parked.acquire()

    def step(self, order: str = "go") -> None:
        """Let the next call happen ('go'), fail before ('fail') or after its work ('lose'), or never return ('die')."""
        if not self.over:
            self._order = order
            if order == "die":
                self._world.log(f"{self} dies before {self.next}")
            self._go.release()
            self._parked.acquire()
        if self.crashed:
            raise self.crashed

    def to(self, call: str) -> None:
        """Go on until this call is next, or the run has ended."""
        while not self.over and self.next != call:
            self.step()

    def end(self) -> None:
        """Go on to the end."""
        self.to("")

    def kill(self) -> None:
        """Die before the next call."""
        self.step("die")

    def point(self, call: str, args: Sequence[Any], work: Callable[[], Any]) -> Any:
        """Wait for the turn, then do the call or fail it."""
        if self._dead:
            raise Killed
        self.next = call
        self._parked.release()
        self._go.acquire()
        order, self._dead = self._order, self._order == "die"
        if self._dead:
            raise Killed
        if order == "fail":
            self._world.log(f"{self} {call}{brief(args)}: fails")
            raise BackendUnavailable(f"{call} does not answer")
        self._watch(call)
        result = work()
        if call == "ledger.claim":
            self.claim = result
        self._world.log(f"{self} {call}{brief(args)} -> {'reply lost' if order == 'lose' else brief(result)}")
        if order == "lose":
            raise BackendUnavailable(f"the reply to {call} was lost")
        return result

    def _live(self) -> None:
        self._world.enter(self)
        try:
            self._work()
        except Killed:
            pass
        except SelfiegateError as error:
            self._world.log(f"{self} ends: {type(error).__name__}: {error}")
        except BaseException as error:
            self.crashed = error
        self.over = True
        self._parked.release()

    def _work(self) -> None:
        take = tried if self._flow else lambda step, *args: step(*args)
        claim = take(enrolment.claim_photo, self._rt, self.photo, self.user_id, self.owner)
        if claim.verdict is None:
            claim = as_the_flow(self._rt, claim) if self._flow else finish(self._rt, claim)
        self._world.log(f"{self} ends: {claim.status}")

    def _watch(self, call: str) -> None:
        """Notice a write without a ledger by a run that lost its claim; removing what was refused is meant."""
        if call not in _ADDS + _REMOVES:
            return
        row = self._world.ledger.get(self.photo, self.user_id)
        assert row is not None, "a write before a claim"
        ours = self.claim and (row.owner, row.attempt) == (self.claim.owner, self.claim.attempt) and not row.verdict
        if not ours and not (call in _REMOVES and row.status == "rejected"):
            self._world.disturbed = True
            self._world.log(f"{self} writes though it lost its claim")
