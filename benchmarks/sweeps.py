"""The audit and reconcile's look at very many users, on SQLite: `python -m benchmarks.sweeps [USERS ...]`.

Builds the databases by bulk INSERT, without embeddings and without files of thumbnails, so each profile has none. As
many rows are unfinished. All were tried eight times and have to wait, but for one that is fresh. `all at once` is what
audit and look did before they were paged: they held all rows. It is left out above 200,000 users, for its memory. Times
are of the CPU.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from selfiegate.audit.rounds import Bookmark, Round, advance
from selfiegate.clock import LAST_MOMENT, now_us
from selfiegate.model import PhotoRef, Profile
from selfiegate.runtime import Runtime
from selfiegate.settings import Settings
from selfiegate.unfinished import unfinished
from tests.runtimes import scripted_runtime

_AN_HOUR_US = 3_600_000_000
_MOST_AT_ONCE = 200_000


def main(*sizes: int) -> None:
    """Print one row per way of looking, each in a process of its own."""
    print("| look | users | time | longest step | memory |\n|---|---:|---:|---:|---:|", flush=True)
    for users in sizes or (100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            _fill(opened(Path(folder)), users)
            for name in _LOOKS:
                if users <= _MOST_AT_ONCE or "at once" not in name:
                    child = [sys.executable, "-m", "benchmarks.sweeps", name, str(users), folder]
                    subprocess.run(child, check=True)


def opened(home: Path) -> Runtime:
    return scripted_runtime(home, Settings(home=home))


def _fill(rt: Runtime, users: int) -> None:
    """Enrol so many users, and leave as many rows of others unfinished."""
    gallery, records = rt.faces._gallery._db, rt.ledger._db  # type: ignore[attr-defined]
    with gallery.write() as connection:
        faces = ((_face(n), _user(n), b"") for n in range(users))
        connection.executemany("INSERT INTO faces (face_id, user_id, embedding) VALUES (?, ?, ?)", faces)
    with records.write() as connection:
        connection.executemany("INSERT INTO profiles (user_id, revision, profile) VALUES (?, 1, ?)", _profiles(users))
        connection.executemany(
            """INSERT INTO claims (user_id, photo_id, photo, status, claimed_at, owner, lease_until, attempt)
            VALUES (?, ?, ?, 'pending', 1, 'a dead run', ?, ?)""",
            _rows(users),
        )


def _profiles(users: int) -> Iterator[tuple[str, str]]:
    for n in range(users):
        profile = Profile.model_validate(
            {
                "user_id": _user(n),
                "photo": _photo(n),
                "face_id": _face(n),
                "thumbnails": {},
                "model": "scripted",
                "upload_rank": "1",
                "enrolled_at": "2026-01-01T00:00:00Z",
            }
        )
        yield _user(n), profile.model_dump_json()


def _rows(count: int) -> Iterator[tuple[str, str, str, int, int]]:
    for n in range(count):
        photo, fresh = _photo(n), n == count // 2
        lease_until = now_us() - (1_000_000 if fresh else _AN_HOUR_US // 2)
        yield f"other {n:07}", photo.id, photo.model_dump_json(), lease_until, 1 if fresh else 8


def _user(n: int) -> str:
    return f"user {n:07}"


def _face(n: int) -> str:
    return f"00000000-0000-5000-8000-{n:012}"


def _photo(n: int) -> PhotoRef:
    return PhotoRef(bucket="photos", key=f"{_user(n)}/selfie.jpg", version="0123456789abcdef0123456789abcdef")


def audit_in_pages(rt: Runtime) -> list[float]:
    """Go through all stores; return what each step took."""
    ours, steps = Round(Bookmark()), list[float]()
    while not ours.ended:
        began = time.process_time()
        advance(rt, ours)
        steps.append(time.process_time() - began)
    assert not ours.found
    return steps


def audit_all_at_once(rt: Runtime) -> list[float]:
    """Read what the audit held before: all faces, unfinished rows and profiles."""
    began = time.process_time()
    faces = list(rt.faces.faces())
    rows = rt.ledger.unfinished(LAST_MOMENT)
    profiles = list(rt.profiles.all())
    assert len({face.face_id for face in faces} - {profile.face_id for profile in profiles}) == len(rows) * 0
    return [time.process_time() - began]


def look_with_a_limit(rt: Runtime) -> list[float]:
    """Find the one row that is due."""
    began = time.process_time()
    assert len(unfinished(rt, 200)) == 1
    return [time.process_time() - began]


def look_at_all(rt: Runtime) -> list[float]:
    """Read all rows with work left, as reconcile did before."""
    began = time.process_time()
    rt.ledger.unfinished(now_us())
    return [time.process_time() - began]


_LOOKS = {
    "audit, in pages": audit_in_pages,
    "audit, all at once": audit_all_at_once,
    "reconcile's look, with a limit": look_with_a_limit,
    "reconcile's look, all at once": look_at_all,
}


def _print(name: str, users: int, rt: Runtime) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps = _LOOKS[name](rt)
    mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    print(f"| {name} | {users:,} | {sum(steps):.1f} s | {max(steps):.2f} s | {mb:.0f} MB |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in _LOOKS:
        _print(sys.argv[1], int(sys.argv[2]), opened(Path(sys.argv[3])))
    else:
        main(*map(int, sys.argv[1:]))
