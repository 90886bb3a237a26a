"""Sign a form by which one user puts photos straight into S3 for some minutes: an example for the server of an app.

    python -m deployments.aws.presigned_post USER

prints the form as JSON. S3 takes the form until it expires, under this user's key alone: whoever holds it can neither
name another user nor another key. The server has to know who is asking, and needs the stack's `UploaderPolicyArn`.
"""

from __future__ import annotations

import argparse
import json
import uuid
from typing import Any

from selfiegate.aws.clients import client, translated
from selfiegate.cli.console import connected
from selfiegate.errors import BackendMisconfigured, SelfiegateError, WrongInput
from selfiegate.key_template import KeyTemplate
from selfiegate.settings import Settings
from selfiegate.stores.s3 import decoded
from selfiegate.user_ids import user_id_of

SECONDS = 300


def signed_form(settings: Settings, user_id: str, seconds: int = SECONDS) -> dict[str, Any]:
    """Return the form's `url` and `fields`; the photo goes behind them, in the field `file`.

    Raises `WrongInput` for a user id that S3 would read otherwise.
    """
    if not settings.aws.photo_bucket:
        raise BackendMisconfigured("no bucket to upload to: set SELFIEGATE_AWS__PHOTO_BUCKET")
    user_id = user_id_of(user_id, settings.backend)
    key = KeyTemplate(settings.key_template).key_of(user_id, uuid.uuid4().hex)
    if "${" in key:  # S3 puts the file's name there, which is the uploader's to choose
        raise WrongInput(f"the user id {user_id!r} cannot stand in a signed form")
    fields = _metadata(settings, user_id)
    conditions: list[Any] = [{name: value} for name, value in fields.items()]
    conditions += [["starts-with", "$Content-Type", "image/"], ["content-length-range", 1, settings.photos.max_bytes]]
    with translated("the form"):
        form: dict[str, Any] = client("s3", settings.aws).generate_presigned_post(
            settings.aws.photo_bucket, key, Fields=fields, Conditions=conditions, ExpiresIn=seconds
        )
    return form


def _metadata(settings: Settings, user_id: str) -> dict[str, str]:
    if not settings.user_metadata:
        return {}
    if not user_id.isascii():
        raise WrongInput(f"the user id {user_id!r} cannot stand in object metadata: it is not ASCII")
    if decoded(user_id.strip()) != user_id:  # the gate would read another user's id in it
        raise WrongInput(f"the user id {user_id!r} cannot stand in object metadata")
    return {f"x-amz-meta-{settings.user_metadata.lower()}": user_id}


def main() -> None:
    """Print a form."""
    parser = argparse.ArgumentParser(description="Sign a form by which one user uploads photos for some minutes.")
    parser.add_argument("user")
    try:
        print(json.dumps(signed_form(connected(), parser.parse_args().user), indent=2))
    except SelfiegateError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
