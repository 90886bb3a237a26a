"""One photo of one user, from upload to verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from selfiegate.enrolment.leases import leased
from selfiegate.enrolment.protocol import Finding, lost
from selfiegate.errors import PhotoInProgress, PhotoRejected, UserForgotten
from selfiegate.model import Claim, Detection, Face, PhotoRef, ReasonCode, Verdict
from selfiegate.policy import Judgement, judge
from selfiegate.runtime import runtime
from selfiegate.user_ids import UserId
from tasks.faces import confirm_enrolment, detect_faces, enrol_face, search_gallery, withdraw
from tasks.notices import notify_user, show_verdict
from tasks.photos import make_thumbnail
from tasks.records import accept, claim_photo, refuse, remove_older_photo, save_profile, saved_profile

A = TypeVar("A")
B = TypeVar("B")


# Prefect writes the error of a flow that fails to its result storage whatever is set: as JSON, its message alone.
@flow(name="process-photo", flow_run_name="{user_id}: {photo.name}", persist_result=False, result_serializer="json")
async def process_photo(
    photo: Annotated[PhotoRef, Field(description="Which version of which photo")],
    user_id: Annotated[UserId, Field(description="Whose photo it is")],
    upload_order: Annotated[str, Field(description="Sorts by time of upload, as events tell it; empty: now")] = "",
) -> Verdict | None:
    """Check a selfie, enrol its face once, and say what is wrong where something is.

    Ends Completed, named Accepted, Rejected or NeedsReview; Failed means our fault, never the user's.
    Running it again for the same photo and user returns the stored verdict. Where another run is at it
    still, it ends InProgress, and where its user asked to be forgotten, Forgotten, both without a verdict.
    """
    try:
        claim = await claim_photo(photo, user_id, str(flow_run.id), upload_order)
        if claim.verdict is None:
            with leased(runtime(), lambda: [] if claim.verdict else [claim]):
                claim = await reach_verdict(claim)
    except PhotoInProgress as elsewhere:
        return Completed(name="InProgress", message=str(elsewhere))  # type: ignore[return-value]
    except UserForgotten as gone:
        return Completed(name="Forgotten", message=str(gone))  # type: ignore[return-value]
    verdict = claim.verdict
    assert verdict is not None  # noqa: S101  a claim that is decided has one
    if verdict.status != "accepted" and claim.notice not in ("sent", "off"):
        # A notice that fails does not change the verdict.
        await notify_user(claim, return_state=True)  # type: ignore[misc]  # an awaitable here, whatever its type says
    await show_verdict(verdict)
    # Prefect takes the state's name from here, and hands its data to whoever awaits the flow.
    name, why = verdict.status.title().replace("_", ""), ", ".join(reason.code for reason in verdict.reasons)
    return Completed(name=name, message=why or None, data=verdict)  # type: ignore[return-value]


async def reach_verdict(claim: Claim) -> Claim:
    """Take the steps of `selfiegate.enrolment.protocol` in their order."""
    if claim.status == "accepting" and (profile := await saved_profile(claim)):
        await remove_older_photo(claim, profile.face_id)
        return await accept(claim, profile.face_id, profile.thumbnails, (), Finding())
    rules = runtime().settings.rules
    judgement = judge(await detect_faces(claim.photo), rules)
    if judgement.face is None or judgement.reasons:
        return await reject(claim, judgement)
    try:
        finding = await search_gallery(claim)
        if finding.reasons:
            return await reject(claim, judgement, finding)
        return await enrol(claim, judgement, judgement.face, finding)
    except PhotoRejected as gone:  # it vanished between two steps
        return await reject(claim, judge(Detection(unusable=ReasonCode(gone.code)), rules))


async def enrol(claim: Claim, judgement: Judgement, face: Face, finding: Finding) -> Claim:
    """Enrol the face while the thumbnail is made; where a later step fails for good, leave no trace."""
    try:
        face_id, thumbnails = await both(enrol_face(claim), make_thumbnail(claim, face))
        winner = await confirm_enrolment(claim, face_id)
        replaced = winner is None and await save_profile(claim, face_id, thumbnails)
    except Exception:
        await withdraw(claim)
        raise
    if winner:
        await withdraw(claim)
        return await refuse(claim, lost(winner).reasons, judgement.checks, lost(winner))
    if replaced:
        await remove_older_photo(claim, face_id)
    return await accept(claim, face_id, thumbnails, judgement.checks, finding)


async def reject(claim: Claim, judgement: Judgement, finding: Finding | None = None) -> Claim:
    """Store a refusal; an earlier attempt may have left traces."""
    if claim.attempt > 1:
        await withdraw(claim)
    finding = finding or Finding()
    return await refuse(claim, (*judgement.reasons, *finding.reasons), judgement.checks, finding)


async def both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Await two steps at once; raise only when both have ended, so that clean-up meets nothing half done."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    for outcome in (first, second):
        if isinstance(outcome, BaseException):
            raise outcome
    return first, second
