"""The right to be forgotten: everything that is held of a user removed, whatever runs are at the user's photos.

    request   write the erasure, then its time: from now on no photo that was uploaded before is claimed, and
              none that was uploaded after until the erasure is finished
    sweep     see `privacy.sweeps`: remove what there is of the user
    wait      until the leases end that runs held: until then a step that had begun may still write
    sweep     again
    finish    keep counts and times as the receipt

A claim is written before the erasure is read, and the erasure before the rows are: so one of the two sees the other.

An erasure is held like a photo: by a run and its attempt, for as long as the run renews the lease. Each write names
both, so a run stops with `ClaimLost` once another has taken over. `reconcile` does so when the lease has ended; who
orders the same again does so at once. The erasure notes how far it is, and whoever takes over goes on from there.
An attempt that fails puts the next one off. Each step may be repeated.

The erasure stays, for an old event or a nightly backfill may name the user's photos once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from selfiegate import thumbnails as thumbs
from selfiegate.clock import in_us, now_us
from selfiegate.errors import BackendUnavailable, ClaimLost, UnreadableRow, UserForgotten
from selfiegate.leases import Lease
from selfiegate.model import Claim, PhotoRef
from selfiegate.records import Erasure, Erasures
from selfiegate.rows import warn
from selfiegate.runtime import Runtime
from selfiegate.untrusted_text import plain

_MOST_WRITES = 100
"""Attempts at one write: besides its run and the lease's thread, hardly anybody writes an erasure."""

_LONGEST_PAUSE_S = 86_400.0
_LONGEST_PROBLEM = 500

Thing = tuple[str, str]
"""The kind and the name of something that is held."""


def request_erasure(
    rt: Runtime,
    user_id: str,
    run: str,
    photos: bool = False,
    carry_on: int | None = None,
    keep_originals: bool = False,
) -> Erasure:
    """Let a user be forgotten as of now; what is under way is taken over.

    With `carry_on`, the `asked_at` of an erasure that was interrupted, only that one is carried on, as of then: the
    user may have come back since. So is an unfinished one with `keep_originals`, and without the original photos.
    A run that has finished its own gets it back as it is.
    """

    def ordered(present: Erasure | None) -> Erasure:
        if present and present.run == run and present.finished_at is not None:
            return present  # tried again
        if carry_on is not None:
            _assert_dead(present, user_id, run, carry_on)
        lease_until = in_us(rt.settings.lease_s)
        if present is None or present.finished_at is not None:
            fresh = Erasure(user_id=user_id, asked_at=now_us(), run=run, photos=photos, lease_until=lease_until)
            return fresh.model_copy(update={"removed": present.removed if present else {}})
        taken: dict[str, object] = {"run": run, "attempt": present.attempt + 1}
        taken |= {"lease_until": lease_until, "problem": ""}
        if keep_originals:
            kept = present.kept_originals + len(present.originals)
            taken |= {"photos": False, "originals": (), "kept_originals": kept}
        elif carry_on is None and present.run != run:
            taken |= {"photos": photos or present.photos, "asked_at": now_us()}
        return present.model_copy(update=taken)

    erasure = changed(rt.erasures, user_id, ordered)
    if erasure.leases_end_at or erasure.finished_at is not None or carry_on is not None:
        return erasure

    def settled(present: Erasure | None) -> Erasure:
        now = now_us()
        return still(present, erasure).model_copy(update={"asked_at": now, "leases_end_at": now})

    return changed(rt.erasures, user_id, settled)  # what was claimed until the first write could be seen is older


def _assert_dead(present: Erasure | None, user_id: str, run: str, asked_at: int) -> None:
    """Raise `ClaimLost` unless this erasure is unfinished and nobody holds it, or this run does."""
    same = present is not None and (present.asked_at, present.finished_at) == (asked_at, None)
    if present is None or not same or (present.run != run and present.lease_until > now_us()):
        raise ClaimLost(f"another run carries out that {user_id} is forgotten, or has")


def lease_of(rt: Runtime, ours: Erasure) -> Lease[Erasure]:
    """Return the lease of an erasure that a run has taken."""

    def renew(held: Sequence[Erasure], seconds: float) -> None:
        def renewed(present: Erasure | None) -> Erasure:
            present = still(present, ours)  # a renewal that is late must not shorten the pause of a failed attempt
            return present if present.problem else present.model_copy(update={"lease_until": in_us(seconds)})

        for erasure in held:
            changed(rt.erasures, erasure.user_id, renewed)

    return Lease([ours], renew, rt.settings.lease_s)


def put_off(rt: Runtime, ours: Erasure, problem: str) -> Erasure:
    """Note what an attempt failed at, and let another one begin later: each time after twice as long, up to a day."""

    def later(present: Erasure | None) -> Erasure:
        present = still(present, ours)
        pause_s = min(rt.settings.lease_s * 2.0 ** min(present.failures, 30), _LONGEST_PAUSE_S)
        why = {"problem": plain(problem)[:_LONGEST_PROBLEM], "failures": present.failures + 1}
        return present.model_copy(update={"lease_until": in_us(pause_s), **why})

    return changed(rt.erasures, ours.user_id, later)


