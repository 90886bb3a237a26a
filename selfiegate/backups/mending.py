"""Makes a gallery hold just the faces that profiles name, and the thumbnails with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from selfiegate import thumbnails as thumbs
from selfiegate.clock import LAST_MOMENT
from selfiegate.cpus import available_cpus
from selfiegate.enrolment.profiles import saved_profile
from selfiegate.enrolment.protocol import judge_photo
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, PhotoRejected, UnreadableRow, WrongInput
from selfiegate.model import Profile
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime
from selfiegate.steps import inline

_AT_ONCE = 256
"""Profiles at a time: their photos are looked at side by side, one a CPU."""


class Mended(NamedTuple):
    """What became of the faces."""

    faces: int = 0
    rebuilt: int = 0
    removed: int = 0
    thumbnails: int = 0
    dropped: tuple[str, ...] = ()
    """Users whose profile is gone: they begin anew."""


def mend(rt: Runtime, forgotten: Iterable[str], gallery_is_newer: bool, drop_missing: int) -> Mended:
    """Forget who is to be forgotten, make what profiles lack, and remove faces that none names.

    A gallery that is newer than the records tells who was forgotten, or has another photo, since: a profile whose face
    it lacks goes. Else a face is made anew from its photo; where that is gone, `drop_missing` says how many such
    profiles may go. Raises `WrongInput` where these are more, `BackendMisconfigured` where another model is loaded or a
    profile cannot be read. May be repeated: what was made is kept.
    """
    for user_id in forgotten:
        _forget(rt, user_id)
    unreadable = _require_known_profiles(rt)
    release_lost_claims(rt)
    rebuilt, pictures, missing = 0, 0, list[Profile]()
    for profiles in many(rt.profiles.all()):
        lacking = [one for one in profiles if one.model == rt.faces.model and not rt.faces.holds(one.face_id)]
        made = set() if gallery_is_newer else _done(lambda one: _enrol(rt, one), lacking)
        rebuilt += len(made)
        gone = [one for one in lacking if one.user_id not in made]
        missing += gone
        pictures += len(_done(lambda one: _draw(rt, one), [one for one in profiles if one not in gone]))
    if len(missing) > drop_missing and not gallery_is_newer:
        raise WrongInput(
            f"the photos of {len(missing)} profiles cannot be used any more, {missing[0].photo.uri} of "
            f"{missing[0].user_id!r} for one; put them back, or let these users upload anew by "
            f"--drop-missing {len(missing)}"
        )
    for profile in missing:
        if gallery_is_newer and not rt.faces.faces_of(profile.user_id):
            _forget(rt, profile.user_id)  # so that no backfill brings the user back
        else:
            drop(rt, profile)
    removed = _remove_unnamed(rt, unreadable)
    return Mended(rt.faces.stats().faces, rebuilt, removed, pictures, tuple(one.user_id for one in missing))


def release_lost_claims(rt: Runtime) -> None:
    """Let runs begin anew that won a face and saved no profile: the face may be gone."""
    for claim in rt.ledger.unfinished(before=LAST_MOMENT):
        if claim.status == "accepting" and saved_profile(rt, claim) is None:
            rt.ledger.release(claim)


def _forget(rt: Runtime, user_id: str) -> None:
    asyncio.run(forget_user(rt, inline(rt), user_id, "restore"))


def _require_known_profiles(rt: Runtime) -> set[str]:
    """Return users whose profile cannot be read; refuse where their face, or another model's, would be lost."""
    unreadable = list[UnreadableRow]()
    for profile in rt.profiles.all(unreadable.append):
        if profile.model not in ("", rt.faces.model) and not profile.model.startswith("rekognition/"):
            raise BackendMisconfigured(
                f"{profile.user_id!r} was enrolled by the model {profile.model}, and {rt.faces.model} is loaded; set "
                "SELFIEGATE_INSIGHTFACE__PACK to the former pack, so that faces can be made anew"
            )
    for row in unreadable:
        if not rt.faces.faces_of(row.user_id):
            raise BackendMisconfigured(f"{row}; its face cannot be made anew: take a backup that has it")
    return {row.user_id for row in unreadable}


def many(profiles: Iterable[Profile]) -> Iterator[list[Profile]]:
    """Go through profiles, some at a time."""
    rest = iter(profiles)
    while part := list(islice(rest, _AT_ONCE)):
        yield part


def _done(step: Callable[[Profile], bool], profiles: Sequence[Profile]) -> set[str]:
    """Return the users for whom the step says so."""
    with ThreadPoolExecutor(available_cpus()) as pool:
        return {one.user_id for one, done in zip(profiles, pool.map(step, profiles), strict=True) if done}


def _enrol(rt: Runtime, profile: Profile) -> bool:
    """Make a profile's face anew; False where its photo is gone or shows none any more."""
    try:
        return rt.faces.enrol(profile.photo, profile.user_id) == profile.face_id
    except PhotoRejected:
        return False


def _draw(rt: Runtime, profile: Profile) -> bool:
    """Make a profile's thumbnails anew where one lacks; False where none was made: the audit finds what lacks still."""
    with suppress(BackendUnavailable, PhotoRejected):
        return _drawn(rt, profile)
    return False


def _drawn(rt: Runtime, profile: Profile) -> bool:
    settings, folder = rt.settings.thumbnails, thumbs.folder(profile.photo, profile.user_id)
    if not profile.model or len(rt.thumbnails.keys(folder)) >= len(profile.thumbnails):
        return False
    face = judge_photo(rt, profile.photo).face
    if face is None:
        return False
    for size, data in thumbs.render(rt.photos.read(profile.photo), face, settings, rt.settings.photos).items():
        rt.thumbnails.put(thumbs.key(profile.photo, profile.user_id, size, settings), data, settings.content_type)
    return True


def drop(rt: Runtime, profile: Profile) -> None:
    """Let a user without a face begin anew."""
    rt.profiles.remove(profile)
    if row := rt.ledger.get(profile.photo, profile.user_id):
        rt.ledger.remove(row)
    rt.thumbnails.remove(thumbs.folder(profile.photo, profile.user_id))


def _remove_unnamed(rt: Runtime, spared: Collection[str]) -> int:
    """Remove faces that no profile names: of users who were forgotten, and of photos that are run again."""
    named = {face_id for one in rt.profiles.all() for face_id in (one.face_id, *(left.face_id for left in one.remains))}
    unnamed = [face.face_id for face in rt.faces.faces() if face.face_id not in named and face.user_id not in spared]
    for face_id in unnamed:
        rt.faces.remove(face_id)
    return len(unnamed)
