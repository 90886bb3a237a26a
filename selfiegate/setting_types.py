"""What settings are made of that the environment can only write as text: lists, pairs, folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field


def _split(given: object) -> object:
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        return json.loads(given)
    return [item.strip() for item in given.split(",")] if given.strip() else []


def _pair(given: object) -> object:
    return given.lower().split("x") if isinstance(given, str) else given


def _named(given: object) -> object:
    if isinstance(given, str) and not given.strip():
        raise ValueError("it is empty; name a folder, or unset it for the default")
    return given


COMMAS = BeforeValidator(_split)
"""Takes `a,b` as well as JSON: shells and env files read both alike."""

Side = Annotated[int, Field(gt=0)]
"""Of a picture, in pixels."""

Size = Annotated[tuple[Side, Side], BeforeValidator(_pair)]
"""Width and height in pixels; takes `250x250`."""

Folder = Annotated[Path, BeforeValidator(_named)]
"""A path that is not empty: an empty one would be the working folder."""
