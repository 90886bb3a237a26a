"""Where settings come from: the environment, and two files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from selfiegate.errors import WrongSetting
from selfiegate.setting_types import folder, text
from selfiegate.wrong_settings import PREFIX, env_name

FORMER = {"sqlite_patience_s": "store_patience_s"}
"""Former names of settings, which each source still takes; the present name goes first."""


class Environment(EnvSettingsSource):
    """Leaves to the validators what is not JSON: pydantic's own error for it names no setting that can be set."""

    def __call__(self) -> dict[str, Any]:
        """Take what is set, by a former name, too."""
        taken = super().__call__()
        former = {name: os.environ[env_name((name,))] for name in FORMER if env_name((name,)) in os.environ}
        return _renamed({**former, **taken})

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return json.loads(value) if value.lstrip().startswith(("[", "{")) else value
        except (ValueError, RecursionError):
            return value


class TomlFile(TomlConfigSettingsSource):
    """A selfiegate.toml; a missing one sets nothing."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        try:
            return _renamed(super()._read_file(file_path))
        except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            raise WrongSetting(f"{file_path} cannot be read: {error}") from None


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    former = {FORMER[name]: value for name, value in values.items() if name in FORMER}
    return {**former, **{name: value for name, value in values.items() if name not in FORMER}}


def files() -> Iterator[Path]:
    """Yield the files that may set something, the one that goes first at the head."""
    yield Path("selfiegate.toml")
    home = os.environ.get(f"{PREFIX}HOME") or "~/.selfiegate"
    with suppress(ValueError):  # the setting itself is refused
        folder(text(home))
        yield Path(home).expanduser() / "selfiegate.toml"
