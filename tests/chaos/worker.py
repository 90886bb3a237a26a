"""What a worker of `tests.chaos.rounds` does: photos to verdicts, until one of its calls meets its fate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from selfiegate import audit
from selfiegate.audit import Kind
from selfiegate.aws import clients
from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import BackendUnavailable, ClaimLost, PhotoInProgress
from selfiegate.runtime import Runtime, open_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.thumbnails import ThumbnailSettings
from tests.runtimes import runtime_on_postgres, scripted_runtime

Fate = Literal["kill before", "kill after", "no answer", "reply lost", "busy", "disk full", "stop", "hang"]
STRUCK = 7
"""Exit status of a worker that met its fate and lived."""

SMALL = ThumbnailSettings(sizes=((48, 48),))


@dataclass(frozen=True)
class Where:
    """Stores to race on: a home, and AWS where that is given."""

    home: Path
    aws: Any = None
    database: str = ""
    """The address of a PostgreSQL for records and faces; `home` has the photos and thumbnails then."""
    line: str = ""
    """The same by a line that may be cut; who mends does without it."""
    people: dict[tuple[str, str], str] = field(default_factory=dict)
    """Whom each (user, photo's key) shows that was ever handed in."""
    store_patience_s: float = 30
    also_expected: tuple[type[Exception], ...] = ()
    """What ends a run of this round, too: where the gallery is lost, each is refused."""

    def open(self) -> Runtime:
        """Open the product's stores."""
        if self.database:
            settings = Settings(home=self.home, thumbnails=SMALL, store_patience_s=self.store_patience_s)
            return runtime_on_postgres(self.home, self.line or self.database, self.home / "thumbnails", settings)
        if self.aws is None:
            settings = Settings(home=self.home, thumbnails=SMALL, store_patience_s=self.store_patience_s)
            return scripted_runtime(self.home, settings)
        clients.take_access_from(lambda *_: clients.Access(shared_session()))
        return open_runtime(
            Settings(home=self.home, backend="rekognition", records="dynamodb", aws=self.aws, thumbnails=SMALL)
        )


class Photo(NamedTuple):
    """A user's photo and whom it shows."""

    user_id: str
    uri: str
    person: str
    upload_order: str = ""


class Strike(NamedTuple):
    """What befalls a worker at its n-th call."""

    call: int
    fate: Fate


class Struck:
    """A store whose calls are counted with those of the others, until one of them meets its fate."""

    def __init__(self, real: Any, count: list[int], strike: Strike, home: Path) -> None:
        self._real, self._count, self._strike, self._home = real, count, strike, home

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if not callable(real) or name in ("batch", "renew", "origin"):  # the lease's thread is no step
            return real
        return lambda *args, **more: self._call(lambda: real(*args, **more))

    def _call(self, work: Any) -> Any:
        self._count[0] += 1
        if self._count[0] != self._strike.call:
            return work()
        match self._strike.fate:
            case "kill before":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "hang":
                hung(self._home, os.getpid()).touch()
                threading.Event().wait()  # for ever: only its end ends this process
            case "no answer":
                raise BackendUnavailable("it does not answer")
            case "busy":
                with locked(self._home):
                    return work()
            case "disk full":
                with no_room():
                    return work()
        result = work()
        if self._strike.fate == "kill after":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._strike.fate == "reply lost":
            raise BackendUnavailable("the reply was lost")
        return result


def hung(home: Path, pid: int | None) -> Path:
    """Return the file by which a process says that one of its calls never returns."""
    return home / f"hung-{pid}"


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold both files' write locks; a write meets a database that is really busy."""
    others = [sqlite3.connect(home / name, timeout=30, isolation_level=None) for name in ("records.db", "gallery.db")]
    try:
        for other in others:
            other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        for other in others:
            other.close()


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Let no file of this process grow: every write fails as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def struck(rt: Runtime, strike: Strike | None, home: Path, count: list[int]) -> Runtime:
    """Return the runtime whose calls are counted and one of them struck."""
    if strike is None:
        return rt
    names = ("faces", "ledger", "profiles", "thumbnails")
    changes: dict[str, Any] = {name: Struck(getattr(rt, name), count, strike, home) for name in names}
    return replace(rt, **changes)


def work(where: Where, photos: Sequence[Photo], strike: Strike | None = None) -> None:
    """Take photos to their verdicts, one after the other, as far as fate allows."""
    if strike and strike.fate == "busy":
        where = replace(where, store_patience_s=0.1)  # so the others' writes may be too much already
    count = [0]
    for photo in photos:
        with contextlib.suppress(BackendUnavailable, ClaimLost, *where.also_expected):
            run(struck(where.open(), strike, where.home, count), photo)
    os._exit(STRUCK if strike and count[0] >= strike.call else 0)


def run(rt: Runtime, photo: Photo) -> None:
    """Run one photo, each step once."""
    found, owner = rt.photos.find(photo.uri), f"process {os.getpid()}"
    asyncio.run(process_photo(rt, inline(rt, attempts=1), found, photo.user_id, owner, photo.upload_order))


def mend(where: Where, photos: Sequence[Photo], answer: Any) -> None:
    """Run again what is unfinished, and audit, as `flows.reconcile` does; says what it repaired."""
    rt, repaired = replace(where, line="").open(), Counter[str]()
    for photo in photos:
        with contextlib.suppress(PhotoInProgress):  # it waits for another photo of its user
            run(rt, photo)
    for photo in photos:
        run(rt, photo)
    for _ in range(3):
        for orphan in audit.orphans(rt):
            repaired[orphan.kind] += 1
            if orphan.kind in (Kind.PROFILE, Kind.BARE_PROFILE, Kind.LOST_PROFILE):
                if audit.reopen(rt, orphan):
                    run(rt, next(one for one in photos if one.user_id == orphan.user_id))
                audit.drop(rt, orphan)
            else:
                audit.remove(rt, orphan)
    answer.send(dict(repaired))
    answer.close()


_SESSIONS: list[Any] = []


def shared_session() -> Any:
    """Return one session, whose service models the fork server has read already."""
    if not _SESSIONS:
        import boto3

        session = boto3.Session("test", "test", region_name="eu-west-1")
        for service in ("s3", "dynamodb", "rekognition"):
            session.client(service)
        _SESSIONS.append(session)
    return _SESSIONS[0]
