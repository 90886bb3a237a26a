"""What is held of one user, as JSON: for the user to see (GDPR, article 15)."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from typing import Any

from selfiegate import thumbnails as thumbs
from selfiegate.model import Claim, Profile
from selfiegate.runtime import Runtime


def export_user(rt: Runtime, user_id: str) -> dict[str, Any]:
    """Return profile, faces with their embeddings, thumbnails (base64) and the ledger's rows; shows faces.

    The original photos are named, not contained. A list is empty where nothing is held.
    """
    profile, erasure, rows = rt.profiles.get(user_id), rt.erasures.get(user_id), rt.ledger.claims_of(user_id)
    files = {key: rt.thumbnails.read(key) for key in sorted(rt.thumbnails.keys(thumbs.home(user_id)))}
    return {
        "user_id": user_id,
        "profile": profile.model_dump(mode="json") if profile else None,
        "faces": [
            {"face_id": face_id, "model": rt.faces.model, "embedding": rt.faces.template(face_id)}
            for face_id in sorted(_faces(rt, user_id, profile, rows))
        ],
        "thumbnails": {key: base64.b64encode(data).decode() for key, data in files.items() if data is not None},
        "photos": [row.model_dump(mode="json") for row in rows],
        "erasure": erasure.model_dump(mode="json") if erasure else None,
    }


def _faces(rt: Runtime, user_id: str, profile: Profile | None, rows: Sequence[Claim]) -> Collection[str]:
    """Return the ids of a user's faces; of a service those that the records name, for it lists only all faces."""
    if not rt.faces.remote:
        return rt.faces.faces_of(user_id)
    named = {row.face_id for row in rows if row.face_id}
    if profile:
        named |= {profile.face_id, *(remains.face_id for remains in profile.remains)}
    return rt.faces.held(named)
