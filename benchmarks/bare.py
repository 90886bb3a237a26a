"""The steps of the flow, one after the other, without Prefect: what the flow is measured against."""

from __future__ import annotations

from selfiegate import enrolment, policy, profiles
from selfiegate.model import Claim, PhotoRef
from selfiegate.runtime import Runtime


def run_photo(rt: Runtime, photo: PhotoRef, user_id: str, owner: str) -> Claim:
    """Take a new photo to its verdict; nothing is tried again."""
    claim = enrolment.claim_photo(rt, photo, user_id, owner)
    judgement = policy.judge(rt.faces.detect(photo), rt.settings.rules)
    if judgement.face is None or judgement.reasons:
        return enrolment.settle(rt, claim, judgement.reasons, judgement.checks)
    finding = enrolment.search_gallery(rt, claim)
    if finding.reasons:
        return enrolment.settle(rt, claim, finding.reasons, judgement.checks, finding)
    face_id = enrolment.enrol_face(rt, claim)
    thumbnails = enrolment.make_thumbnails(rt, claim, judgement.face)
    winner = enrolment.confirm_enrolment(rt, claim, face_id)
    if winner:
        enrolment.withdraw(rt, claim)
        lost = enrolment.lost(winner)
        return enrolment.settle(rt, claim, lost.reasons, judgement.checks, lost)
    if profiles.save_profile(rt, claim, face_id, thumbnails):
        profiles.remove_older_photo(rt, claim, face_id)
    return enrolment.settle(rt, claim, (), judgement.checks, finding, (face_id, thumbnails))
