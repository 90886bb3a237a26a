"""selfiegate lets one clear face per account through."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from selfiegate.policy import Judgement

__version__ = "0.1.0"

# Faces are nobody else's business. onnxruntime reads this when it is imported, and then begins to tell Microsoft of
# this machine; every process of ours comes through here first.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def check(photo: str | PathLike[str] | bytes) -> Judgement:
    """Say whether a photo shows one usable face: the checks made, and every reason why not.

    `photo` is a path, an address in S3 (`s3://bucket/key`) or the file's bytes. Nothing is stored, and no gallery is
    opened: whether the face is enrolled already is not looked up. The settings are read, and the models loaded, at the
    first call. Safe to call from several threads.

    Raises `errors.WrongInput` where there is no such photo, `BackendMisconfigured` where models or libraries are
    missing (the message says how to mend it), `BackendUnavailable` where AWS does not answer.
    """
    from selfiegate.photo_check import checker  # numpy, Pillow and the models take a second to import

    return checker().check(photo)
