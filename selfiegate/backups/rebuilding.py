"""Enrols everybody again into a collection of Rekognition, from the photos that profiles name.

Only profiles are gone through, so nobody comes back who was forgotten. Until all is done, the records rely on no
collection, and every other process refuses to work. So a rebuild that was interrupted is run again, and goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

from selfiegate.backups.mending import drop, many, release_lost_claims
from selfiegate.cpus import available_cpus
from selfiegate.databases import open_records
from selfiegate.errors import BackendMisconfigured, PhotoRejected, UnreadableRow, WrongInput
from selfiegate.galleries.memory import MemoryGallery
from selfiegate.model import Profile
from selfiegate.ports import Creatable, EnrolledFace
from selfiegate.runtime import Runtime, assembled
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.user_ids import user_id_of

if TYPE_CHECKING:
    from selfiegate.backends.rekognition_bond import CollectionBond

_log = logging.getLogger(__name__)

_LOOKED_AT = 100
"""Faces of a collection by which it is told whether it is ours."""

Outcome = Literal["enrolled", "missing", "skipped"]


class Rebuilt(NamedTuple):
    """What a rebuild did."""

    enrolled: int
    """Faces that were enrolled again; others were there."""
    dropped: tuple[str, ...]
    """Users whose profile is gone with its photo: they begin anew."""


def rebuild_collection(settings: Settings, drop_missing: int) -> Rebuilt:
    """Create the collection that is set where it is missing, and enrol everybody again; see `rebuild`."""
    if settings.backend != "rekognition":
        raise WrongInput("`selfiegate restore` makes the embedded gallery anew; `gallery rebuild` is for Rekognition's")
    from selfiegate.backends.rekognition_bond import CollectionBond

    records = open_records(settings)
    rt = assembled(settings, records, MemoryGallery)
    if isinstance(rt.faces, Creatable):
        rt.faces.create()
    return rebuild(rt, CollectionBond(settings.aws, records), drop_missing)


def rebuild(rt: Runtime, bond: CollectionBond, drop_missing: int) -> Rebuilt:
    """Enrol the face of each profile that the collection lacks, and let the records rely on the collection.

    Raises `BackendMisconfigured` where the collection holds faces, and none of these is ours. Raises `WrongInput` where
    more profiles than `drop_missing` cannot be read, or their photos cannot be used any more; the profiles stay then.
    """
    _require_ours(rt)
    unreadable, enrolled, missing = list[UnreadableRow](), 0, list[Profile]()
    for _ in rt.profiles.all(unreadable.append):
        pass  # what is unreadable is told before everything else is shut
    if len(unreadable) > drop_missing:
        raise WrongInput(_why_not((), unreadable))
    bond.loosen()
    release_lost_claims(rt)
    for profiles in many(rt.profiles.all(lambda _: None)):
        held = rt.faces.held({profile.face_id for profile in profiles})
        lacking = [profile for profile in profiles if profile.face_id not in held]
        for profile, outcome in _side_by_side(rt, lacking):
            enrolled += outcome == "enrolled"
            missing += [profile] if outcome == "missing" else []
    if len(missing) + len(unreadable) > drop_missing:
        raise WrongInput(_why_not(missing, unreadable))
    for profile in missing:
        drop(rt, profile)
    bond.replace()
    return Rebuilt(enrolled, tuple(one.user_id for one in missing))


def _why_not(missing: Sequence[Profile], unreadable: Sequence[UnreadableRow]) -> str:
    gone = f", {missing[0].photo.uri} of {missing[0].user_id!r} for one; put them back" if missing else ""
    rows = f", that of {unreadable[0].user_id!r} for one; start the newer version that wrote it" if unreadable else ""
    return (
        f"the photos of {len(missing)} profiles cannot be used any more{gone}. {len(unreadable)} profiles cannot be "
        f"read{rows}. Or go on without these users' faces by --drop-missing {len(missing) + len(unreadable)}: "
        "users without a photo upload anew, and rows that cannot be read stay"
    )


def _require_ours(rt: Runtime) -> None:
    """Refuse a collection of somebody else: their faces would refuse our users."""
    faces = rt.faces.page(limit=_LOOKED_AT).items
    if faces and not any(_is_ours(rt, face) for face in faces):
        raise BackendMisconfigured(
            f"none of {len(faces)} faces of the collection {rt.settings.aws.collection} that were looked at is of a "
            "photo that the records know: set SELFIEGATE_AWS__COLLECTION to a new collection, which a rebuild creates"
        )


def _is_ours(rt: Runtime, face: EnrolledFace) -> bool:
    profile = rt.profiles.get(face.user_id)
    if profile and (profile.face_id == face.face_id or rt.faces.origin(profile.photo, face.user_id) == face.origin):
        return True
    rows = rt.ledger.claims_of(face.user_id)
    return any(rt.faces.origin(row.photo, row.user_id) == face.origin for row in rows)


def _side_by_side(rt: Runtime, profiles: Sequence[Profile]) -> Iterator[tuple[Profile, Outcome]]:
    take = inline(rt)  # AWS turns calls away while there are too many
    with ThreadPoolExecutor(available_cpus()) as pool:
        outcomes = pool.map(lambda profile: asyncio.run(take(_enrol, profile)), profiles)
        yield from zip(profiles, outcomes, strict=True)


def _enrol(rt: Runtime, profile: Profile) -> Outcome:
    """Enrol a profile's face again, and let the profile name the new face; a profile that changed meanwhile stays."""
    erasure = rt.erasures.get(profile.user_id)
    if erasure and erasure.finished_at is None:
        return "skipped"  # whoever carries the erasure on removes the profile
    try:
        user_id_of(profile.user_id, rt.settings.backend)
    except WrongInput as error:
        _log.warning("%s; the profile is of another backend, or of an older system", error)
        return "missing"
    try:
        matches = rt.faces.search(profile.photo, profile.user_id)
        face_id = rt.faces.enrol(profile.photo, profile.user_id)
    except PhotoRejected:
        return "missing"
    alike = {match.user_id for match in matches if match.score >= rt.faces.thresholds.match}
    for other in alike - {profile.user_id}:
        _log.warning(
            "the faces of %r and %r match; `selfiegate forget` one of them if they are one person",
            *sorted((profile.user_id, other)),
        )
    changes = {"face_id": face_id, "model": rt.faces.model, "revision": profile.revision + 1}
    if rt.profiles.put(profile.model_copy(update=changes), replacing=profile):
        return "enrolled"
    now = rt.profiles.get(profile.user_id)
    if now is None or now.face_id != face_id:
        rt.faces.remove(face_id)
    return "skipped"
