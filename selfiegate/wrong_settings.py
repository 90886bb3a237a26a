"""What a wrong setting says: its name in the environment and in a selfiegate.toml, its value, and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from reprlib import Repr

from pydantic_core import ErrorDetails

PREFIX = "SELFIEGATE_"

Fault = tuple[tuple[str, ...], object, str]
"""The names that lead to a setting, its value, and why it cannot be that."""

_SECRETS = (["database"], ["bridge", "token"])
"""Settings whose values are never shown."""

_shown = Repr()
_shown.maxstring = _shown.maxother = _shown.maxlong = 80


def env_name(path: Sequence[str]) -> str:
    """Return a setting's name in the environment."""
    return PREFIX + "__".join(path).upper()


def told(path: Sequence[str], value: object, cause: str) -> str:
    """Return the sentence for one wrong setting, a long value shortened."""
    wrong = "" if isinstance(value, dict) else f" cannot be {_shown.repr(value)}"
    return f"the setting {env_name(path)} ({'.'.join(path)} in selfiegate.toml){wrong}: {cause}"


def sentence(error: ErrorDetails, names: Collection[str]) -> str:
    """Return pydantic's error in our words; `names` are those of all settings."""
    path = [part for part in error["loc"] if isinstance(part, str)]  # a list's items have numbers
    cause = error["msg"].removeprefix("Value error, ")
    if not path:  # settings that do not go together: these are sentences already
        return cause
    if error["type"] == "extra_forbidden":
        name = env_name(path)
        what = f"{'.'.join(path)} in selfiegate.toml (in the environment: {name})"
        return f"there is no setting {what}; {nearest(name, names)}"
    return told(path, {} if path in _SECRETS else error["input"], cause)


def nearest(name: str, names: Collection[str]) -> str:
    """Return what may have been meant by a name that no setting has."""
    near = get_close_matches(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in names], n=1)
    return f"did you mean {PREFIX}{near[0]}?" if near else "`selfiegate settings` lists all there are"