def write_receipt(rt: Runtime, ours: Erasure, also: Iterable[Thing] = ()) -> Erasure:
    """Turn a swept erasure into its receipt; `also` is what was removed elsewhere."""

    def finished(present: Erasure | None) -> Erasure:
        present = still(present, ours)
        if present.finished_at is not None:  # by a write of ours whose reply was lost
            return present
        removed = sum_of(present.removed, Counter(kind for kind, _ in set(also)))
        ended = {"problem": "", "failures": 0, "finished_at": now_us()}
        return present.model_copy(update={"removed": removed, **ended})

    return changed(rt.erasures, ours.user_id, finished)


def before_claim(rt: Runtime, photo: PhotoRef, user_id: str, upload_order: str) -> Erasure | None:
    """Return what is known of the user's wish; raises `BackendUnavailable` while the user is being forgotten.

    A row would look like a claim then. It does not raise for a photo known to be older than the wish: that one is
    refused `after_claim`.
    """
    erasure = rt.erasures.get(user_id)
    if erasure and erasure.finished_at is None and not (upload_order and erasure.covers_upload(upload_order)):
        raise _not_yet(user_id, photo)
    return erasure


def after_claim(rt: Runtime, claim: Claim, owner: str, upload_order: str, before: Erasure | None) -> None:
    """Give a claim back that must not be: raises `UserForgotten` for good, `BackendUnavailable` for now.

    A wish that was not there `before` the claim is younger than the photo, whatever the clocks say. The bridge may
    have seen the row, and deleted the photo's message: so this is for good.
    The row may be what an old event left of a photo that was uploaded just so again: then it makes way for a new one.
    """
    erasure = rt.erasures.get(claim.user_id)
    if erasure is None:
        return
    younger = erasure.leases_end_at > 0 and (before is None or before.asked_at != erasure.asked_at)
    covered = erasure.finished_at is None or erasure.covers(claim)
    if covered or (younger and claim.owner == owner):
        rt.ledger.remove(claim)
    if younger or (erasure.covers(claim) and erasure.covers_upload(upload_order)):  # "", when nobody knows, is covered
        raise forgotten(claim)
    if covered:
        raise _not_yet(claim.user_id, claim.photo)


def covers(rt: Runtime, claim: Claim) -> bool:
    """Say whether an erasure explains that a claim's row is gone."""
    erasure = rt.erasures.get(claim.user_id)
    return erasure is not None and (erasure.finished_at is None or erasure.covers(claim))


def take_back(rt: Runtime, claim: Claim, face_id: str | None) -> None:
    """Remove what a run wrote that slept until all was swept; `face_id` is the face that it enrolled."""
    profile = rt.profiles.get(claim.user_id)
    if profile and profile.photo == claim.photo and is_forgotten(rt.erasures, claim.user_id, profile.upload_rank):
        rt.profiles.remove(profile)
    if face_id:
        rt.faces.remove(face_id)
    elif not rt.faces.remote:  # a service would have to be shown the photo again
        rt.faces.discard(claim.photo, claim.user_id)
    rt.thumbnails.remove(thumbs.folder(claim.photo, claim.user_id))


def forgotten(claim: Claim) -> UserForgotten:
    """Return the error that says so."""
    return UserForgotten(f"{claim.user_id} asked to be forgotten after {claim.photo.name} was uploaded")


def is_forgotten(erasures: Erasures, user_id: str, upload_order: str) -> bool:
    """Say whether a user asked to be forgotten after a photo was uploaded; False where nobody knows when that was."""
    erasure = erasures.get(user_id) if upload_order else None
    return erasure is not None and erasure.covers_upload(upload_order)


def unattended(rt: Runtime) -> list[Erasure]:
    """Return the unfinished erasures that no run is at: their runs are dead, or they were put off."""
    return [one for one in rt.erasures.unfinished() if one.problem or one.lease_until < now_us()]


def expire(rt: Runtime) -> int:
    """Remove the rows of photos that were refused long ago; return how many."""
    return rt.ledger.expire(before=now_us() - int(rt.settings.rejected_days * 86_400e6))


def _not_yet(user_id: str, photo: PhotoRef) -> BackendUnavailable:
    return BackendUnavailable(f"{user_id} is being forgotten; {photo.name} can be taken after that")


def sum_of(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Return both counts in one."""
    return dict(sorted((Counter(counts) + Counter(more)).items()))


def still(present: Erasure | None, ours: Erasure) -> Erasure:
    """Return the erasure as it stands; raises `ClaimLost` where it is no longer this attempt's."""
    if present is None or (present.run, present.attempt) != (ours.run, ours.attempt):
        raise ClaimLost(f"another run carries out that {ours.user_id} is forgotten")
    return present


def changed(erasures: Erasures, user_id: str, change: Callable[[Erasure | None], Erasure]) -> Erasure:
    """Write what `change` makes of the erasure as it stands, whoever else writes it meanwhile."""
    for _ in range(_MOST_WRITES):
        present, held = _present(erasures, user_id)
        wanted = change(present).model_copy(update={"revision": _revision_after(held)})
        if erasures.put(wanted, replacing=held):
            return wanted
    raise BackendUnavailable(f"the erasure of {user_id} changed {_MOST_WRITES} times while it was written")


def _present(erasures: Erasures, user_id: str) -> tuple[Erasure | None, Erasure | UnreadableRow | None]:
    """Return the erasure, if it can be read, and what is to be replaced: an erasure that nobody reads helps nobody."""
    try:
        present = erasures.get(user_id)
    except UnreadableRow as row:
        warn(row)
        return None, row
    return present, present


def _revision_after(held: Erasure | UnreadableRow | None) -> int:
    return int(held.revision) + 1 if held and isinstance(held.revision, int | Decimal) else 1
