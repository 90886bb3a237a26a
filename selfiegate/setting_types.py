"""What settings are made of that the environment can only write as text: lists, pairs, folders."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

_HOST = r"([\w.%-]*|\[[0-9a-fA-F:.]+\])(:\d+)?"
_DATABASE = re.compile(rf"postgres(ql)?://([^@/?#\s]*@)?{_HOST}(,{_HOST})*(/[^@/?#\s]*)?(\?[^@?#\s]*)?")
"""Strict, so that no part of a password is taken for a host, and shown."""


def _split(given: object) -> object:
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        try:
            return json.loads(given)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    return [item.strip() for item in given.split(",")] if given.strip() else []


def _pair(given: object) -> object:
    return given.lower().split("x") if isinstance(given, str) else given


def folder(given: object) -> object:
    """Refuse what can name no folder on this machine."""
    if not isinstance(given, str):
        return given
    if not given.strip():
        raise ValueError("it is empty; name a folder, or unset it for the default")
    try:
        Path(given).expanduser().exists()
    except RuntimeError:
        raise ValueError("there is no user of that name") from None
    except OSError as error:
        raise ValueError(f"it cannot be a folder: {os.strerror(error.errno or 0)}") from None
    return given


def text(given: object) -> object:
    """Refuse text with bytes that are not UTF-8, or with control characters."""
    if isinstance(given, str) and any(ord(c) < 32 or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in given):
        raise ValueError("it holds control characters, or bytes that are not UTF-8")
    return given


def _unset(given: object) -> object:
    return None if given == "" else given


def _address(given: str | None) -> str | None:
    if given is not None and not re.match(r"https?://[^/\s]", given):
        raise ValueError("it is no address: those begin with http:// or https://")
    return given


def _database(given: SecretStr | None) -> SecretStr | None:
    if given is not None and not _DATABASE.fullmatch(given.get_secret_value()):
        raise ValueError(
            "it is no postgresql://USER:PASSWORD@HOST:5432/DATABASE; in a password, write @ as %40, / as %2F"
        )
    return given


def _token(given: SecretStr | None) -> SecretStr | None:
    if given is not None and not re.fullmatch(r"[\w.~+/=-]{16,512}", given.get_secret_value(), re.ASCII):
        raise ValueError("it is no token: 16 to 512 letters, digits, - . _ ~ + / =; make one by `openssl rand -hex 32`")
    return given


class Group(BaseModel):
    """Base of all groups of settings: no unknown names, every number finite, every text readable."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _text = field_validator("*", mode="before")(text)


COMMAS = BeforeValidator(_split)
"""Takes `a,b` as well as JSON: shells and env files read both alike."""

UNSET = BeforeValidator(_unset)
"""Takes an empty text for a setting that is not set: compose files and templates write it."""

Name = Annotated[str | None, UNSET]
"""Of something that need not be there."""

Address = Annotated[str | None, UNSET, AfterValidator(_address)]
"""A URL, or nothing."""

Database = Annotated[SecretStr | None, UNSET, AfterValidator(_database)]
"""The URL of a database, or nothing; it may hold a password, and is never shown."""

Token = Annotated[SecretStr | None, UNSET, AfterValidator(_token)]
"""What a client of ours proves itself by, or nothing; it is never shown."""

Side = Annotated[int, Field(gt=0, le=10_000)]
"""Of a picture, in pixels."""

Size = Annotated[tuple[Side, Side], BeforeValidator(_pair)]
"""Width and height in pixels; takes `250x250`."""

Folder = Annotated[Path, BeforeValidator(folder)]
"""A path that is not empty: an empty one would be the working folder."""
