"""Steps that look at faces."""

from __future__ import annotations

from selfiegate.enrolment import protocol
from selfiegate.enrolment.protocol import Finding
from selfiegate.model import Claim, Detection, Match, PhotoRef
from selfiegate.runtime import runtime
from tasks.steps import step


@step("detect faces in {photo.name}")
def detect_faces(photo: PhotoRef) -> Detection:
    """Find the faces of a photo; one that cannot be read is an outcome, not an error."""
    return runtime().faces.detect(photo)


@step("search gallery for {claim.photo.name}")
def search_gallery(claim: Claim) -> Finding:
    """Ask whether somebody else holds this face, and whether it is the user's own."""
    return protocol.search_gallery(runtime(), claim)


@step("enrol face of {claim.photo.name}")
def enrol_face(claim: Claim) -> str:
    """Put the face into the gallery and return its id."""
    return protocol.enrol_face(runtime(), claim)


@step("confirm enrolment of {claim.photo.name}")
def confirm_enrolment(claim: Claim, face_id: str) -> Match | None:
    """Win the face, or return the match it is lost to."""
    return protocol.confirm_enrolment(runtime(), claim, face_id)


@step("withdraw {claim.photo.name}")
def withdraw(claim: Claim) -> None:
    """Leave no trace in the gallery or among the thumbnails."""
    protocol.withdraw(runtime(), claim)
