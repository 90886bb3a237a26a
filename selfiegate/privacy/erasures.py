"""The right to be forgotten: everything that is held of a user removed, whatever runs are at the user's photos.

    request   write the erasure, then its time: from now on no photo that was uploaded before is claimed, and
              none that was uploaded after until the erasure is finished
    sweep     write down what is there, remove the rows (a run that holds one stops at its next step) and the profile,
              then faces, thumbnails and, where asked, the original photos
    wait      until the leases end that runs held: until then a step that had begun may still write
    sweep     again
    finish    keep counts and times as the receipt

A claim is written before the erasure is read, and the erasure before the rows are: so one of the two sees the other.
Each step may be repeated. Whoever orders the same again takes it over, and the run before stops with `ClaimLost`; an
erasure whose run died is carried on by `reconcile`.
The erasure stays, for an old event or a nightly backfill may name the user's photos once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from selfiegate import thumbnails as thumbs
from selfiegate.clock import now_us, seconds_until
from selfiegate.errors import BackendUnavailable, ClaimLost, UserForgotten
from selfiegate.model import Claim, PhotoRef, Profile
from selfiegate.records import Erasure, Erasures
from selfiegate.runtime import Runtime

SWEEP_ROWS = 100
"""Rows at a time: DynamoDB takes 400 kB an item, and keys have up to 1,024 bytes."""

Thing = tuple[str, str]
"""The kind and the name of something that is held."""


def request_erasure(rt: Runtime, user_id: str, run: str, photos: bool = False, carry_on: int | None = None) -> Erasure:
    """Let a user be forgotten as of now; what is under way is taken over.

    With `carry_on`, the `asked_at` of an erasure that was interrupted, only that one is carried on, as of then: the
    user may have come back since. A run that has finished its own gets it back as it is.
    """

    def ordered(present: Erasure | None) -> Erasure:
        if present and present.run == run:
            return present  # tried again
        if carry_on is not None and (present is None or (present.asked_at, present.finished_at) != (carry_on, None)):
            raise ClaimLost(f"another run carries out that {user_id} is forgotten, or has")
        if present and present.finished_at is None:
            kept = {"run": run, "photos": photos or present.photos}
            return present.model_copy(update=kept if carry_on is not None else {**kept, "asked_at": now_us()})
        before = present.removed if present else {}
        return Erasure(user_id=user_id, asked_at=now_us(), run=run, photos=photos, removed=before)

    erasure = _changed(rt.erasures, user_id, ordered)
    if erasure.leases_end_at or erasure.finished_at is not None or carry_on is not None:
        return erasure

    def settled(present: Erasure | None) -> Erasure:
        now = now_us()
        return _still(present, erasure).model_copy(update={"asked_at": now, "leases_end_at": now})

    return _changed(rt.erasures, user_id, settled)  # what was claimed until the first write could be seen is older


def sweep(rt: Runtime, ours: Erasure, rows_at_once: int = SWEEP_ROWS) -> Erasure:
    """Remove what there is of a user whose erasure was ordered, some rows at a time."""
    while True:
        rows, profile = rt.ledger.claims_of(ours.user_id), rt.profiles.get(ours.user_id)
        leases_end_at = max((row.lease_until for row in rows if row.verdict is None), default=0)
        erasure = _noted(
            rt, ours, set(_held(rt, ours.user_id, rows[:rows_at_once], profile, ours.photos)), leases_end_at
        )
        for row in rows[:rows_at_once]:
            _remove_row(rt, row)
        if profile:
            rt.profiles.remove(profile)  # one that replaced it meanwhile is found by the next sweep
        _remove_all(rt, erasure)
        erasure = _counted(rt, ours)
        if len(rows) <= rows_at_once:
            return erasure


def _noted(rt: Runtime, ours: Erasure, held: set[Thing], leases_end_at: int) -> Erasure:
    """Write down what is going to be removed, before anything is gone: a photo's name is in its row alone."""

    def noted(present: Erasure | None) -> Erasure:
        present = _still(present, ours)
        found = tuple(sorted(held.union(present.found)))
        return present.model_copy(update={"found": found, "leases_end_at": max(present.leases_end_at, leases_end_at)})

    return _changed(rt.erasures, ours.user_id, noted)


def _counted(rt: Runtime, ours: Erasure) -> Erasure:
    """Turn what was noted into counts, once it is gone."""

    def counted(present: Erasure | None) -> Erasure:
        present = _still(present, ours)
        kinds = Counter(kind for kind, _ in present.found)
        return present.model_copy(update={"found": (), "removed": _sum(present.removed, kinds)})

    return _changed(rt.erasures, ours.user_id, counted)


def _remove_row(rt: Runtime, row: Claim) -> None:
    present: Claim | None = row
    while present and not rt.ledger.remove(present):  # another attempt began: its row goes, too
        present = rt.ledger.get(row.photo, row.user_id)


def write_receipt(rt: Runtime, ours: Erasure, also: Iterable[Thing] = ()) -> Erasure:
    """Turn a swept erasure into its receipt; `also` is what was removed elsewhere."""

    def finished(present: Erasure | None) -> Erasure:
        present = _still(present, ours)
        if present.finished_at is not None:  # by a write of ours whose reply was lost
            return present
        removed = _sum(present.removed, Counter(kind for kind, _ in set(also)))
        return present.model_copy(update={"removed": removed, "finished_at": now_us()})

    return _changed(rt.erasures, ours.user_id, finished)


