"""The part of an erasure that removes: everything that the stores hold of a user.

A sweep goes over the user's rows, some at a time. It writes down what is there, removes the rows (a run that holds a
row stops at its next step) and the profile, then faces and thumbnails. The second sweep also goes through the gallery's
list, page by page, for faces that no row and no profile names: a run may have died right after it enrolled one.
Original photos are last, when both sweeps are done: their bucket may refuse.

Each step works for some seconds and notes what is gone. Whoever takes over goes on from there. Before each removal
the erasure is read: a process that slept past its lease then finds that the erasure is no longer its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from selfiegate import thumbnails as thumbs
from selfiegate.clock import in_us
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, SelfiegateError
from selfiegate.model import Claim, PhotoRef, Profile
from selfiegate.paging import Page
from selfiegate.privacy.erasures import Thing, changed, still, sum_of
from selfiegate.records import Erasure
from selfiegate.runtime import Runtime

SWEEP_ROWS = 100
"""Rows at a time: DynamoDB takes 400 kB an item, and keys have up to 1,024 bytes."""

STEP_S = 10.0
"""After so long a step ends, and the next one goes on; far below the timeout of a step."""

_ROOM = 150_000
"""Bytes of original photos' names that an erasure may hold before the rows of some more."""


def sweep(rt: Runtime, ours: Erasure, rows_at_once: int = SWEEP_ROWS, seconds: float = STEP_S) -> Erasure:
    """Remove a part of what there is of a user; when nothing is left, the erasure that is returned has one more sweep.

    Does nothing where that was reached by a call whose reply was lost.
    """
    erasure = _present(rt, ours)
    rows = rt.ledger.claims_of(ours.user_id) if erasure.sweeps == ours.sweeps else ()
    named, at, enough = {row.photo.id: row for row in rows}, 0, time.monotonic() + seconds
    while erasure.sweeps == ours.sweeps:
        if sum(map(len, erasure.originals)) > _ROOM:
            erasure = erase_originals(rt, erasure)
        else:
            some, at = rows[at : at + rows_at_once], at + rows_at_once
            erasure = _sweep_rows(rt, erasure, some, named, last=at >= len(rows), enough=enough)
        if time.monotonic() >= enough:
            break
    return erasure


def erase_originals(rt: Runtime, ours: Erasure, seconds: float = STEP_S) -> Erasure:
    """Remove original photos that the sweeps named, as many as there is time for.

    One that cannot be removed keeps none of the others; the first such fault is raised when all were tried.
    """
    enough = time.monotonic() + seconds
    erasure = _present(rt, ours)
    gone, failed, fault = list[str](), list[str](), None
    for name in erasure.originals:
        try:
            _present(rt, ours)
            rt.photos.erase(PhotoRef.from_store(name), erasure.asked_at)
            gone.append(name)
        except (BackendMisconfigured, BackendUnavailable) as error:
            failed.append(name)
            fault = fault or error
        if time.monotonic() >= enough:
            break
    erasure = _without(rt, ours, gone, failed)
    if fault:
        raise _explained(fault, erasure)
    return erasure


def _without(rt: Runtime, ours: Erasure, gone: Sequence[str], failed: Sequence[str]) -> Erasure:
    """Count original photos that are gone, and put those that failed behind those that were not tried."""

    def without(present: Erasure | None) -> Erasure:
        present = still(present, ours)
        tried = {*gone, *failed}
        left = [name for name in present.originals if name not in tried]
        removed = sum_of(present.removed, Counter({"photo": len(gone)} if gone else {}))
        failures = 0 if gone else present.failures
        return present.model_copy(update={"originals": (*left, *failed), "removed": removed, "failures": failures})

    return changed(rt.erasures, ours.user_id, without)


def _explained(fault: SelfiegateError, erasure: Erasure) -> SelfiegateError:
    kind = BackendUnavailable if isinstance(fault, BackendUnavailable) else BackendMisconfigured
    return kind(
        f"{len(erasure.originals)} original photos of {erasure.user_id} are not removed: {fault}. "
        f"`selfiegate forget {erasure.user_id} --keep-originals` ends the erasure without them"
    )


def _sweep_rows(
    rt: Runtime, ours: Erasure, rows: Sequence[Claim], named: Mapping[str, Claim], *, last: bool, enough: float
) -> Erasure:
    """Remove some rows and what belongs to them; with the `last` ones, what only the gallery's list names."""
    profile = rt.profiles.get(ours.user_id)
    listed = rt.faces.page_of(ours.user_id, ours.gallery_page) if last and ours.sweeps else Page[str]((), "")
    held = set(_held(rt, ours.user_id, rows, profile, listed.items))
    originals = set(_originals(rt, rows, profile)) if ours.photos else set[str]()
    erasure = _noted(rt, ours, held, originals)
    gone = _removed(rt, erasure, named, profile, enough)
    return _counted(rt, erasure, gone, _leases_end_at(rt, gone, named), listed.next, last)


