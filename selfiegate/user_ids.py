"""What may name a user."""

from __future__ import annotations

import base64
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from selfiegate.errors import WrongInput

_ENCODED = 221
"""Characters that Rekognition's id of a face, which has 255, leaves to the user beside the photo."""


def user_id_of(text: str, backend: str = "") -> str:
    """Return `text` if it can name a user: 1-255 printable characters; otherwise raise `WrongInput`.

    255 is the longest ExternalImageId that Rekognition takes; the same bound holds for every backend. With `backend`
    "rekognition" the text must fit beside a photo's id as well. It is not hashed: the collection alone has to tell
    whose a face is, to searches, the audit and erasures.
    """
    if not 1 <= len(text) <= 255:
        raise WrongInput(f"user id {text[:40]!r} has {len(text)} characters; it needs 1 to 255")
    if not text.isprintable():
        raise WrongInput(f"user id {text!r} holds control or invisible characters; use printable ones")
    if backend == "rekognition" and len(encoded(text)) > _ENCODED:
        raise WrongInput(
            f"user id {text[:40]!r}... is too long for Rekognition: 221 of its own letters (a-z A-Z 0-9 _ . - :), "
            "else 164 bytes of UTF-8"
        )
    return text


UserId = Annotated[str, AfterValidator(user_id_of), Field(description="1 to 255 printable characters")]


def encoded(user_id: str) -> str:
    """Write a user id in the letters that Rekognition takes; see `decoded`."""
    if re.fullmatch(r"[a-zA-Z0-9_.\-:]+", user_id) and not user_id.startswith("::"):
        return user_id
    return "::" + base64.urlsafe_b64encode(user_id.encode()).decode().rstrip("=")


def decoded(text: str) -> str:
    """Return the user id that `encoded` wrote."""
    if not text.startswith("::"):
        return text
    return base64.urlsafe_b64decode(text[2:] + "=" * (-len(text[2:]) % 4)).decode()
