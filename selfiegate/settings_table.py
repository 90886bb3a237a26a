"""All settings as rows: for `selfiegate settings`, and for the table in docs/operations.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from selfiegate.settings import Settings, leaves, sources
from selfiegate.wrong_settings import env_name

_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "multipleOf": "a multiple of {}",
    "minItems": "at least {} of them",
}


@dataclass(frozen=True)
class Row:
    """One setting. `value` and `default` are as JSON knows them, None where nothing is set."""

    name: str
    key: str
    value: Any
    source: str
    type: str
    allowed: str
    default: Any
    description: str

    def as_json(self) -> dict[str, Any]:
        """Return all of it under its field's names."""
        return asdict(self)


def rows(settings: Settings) -> list[Row]:
    """Return a row for every setting, nested ones included, in the order of the model.

    `source` is `default`, `environment`, or the path of the selfiegate.toml that sets the value. Secrets are masked.
    """
    values = settings.model_dump(mode="json")
    defaults = Settings.model_construct().model_dump(mode="json")
    schema = Settings.model_json_schema()
    given = list(sources())
    return [
        Row(
            name=env_name(path),
            key=".".join(path),
            value=_at(values, path),
            source=next((label for label, data in given if _holds(data, path)), "default"),
            type=_type(found := _schema_at(schema, path)),
            allowed=_allowed(found),
            default=_at(defaults, path),
            description=field.description or "",
        )
        for path, field in leaves(Settings)
    ]


def markdown_table() -> str:
    """Return a Markdown table of all settings with their types, ranges and defaults; the same on every machine."""
    head = ["| setting | type | allowed | default | what it is |", "|---|---|---|---|---|"]
    lines = [
        f"| `{row.name}` | {row.type} | {row.allowed} | {_code(row.default)} | {row.description.replace('|', '/')} |"
        for row in rows(Settings.model_construct())
    ]
    return "\n".join([*head, *lines, ""])


def as_set(value: object) -> str:
    """Return a value as it is written in the environment: lists with commas, sizes as 250x250, nothing as ''."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ",".join("x".join(map(str, item)) if isinstance(item, list) else str(item) for item in value)
    return str(value)


def _code(value: object) -> str:
    return f"`{text}`" if (text := as_set(value)) else ""


def _at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = values
    for part in path:
        found = found[part]
    return found


def _holds(data: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    found: Any = data
    for part in path:
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return True


def _schema_at(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    found = schema
    for part in path:
        found = schema["$defs"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found
        found = found["properties"][part]
    branches = [branch for branch in found.get("anyOf", [found]) if branch.get("type") != "null"]
    return dict(branches[0])


def _type(schema: dict[str, Any]) -> str:
    match schema:
        case {"type": "array", "prefixItems": [_, *_]}:
            return "width x height"
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"format": "path"}:
            return "path"
    return {"string": "text", "boolean": "true or false"}.get(schema["type"], str(schema["type"]))


def _allowed(schema: dict[str, Any]) -> str:
    items = schema.get("items", {})
    if "prefixItems" in items:  # of a pair: both numbers have the same bounds
        items = items["prefixItems"][0]
    return ", ".join([*_bounds(schema), *(f"each {bound}" for bound in _bounds(items))])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    if choices := schema.get("enum"):
        yield f"one of {', '.join(map(str, choices))}"
    for name, words in _BOUNDS.items():
        if name in schema:
            yield words.format(f"{schema[name]:.9g}")
