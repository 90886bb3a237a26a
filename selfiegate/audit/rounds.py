"""Goes through the stores for orphans, a bounded page at a time.

    faces        each face of the gallery has a profile that names it
    profiles     each profile has its face
    thumbnails   each folder of thumbnails has a profile, and each profile its folder

Folders name no user, so they are held against all rows and profiles: so many folders at once as `WINDOW` says, which
bounds the memory. What seems to lack something is looked at by itself before it counts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Literal

from selfiegate import thumbnails as thumbs
from selfiegate.audit.orphans import (
    Kind,
    Orphan,
    faces_of,
    folders_of,
    is_ours,
    of_face,
    of_folder,
    of_profile,
    of_unreadable,
    still,
)
from selfiegate.clock import LAST_MOMENT
from selfiegate.errors import UnreadableRow
from selfiegate.model import Profile
from selfiegate.runtime import Runtime
from selfiegate.values import Value

PAGE = 5_000
"""Things that one step reads: about half a second on SQLite, seconds on AWS."""
LOOKS = 200
"""Doubtful things that one step looks at by itself: several calls each."""
WINDOW = 250_000
"""Folders that are held in memory at once: about 50 MB."""
KEPT = 500
"""Findings after which a run ends; the next goes on behind them."""

Stage = Literal["faces", "profiles", "thumbnails", "end"]
_NEXT: dict[Stage, Stage] = {"faces": "profiles", "profiles": "thumbnails", "thumbnails": "end"}


class Bookmark(Value):
    """Where an audit goes on."""

    stage: Stage = "faces"
    after: str = ""


class Round:
    """An audit on its way through the stores.

    No dataclass: Prefect would walk through all that it holds at each step.
    """

    def __init__(self, begins_at: Bookmark, keeps_bookmarks: bool = False) -> None:
        self.at, self.begins_at, self.keeps_bookmarks = begins_at, begins_at, keeps_bookmarks
        self.found, self.seen = list[Orphan](), Counter[str]()
        self.doubts = deque[Callable[[Runtime], Orphan | None]]()
        self.window: Window | None = None

    def __str__(self) -> str:
        return self.at.stage

    @property
    def ended(self) -> bool:
        """Whether everything was looked at."""
        return self.at.stage == "end" and not self.doubts

    @property
    def may_stop(self) -> bool:
        """Whether the next round can go on at `at`: nothing is half done, and it is not where this round began."""
        return not self.doubts and self.at != self.begins_at

    def passed(self, place: str) -> None:
        """Go on behind a page, or with the next stage."""
        stage = self.at.stage
        self.at = Bookmark(stage=stage, after=place) if place else Bookmark(stage=_NEXT[stage])


class Window:
    """Some folders of thumbnails, and what is not explained of them yet."""

    def __init__(self, begins: str, there: Collection[str] = (), phase: Literal["list", "rows"] = "list") -> None:
        self.begins, self.ends = begins, begins
        self.there, self.loose = set(there), set(there)
        self.phase: Literal["list", "rows", "profiles"] = phase
        self.place = begins if phase == "list" else ""
        self.spared = set[str]()
        """Folders of users whose rows cannot be read: what these account for is not known."""

    def add(self, folders: Sequence[str], place: str) -> None:
        """Take up a page of folders."""
        self.there |= set(filter(is_ours, folders))
        self.ends = self.place = place
        if not place or len(self.there) >= WINDOW:
            self.loose, self.phase, self.place = set(self.there), "rows", ""

    def lacks(self, profile: Profile) -> bool:
        """Say whether a profile's folder would be among these, and is not."""
        folder = folders_of(profile)[0]
        is_here = self.begins < f"{folder}/" and (not self.ends or f"{folder}/" < self.ends)
        return bool(profile.model and profile.thumbnails) and is_here and folder not in self.there

    def spare(self, unreadable: UnreadableRow) -> None:
        """Leave a user's thumbnails alone."""
        self.spared.add(thumbs.home(unreadable.user_id))

    @property
    def unexplained(self) -> list[str]:
        """What nothing explained, in the store's order."""
        folders = (folder for folder in self.loose if folder.partition("/")[0] not in self.spared)
        return sorted(folders, key=lambda folder: f"{folder}/")


def begin(rt: Runtime) -> Round:
    """Begin where the last audit stopped, or at the beginning."""
    text = rt.ledger.audit_bookmark()
    return Round(Bookmark.model_validate_json(text) if text else Bookmark(), keeps_bookmarks=True)


def keep(rt: Runtime, at: Bookmark) -> None:
    """Let the next audit go on there."""
    rt.ledger.keep_audit_bookmark("" if at in (Bookmark(), Bookmark(stage="end")) else at.model_dump_json())


