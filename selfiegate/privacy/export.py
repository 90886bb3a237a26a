"""What is held of one user, as JSON: for the user to see (GDPR, article 15)."""

from __future__ import annotations

import base64
from typing import Any

from selfiegate import thumbnails as thumbs
from selfiegate.runtime import Runtime


def export_user(rt: Runtime, user_id: str) -> dict[str, Any]:
    """Return profile, faces with their embeddings, thumbnails (base64) and the ledger's rows; shows faces.

    The original photos are named, not contained. A list is empty where nothing is held.
    """
    profile, erasure = rt.profiles.get(user_id), rt.erasures.get(user_id)
    files = {key: rt.thumbnails.read(key) for key in sorted(rt.thumbnails.keys(thumbs.home(user_id)))}
    return {
        "user_id": user_id,
        "profile": profile.model_dump(mode="json") if profile else None,
        "faces": [
            {"face_id": face_id, "model": rt.faces.model, "embedding": rt.faces.template(face_id)}
            for face_id in sorted(rt.faces.faces_of(user_id))
        ],
        "thumbnails": {key: base64.b64encode(data).decode() for key, data in files.items() if data is not None},
        "photos": [row.model_dump(mode="json") for row in rt.ledger.claims_of(user_id)],
        "erasure": erasure.model_dump(mode="json") if erasure else None,
    }
