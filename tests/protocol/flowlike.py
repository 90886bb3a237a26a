"""The order of `flows.process_photo` without Prefect, each step tried twice as a task would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selfiegate.enrolment import profiles, protocol
from selfiegate.errors import BackendUnavailable, PhotoInProgress
from selfiegate.model import Claim, PhotoRef
from selfiegate.policy import judge
from selfiegate.runtime import Runtime


def tried(step: Callable[..., Any], *args: Any) -> Any:
    """Take a step as a Prefect task does: again where a store does not answer."""
    for left in (1, 0):
        try:
            return step(*args)
        except PhotoInProgress:
            raise
        except BackendUnavailable:
            if not left:
                raise
    raise AssertionError


def as_the_flow(rt: Runtime, claim: Claim) -> Claim:
    """Take the steps in the order of `flows.process_photo`, each tried twice; an earlier attempt's face stays."""
    if claim.status == "accepting" and (profile := tried(profiles.saved_profile, rt, claim)):
        tried(profiles.remove_older_photo, rt, claim, profile.face_id)
        return tried(settled, rt, claim, protocol.Finding(), (profile.face_id, profile.thumbnails))
    face = judge(rt.faces.detect(claim.photo), rt.settings.rules).face
    finding = tried(protocol.search_gallery, rt, claim)
    if finding.reasons:
        if claim.attempt > 1:
            tried(protocol.withdraw, rt, claim)
        return tried(settled, rt, claim, finding, None)
    try:
        face_id = tried(protocol.enrol_face, rt, claim)
        thumbnails = tried(protocol.make_thumbnails, rt, claim, face)
        winner = tried(protocol.confirm_enrolment, rt, claim, face_id)
        replaced = winner is None and tried(profiles.save_profile, rt, claim, face_id, thumbnails)
    except Exception:
        tried(protocol.withdraw, rt, claim)
        raise
    if winner:
        tried(protocol.withdraw, rt, claim)
        return tried(settled, rt, claim, protocol.lost(winner), None)
    if replaced:
        tried(profiles.remove_older_photo, rt, claim, face_id)
    return tried(settled, rt, claim, finding, (face_id, thumbnails))


def settled(rt: Runtime, claim: Claim, finding: protocol.Finding, enrolled: Any) -> Claim:
    """Store the verdict."""
    return protocol.settle(rt, claim, finding.reasons, (), finding, enrolled)


def brief(value: Any) -> str:
    """Say what a value is in few words: a schedule is read by people."""
    match value:
        case Claim():
            contests = f", {len(value.contests)} contests" if value.contests else ""
            return f"<{value.user_id} {value.photo.key[-9:-4]} {value.status} {value.attempt}{contests}>"
        case PhotoRef():
            return value.key[-9:-4]
        case tuple():
            return f"({', '.join(brief(one) for one in value if not isinstance(one, bytes))})"
        case list():
            return f"[{', '.join(map(brief, value))}]"
        case _ if hasattr(value, "user_id"):
            return f"<{type(value).__name__} {value.user_id}>"
        case _ if hasattr(value, "shape"):
            return "<embedding>"
    return repr(value)[:60]
