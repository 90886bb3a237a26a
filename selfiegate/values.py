"""What all values of the domain are: immutable, checked, and read from stores by older and newer versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Value(BaseModel):
    """An immutable value; unknown fields are errors, so a misspelt name never passes unseen.

    A field that was renamed keeps its stored name as its alias.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)


class Stored(Value):
    """A value that stores hold, which an older and a newer version of the program may share.

    A field that a newer version added is kept, and written back. Of anybody else an unknown field is an error.
    """

    @classmethod
    def from_store(cls, held: str | Mapping[str, Any]) -> Self:
        """Read what a store holds, JSON or a mapping."""
        validate: Any = cls.model_validate_json if isinstance(held, str) else cls.model_validate
        value: Self = validate(held, extra="allow")
        return value

    def keeping(self, held: Self | None) -> Self:
        """Return this value with those fields of another that only a newer version knows."""
        unknown = held.model_extra if held else None
        return self.from_store({**unknown, **self.model_dump()}) if unknown else self

    @model_serializer(mode="wrap")
    def _with_unknown_fields(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**dump(self), **(self.model_extra or {})}