def advance(rt: Runtime, ours: Round) -> None:
    """Look at the next page, or at some of what was doubtful; may be repeated.

    While nothing was found, the place is written down: a run that is killed is gone on with.
    """
    if ours.doubts:
        looks = [ours.doubts[n] for n in range(min(LOOKS, len(ours.doubts)))]
        known = set(ours.found)
        ours.found += [orphan for look in looks if (orphan := look(rt)) and orphan not in known]
        for _ in looks:
            ours.doubts.popleft()
    else:
        before = ours.at
        _STAGES[ours.at.stage](rt, ours)
        if ours.keeps_bookmarks and not ours.found and not ours.doubts and ours.at != before:
            keep(rt, ours.at)


def second_look(ours: Round) -> Round:
    """Return a round that looks at all that was found again, and finds what is the same."""
    again = Round(Bookmark(stage="end"))
    again.found = [orphan for orphan in ours.found if orphan.kind is Kind.UNREADABLE]  # these are only listed
    folders = [orphan.name for orphan in ours.found if orphan.kind is Kind.THUMBNAIL]
    alone = (one for one in ours.found if one.kind not in (Kind.THUMBNAIL, Kind.UNREADABLE))
    again.doubts.extend(partial(still, orphan=one) for one in alone)
    if folders:
        again.at, again.window = Bookmark(stage="thumbnails"), Window("", folders, "rows")
        again.window.ends = " "  # sorts before all folders: no profile's lies between
    return again


def orphans(rt: Runtime) -> list[Orphan]:
    """Return all that an audit finds, at once: for small stores."""
    ours = Round(Bookmark())
    while not ours.ended:
        advance(rt, ours)
    return ours.found


def undecided_folders(rt: Runtime) -> Iterator[Sequence[str]]:
    """Go through the thumbnails' folders of rows without a verdict."""
    place = None
    while place != "":
        page = rt.ledger.undecided(place or "", PAGE)
        yield [thumbs.folder_of(photo_id, user_id) for user_id, photo_id in page.items]
        place = page.next


def _faces(rt: Runtime, ours: Round) -> None:
    if not ours.at.after:
        unreadable = list[UnreadableRow]()
        rt.ledger.unfinished(LAST_MOMENT, LOOKS, skip=unreadable.append)
        ours.found += map(of_unreadable, unreadable)
    page = rt.faces.page(ours.at.after, PAGE)
    profiles = rt.profiles.of({face.user_id for face in page.items})
    named = {face_id for profile in profiles for face_id in faces_of(profile)}
    ours.doubts.extend(partial(of_face, face=face) for face in page.items if face.face_id not in named)
    ours.seen["faces"] += len(page.items)
    ours.passed(page.next)


def _profiles(rt: Runtime, ours: Round) -> None:
    unreadable = list[UnreadableRow]()
    page = rt.profiles.page(ours.at.after, PAGE, unreadable.append)
    mine = [profile for profile in page.items if profile.model in ("", rt.faces.model)]
    held = rt.faces.held({profile.face_id for profile in mine})
    ours.doubts.extend(partial(of_profile, user_id=one.user_id) for one in mine if one.face_id not in held)
    ours.found += map(of_unreadable, unreadable)
    ours.seen["profiles"] += len(page.items)
    ours.passed(page.next)


def _thumbnails(rt: Runtime, ours: Round) -> None:
    window = ours.window = ours.window or Window(ours.at.after)
    match window.phase:
        case "list":
            listed = rt.thumbnails.folders(window.place, PAGE)
            window.add(listed.items, listed.next)
            ours.seen["thumbnails"] += len(listed.items)
        case "rows":
            rows = rt.ledger.undecided(window.place, PAGE)
            window.loose -= {thumbs.folder_of(photo_id, user_id) for user_id, photo_id in rows.items}
            window.place = rows.next
            window.phase = "rows" if rows.next else "profiles"
        case "profiles":
            page = rt.profiles.page(window.place, PAGE, window.spare)
            window.loose -= {folder for profile in page.items for folder in folders_of(profile)}
            ours.doubts.extend(partial(of_profile, user_id=one.user_id) for one in page.items if window.lacks(one))
            window.place = page.next
            if not page.next:
                _close(ours, window)


def _close(ours: Round, window: Window) -> None:
    lost = {one.photo and thumbs.folder(one.photo, one.user_id or "") for one in ours.found}  # their photos run again
    folders = [folder for folder in window.unexplained if folder not in lost]
    ours.doubts.extend(partial(of_folder, folder=folder) for folder in folders[:KEPT])
    ours.window = None
    ours.passed(f"{folders[KEPT - 1]}0" if len(folders) > KEPT else window.ends.strip())


_STAGES: dict[Stage, Callable[[Runtime, Round], None]] = {
    "faces": _faces,
    "profiles": _profiles,
    "thumbnails": _thumbnails,
}
