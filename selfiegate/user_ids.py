"""What may name a user."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from selfiegate.errors import WrongInput


def user_id_of(text: str) -> str:
    """Return `text` if it can name a user: 1-255 printable characters; otherwise raise `WrongInput`.

    255 is the longest ExternalImageId that Rekognition takes; the same bound holds for every backend.
    """
    if not 1 <= len(text) <= 255:
        raise WrongInput(f"user id {text[:40]!r} has {len(text)} characters; it needs 1 to 255")
    if not text.isprintable():
        raise WrongInput(f"user id {text!r} holds control or invisible characters; use printable ones")
    return text


UserId = Annotated[str, AfterValidator(user_id_of), Field(description="1 to 255 printable characters")]