def _held(
    rt: Runtime, user_id: str, rows: Sequence[Claim], profile: Profile | None, listed: Iterable[str]
) -> Iterable[Thing]:
    """Name everything that rows and profile name, the faces that were listed, and the user's thumbnails."""
    named = {row.face_id for row in rows if row.face_id}
    if profile:
        named |= {profile.face_id, *(remains.face_id for remains in profile.remains)}
        yield "profile", user_id
    if profile and not profile.model:  # an older system's thumbnails lie where it put them
        yield from (("older thumbnail", uri) for uri in profile.thumbnails.values())
    yield from (("face", face_id) for face_id in {*listed, *rt.faces.held(named)})
    yield from (("thumbnail", key) for key in rt.thumbnails.keys(thumbs.home(user_id)))
    yield from (("ledger row", row.photo.id) for row in rows)


def _originals(rt: Runtime, rows: Sequence[Claim], profile: Profile | None) -> Iterable[str]:
    photos = {row.photo for row in rows}
    if profile:
        theirs = {profile.photo, *(remains.photo for remains in profile.remains)}
        # What has a row comes with it.
        photos |= {photo for photo in theirs if rt.ledger.get(photo, profile.user_id) is None}
    return (photo.model_dump_json() for photo in photos)


def _noted(rt: Runtime, ours: Erasure, held: set[Thing], originals: set[str]) -> Erasure:
    """Write down what is going to be removed, before anything is gone: a photo's name is in its row alone."""

    def noted(present: Erasure | None) -> Erasure:
        present = still(present, ours)
        found = held.union(present.found)
        photos = {name for kind, name in found if kind == "photo"}  # noted there by a version before this
        return present.model_copy(
            update={
                "found": tuple(sorted(thing for thing in found if thing[0] != "photo")),
                "originals": (*present.originals, *sorted((originals | photos).difference(present.originals))),
            }
        )

    return changed(rt.erasures, ours.user_id, noted)


def _removed(
    rt: Runtime, erasure: Erasure, named: Mapping[str, Claim], profile: Profile | None, enough: float
) -> set[Thing]:
    """Remove what was noted, until there is no more time for it; return what is gone."""
    remove: dict[str, Callable[[str], object]] = {
        "ledger row": lambda photo_id: _remove_row(rt, erasure, named.get(photo_id)),
        "profile": lambda _: _remove_profile(rt, profile),
        "face": rt.faces.remove,
        "thumbnail": lambda key: rt.thumbnails.remove(key.rpartition("/")[0]),
        "older thumbnail": rt.thumbnails.erase,
    }
    gone = set[Thing]()
    for kind, name in sorted(erasure.found, key=lambda thing: list(remove).index(thing[0])):  # the rows are first
        _present(rt, erasure)
        if remove[kind](name) is not False:
            gone.add((kind, name))
        if time.monotonic() >= enough:
            break
    return gone


def _remove_row(rt: Runtime, ours: Erasure, row: Claim | None) -> None:
    present = row
    while present and not rt.ledger.remove(present):  # another attempt began: its row goes, too
        _present(rt, ours)
        present = rt.ledger.get(present.photo, present.user_id)


def _remove_profile(rt: Runtime, profile: Profile | None) -> bool:
    """Remove a profile; False where it has changed since it was read: it is named and removed once more then."""
    return profile is None or rt.profiles.remove(profile) or rt.profiles.get(profile.user_id) is None


def _leases_end_at(rt: Runtime, gone: set[Thing], named: Mapping[str, Claim]) -> int:
    """Return until when runs that held the removed rows may write: each may have renewed its lease until just now.

    0 where none was at work; of a row that an attempt before this removed, nobody knows.
    """
    removed = [named.get(name) for kind, name in gone if kind == "ledger row"]
    undecided = [row for row in removed if row is None or row.verdict is None]
    return max([in_us(rt.settings.lease_s), *(row.lease_until for row in undecided if row)]) if undecided else 0


def _counted(rt: Runtime, ours: Erasure, gone: set[Thing], leases_end_at: int, next_page: str, last: bool) -> Erasure:
    """Turn what is gone into counts, and note how far the sweep is; `last` if it has come to the last rows."""

    def counted(present: Erasure | None) -> Erasure:
        present = still(present, ours)
        counts = Counter(kind for kind, _ in gone.intersection(present.found))
        left = tuple(thing for thing in present.found if thing not in gone)
        progress: dict[str, object] = {"found": left, "removed": sum_of(present.removed, counts)}
        progress["leases_end_at"] = max(present.leases_end_at, leases_end_at)
        progress["failures"] = 0 if gone or next_page else present.failures
        if last and not left:
            progress |= {"gallery_page": next_page, "sweeps": ours.sweeps + (not next_page)}
        return present.model_copy(update=progress)

    return changed(rt.erasures, ours.user_id, counted)


def _present(rt: Runtime, ours: Erasure) -> Erasure:
    """Return the erasure as it stands; raises `ClaimLost` where it is no longer this attempt's."""
    return still(rt.erasures.get(ours.user_id), ours)
