"""Removes a face from a collection, and believes only an answer that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfiegate.errors import BackendUnavailable

Ask = Callable[..., Any]
"""Calls an operation on the collection."""

_TIED, _UNKNOWN = "ASSOCIATED_TO_AN_EXISTING_USER", "FACE_NOT_FOUND"


def remove_face(ask: Ask, face_id: str) -> None:
    """Remove a face; an unknown one is fine.

    DeleteFaces answers 200 also where it keeps a face: another program has associated the face with a user of
    Rekognition. Such a face is disassociated first; the user stays. Raises `BackendUnavailable` where the face is kept
    after all: an association may take AWS a moment to end.
    """
    kept = _delete(ask, face_id)
    if kept and _TIED in _reasons(kept) and kept.get("UserId"):
        ask("disassociate_faces", UserId=kept["UserId"], FaceIds=[face_id])
        kept = _delete(ask, face_id)
    if kept:
        why = ", ".join(_reasons(kept)) or "without a reason"
        user = f"; it is associated with the user {kept['UserId']} of Rekognition" if kept.get("UserId") else ""
        raise BackendUnavailable(f"rekognition:DeleteFaces kept the face {face_id}: {why}{user}")


def _delete(ask: Ask, face_id: str) -> Mapping[str, Any] | None:
    """Return what DeleteFaces says of a face that it has kept; None where the face is gone."""
    failed = ask("delete_faces", FaceIds=[face_id]).get("UnsuccessfulFaceDeletions", ())
    return next((kept for kept in failed if _reasons(kept) != [_UNKNOWN]), None)


def _reasons(kept: Mapping[str, Any]) -> Sequence[str]:
    return list(kept.get("Reasons", ()))
