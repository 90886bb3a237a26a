"""One claimed photo, step after step, without Prefect: the order is `flows.process_photo`'s."""

from __future__ import annotations

from selfiegate.enrolment import profiles, protocol
from selfiegate.enrolment.protocol import lost
from selfiegate.model import Claim
from selfiegate.policy import judge
from selfiegate.runtime import Runtime


def finish(rt: Runtime, claim: Claim, tell: bool = True) -> Claim:
    """Take one claimed photo to its verdict, one step after the other, whatever an earlier attempt left behind.

    Nothing is tried again: a step that fails leaves no trace, and raises.
    """
    if profile := profiles.saved_profile(rt, claim):
        profiles.remove_older_photo(rt, claim, profile.face_id)
        return protocol.settle(rt, claim, enrolled=(profile.face_id, profile.thumbnails), tell=tell)
    if claim.attempt > 1:
        protocol.withdraw(rt, claim)
    judgement = judge(rt.faces.detect(claim.photo), rt.settings.rules)
    if judgement.face is None or judgement.reasons:
        return protocol.settle(rt, claim, judgement.reasons, judgement.checks, tell=tell)
    finding = protocol.search_gallery(rt, claim)
    if finding.reasons:
        return protocol.settle(rt, claim, finding.reasons, judgement.checks, finding, tell=tell)
    try:
        face_id = protocol.enrol_face(rt, claim)
        thumbnails = protocol.make_thumbnails(rt, claim, judgement.face)
        winner = protocol.confirm_enrolment(rt, claim, face_id)
        if winner is None and profiles.save_profile(rt, claim, face_id, thumbnails):
            profiles.remove_older_photo(rt, claim, face_id)
    except Exception:
        protocol.withdraw(rt, claim)
        raise
    if winner:
        protocol.withdraw(rt, claim)
        return protocol.settle(rt, claim, lost(winner).reasons, judgement.checks, lost(winner), tell=tell)
    return protocol.settle(rt, claim, (), judgement.checks, finding, (face_id, thumbnails), tell=tell)