def before_claim(rt: Runtime, photo: PhotoRef, user_id: str, upload_order: str) -> None:
    """Raise `BackendUnavailable` while a user is being forgotten; a row would look like a claim.

    Not for a photo known to be older than the user's wish: that one is refused `after_claim`.
    """
    erasure = rt.erasures.get(user_id)
    if erasure and erasure.finished_at is None and not (upload_order and erasure.covers_upload(upload_order)):
        raise _not_yet(user_id, photo)


def after_claim(rt: Runtime, claim: Claim, upload_order: str) -> None:
    """Give a claim back that must not be: raises `UserForgotten` for good, `BackendUnavailable` for now.

    The row may be what an old event left of a photo that was uploaded just so again: then it makes way for a new one.
    """
    erasure = rt.erasures.get(claim.user_id)
    if erasure and (erasure.finished_at is None or erasure.covers(claim)):
        rt.ledger.remove(claim)
        gone = erasure.covers(claim) and erasure.covers_upload(upload_order)  # "", when nobody knows, is covered
        raise forgotten(claim) if gone else _not_yet(claim.user_id, claim.photo)


def covers(rt: Runtime, claim: Claim) -> bool:
    """Say whether an erasure explains that a claim's row is gone."""
    erasure = rt.erasures.get(claim.user_id)
    return erasure is not None and (erasure.finished_at is None or erasure.covers(claim))


def take_back(rt: Runtime, claim: Claim) -> None:
    """Remove what a run wrote that slept until all was swept."""
    profile = rt.profiles.get(claim.user_id)
    if profile and profile.photo == claim.photo and is_forgotten(rt.erasures, claim.user_id, profile.upload_rank):
        rt.profiles.remove(profile)
    rt.faces.discard(claim.photo, claim.user_id)
    rt.thumbnails.remove(thumbs.folder(claim.photo, claim.user_id))


def forgotten(claim: Claim) -> UserForgotten:
    """Return the error that says so."""
    return UserForgotten(f"{claim.user_id} asked to be forgotten after {claim.photo.name} was uploaded")


def is_forgotten(erasures: Erasures, user_id: str, upload_order: str) -> bool:
    """Say whether a user asked to be forgotten after a photo was uploaded; False where nobody knows when that was."""
    erasure = erasures.get(user_id) if upload_order else None
    return erasure is not None and erasure.covers_upload(upload_order)


def interrupted(rt: Runtime) -> list[Erasure]:
    """Return the erasures whose runs are dead."""
    return [
        erasure
        for erasure in rt.erasures.unfinished()
        if seconds_until(max(erasure.asked_at, erasure.leases_end_at)) + rt.settings.erasure_patience_s < 0
    ]


def expire(rt: Runtime) -> int:
    """Remove the rows of photos that were refused long ago; return how many."""
    return rt.ledger.expire(before=now_us() - int(rt.settings.rejected_days * 86_400e6))


def _not_yet(user_id: str, photo: PhotoRef) -> BackendUnavailable:
    return BackendUnavailable(f"{user_id} is being forgotten; {photo.name} can be taken after that")


def _held(
    rt: Runtime, user_id: str, rows: Sequence[Claim], profile: Profile | None, originals: bool
) -> Iterable[Thing]:
    """Name everything; whatever no row and no profile mentions is found by the user's name."""
    named = {row.face_id for row in rows if row.face_id}
    photos = {row.photo for row in rows}
    if profile:
        named |= {profile.face_id, *(remains.face_id for remains in profile.remains)}
        theirs = {profile.photo, *(remains.photo for remains in profile.remains)}
        photos |= {photo for photo in theirs if rt.ledger.get(photo, user_id) is None}  # else it comes with its row
        yield "profile", user_id
    faces = set(rt.faces.faces_of(user_id)) | {face_id for face_id in named if rt.faces.holds(face_id)}
    if profile and not profile.model:  # an older system's thumbnails lie where it put them
        yield from (("older thumbnail", uri) for uri in profile.thumbnails.values())
    yield from (("face", face_id) for face_id in faces)
    yield from (("thumbnail", key) for key in rt.thumbnails.keys(thumbs.home(user_id)))
    yield from (("ledger row", row.photo.id) for row in rows)
    if originals:
        yield from (("photo", photo.model_dump_json()) for photo in photos)


def _remove_all(rt: Runtime, erasure: Erasure) -> None:
    for kind, name in sorted(erasure.found, key=lambda thing: thing[0] == "photo"):  # what may be forbidden, last
        match kind:
            case "face":
                rt.faces.remove(name)
            case "thumbnail":
                rt.thumbnails.remove(name.rpartition("/")[0])
            case "older thumbnail":
                rt.thumbnails.erase(name)
            case "photo":
                rt.photos.erase(PhotoRef.from_store(name), erasure.asked_at)


def _sum(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted((Counter(counts) + Counter(more)).items()))


def _still(present: Erasure | None, ours: Erasure) -> Erasure:
    if present is None or (present.run, present.asked_at) != (ours.run, ours.asked_at):
        raise ClaimLost(f"another run carries out that {ours.user_id} is forgotten")
    return present


def _changed(erasures: Erasures, user_id: str, change: Callable[[Erasure | None], Erasure]) -> Erasure:
    """Write what `change` makes of the erasure as it stands, however many change it at once."""
    while True:
        present = erasures.get(user_id)
        wanted = change(present).model_copy(update={"revision": present.revision + 1 if present else 1})
        if erasures.put(wanted, replacing=present):
            return wanted
