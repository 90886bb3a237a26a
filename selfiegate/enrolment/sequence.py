"""The order of a photo's steps. It stands here and nowhere else.

    claim -> judge -> search -> enrol, make thumbnails -> confirm -> save profile -> remove the older photo -> accept
                   or refuse, with all reasons -> notify the user

The Prefect flow, the command without a server, a backfill's redo of one photo, and the schedule and chaos tests all
run `process_photo` or `reach_verdict`. They differ in how a step is taken: see `selfiegate.steps`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from selfiegate.enrolment.leases import lease_of
from selfiegate.enrolment.profiles import remove_older_photo, save_profile, saved_profile
from selfiegate.enrolment.protocol import (
    claim_photo,
    confirm_enrolment,
    enrol_face,
    judge_photo,
    make_thumbnails,
    withdraw,
)
from selfiegate.enrolment.search import SearchResult, search_gallery
from selfiegate.enrolment.uploads import wait_for_removal
from selfiegate.enrolment.verdicts import accept, notify_user, refuse
from selfiegate.errors import PhotoRejected
from selfiegate.face import Face
from selfiegate.leases import kept_by
from selfiegate.model import Claim, PhotoRef
from selfiegate.policy import Judgement, refused_by
from selfiegate.runtime import Runtime
from selfiegate.steps import Take, inline

A = TypeVar("A")
B = TypeVar("B")

_log = logging.getLogger(__name__)


async def process_photo(
    rt: Runtime,
    take: Take,
    photo: PhotoRef,
    user_id: str,
    owner: str,
    upload_order: str = "",
    notify: bool = True,
) -> Claim:
    """Take a photo from its upload to its verdict, and notify its user of a refusal; return the ledger's row.

    A photo that has a verdict keeps it. Without `notify` a photo that a silent backfill claimed stays silent. Raises
    `PhotoInProgress` while another run holds the photo, and `UserForgotten` where its user asked to be forgotten after
    it was uploaded.
    """
    claim = await take(claim_photo, photo, user_id, owner, upload_order, notify)
    if claim.verdict is None:
        async with kept_by(take, lease_of(rt, [claim])) as lease:
            claim = await reach_verdict(take, claim)
            lease.held = ()
    if claim.status != "accepted" and claim.notice not in ("sent", "off"):
        await send_notice(take, claim)
    return claim


async def reach_verdict(take: Take, claim: Claim) -> Claim:
    """Take a claimed photo to its verdict, whatever an earlier attempt left behind; return the decided row."""
    if claim.status == "accepting" and (profile := await take(saved_profile, claim)):
        await take(remove_older_photo, claim, profile.face_id)
        return await take(accept, claim, profile.face_id, profile.thumbnails, (), SearchResult())
    if claim.uploads > 1:
        await take(wait_for_removal, claim)
    judgement = await take(judge_photo, claim.photo)
    if judgement.face is None or judgement.reasons:
        return await reject(take, claim, judgement, SearchResult())
    try:
        searched = await take(search_gallery, claim, judgement.face.quality)
        if searched.reasons:
            return await reject(take, claim, judgement, searched)
        return await enrol(take, claim, judgement, judgement.face, searched)
    except PhotoRejected as gone:  # the photo vanished between two steps, or the gallery refused its face
        return await reject(take, claim, refused_by(gone), SearchResult())


async def enrol(take: Take, claim: Claim, judgement: Judgement, face: Face, searched: SearchResult) -> Claim:
    """Enrol the face while the thumbnails are made; where a later step fails for good, leave no trace."""
    try:
        face_id, thumbnails = await both(take(enrol_face, claim), take(make_thumbnails, claim, face))
        lost = await take(confirm_enrolment, claim, face_id, face.quality)
        replaced = lost is None and await take(save_profile, claim, face_id, thumbnails)
    except Exception:
        await take(withdraw, claim)
        raise
    if lost:
        await take(withdraw, claim)
        return await take(refuse, claim, lost.reasons, judgement.checks, lost)
    if replaced:
        await take(remove_older_photo, claim, face_id)
    return await take(accept, claim, face_id, thumbnails, judgement.checks, searched)


async def reject(take: Take, claim: Claim, judgement: Judgement, searched: SearchResult) -> Claim:
    """Store a refusal; an earlier attempt may have left traces."""
    if claim.attempt > 1:
        await take(withdraw, claim)
    return await take(refuse, claim, (*judgement.reasons, *searched.reasons), judgement.checks, searched)


async def send_notice(take: Take, claim: Claim) -> None:
    """Notify the user; a notice that fails does not change the verdict, and `reconcile` sends it later."""
    try:
        await take(notify_user, claim)
    except Exception as error:  # whatever a notifier raises
        _log.warning("%s was not notified about %s: %s", claim.user_id, claim.photo.name, error)


async def both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Await two steps at once; raise only when both have ended, so that clean-up meets nothing half done."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    for outcome in (first, second):
        if isinstance(outcome, BaseException):
            raise outcome
    return first, second


def finish(rt: Runtime, claim: Claim) -> Claim:
    """Take one claimed photo to its verdict in this thread, each step once; return the decided row.

    A step that fails leaves no trace, and raises.
    """
    return asyncio.run(reach_verdict(inline(rt, attempts=1), claim))
