"""Any text in any setting: settings that hold together, or a sentence that names the setting."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from selfiegate.errors import WrongSetting
from selfiegate.settings import Settings, leaves, load_settings
from selfiegate.settings_table import rows
from selfiegate.wrong_settings import PREFIX, env_name

FORMER = "SELFIEGATE_PHOTOS__JPEG_HERE"
MEANT = {FORMER: "SELFIEGATE_PHOTOS__INLINE_JPEG_MAX"}
NAMES = [env_name(path) for path, _ in leaves(Settings)]
GROUPS = sorted({name.rpartition("__")[0] for name in NAMES if "__" in name})
NUMBERS = [row.name for row in rows(Settings.model_construct()) if row.type in ("number", "integer")]

NO_NUMBERS = ["nan", "-nan", "inf", "-inf", "Infinity", "1e999", "-1e999", "NaN"]
HOSTILE = [
    *NO_NUMBERS, "-1", "-0.0", "0", "1e308", "9" * 400, "9" * 5000, "0x10", "1_000", "true", "null", "", " ", "\t",
    "\n", "[]", "{}", "[[]]", "[null]", "[1e999]", '[""]', "[NaN]", "[", "{", "[" * 20_000, ",", ",,", "x", "a,b",
    "x" * 5000, '{"a": 1}', '"text"', "~", "~nobody_of_that_name/x", "{user_id}", "{user_id}{name}", "*", "0x0",
    "250x250x250", "-1x-1", "99999999x1", "\udcff", "a\udcffb", "\x1b[31m", "\u202e", "\u00fc", "\U0001f600",
]  # fmt: skip


def _finite(value: Any) -> Iterator[bool]:
    match value:
        case BaseModel():
            for name in type(value).model_fields:
                yield from _finite(getattr(value, name))
        case tuple() | list():
            for item in value:
                yield from _finite(item)
        case float():
            yield math.isfinite(value)
        case int():
            yield abs(value) < 2**53  # JSON's and SQLite's numbers hold it


def taken_or_named(given: dict[str, str], *names: str) -> Settings | None:
    """Load the settings from the environment; None where they were refused by a sentence that names one of them."""
    names = names or tuple(MEANT.get(name, name) for name in given)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        try:
            found = load_settings()
            found.model_dump(mode="json")  # as `selfiegate settings` shows them
        except WrongSetting as error:
            told = str(error)
            assert any(name in told for name in names), told
            assert len(told) < 1000 * len(names), "a sentence, not the value as it came"
            return None
    assert all(_finite(found))
    return found


@pytest.mark.parametrize("name", [*NAMES, FORMER])
def test_no_text_in_a_setting_ends_in_anything_but_settings_or_its_sentence(name: str) -> None:
    for value in HOSTILE:
        taken_or_named({name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_is_without_bounds(name: str) -> None:
    assert [value for value in [*NO_NUMBERS, "1e300", "-1e300", "9" * 20] if taken_or_named({name: value})] == []


@pytest.mark.parametrize("group", GROUPS)
def test_no_text_in_a_group_ends_in_anything_but_settings_or_its_sentence(group: str) -> None:
    for value in HOSTILE:
        taken_or_named({group: value})


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*NAMES, *GROUPS, FORMER]),
        st.sampled_from(HOSTILE)
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
        | st.binary(max_size=20).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
        | st.floats().map(str)
        | st.integers().map(str),
        min_size=1,
        max_size=4,
    )
)
def test_any_texts_together_are_settings_or_a_sentence(given: dict[str, str]) -> None:
    taken_or_named(given)


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(["nan", "inf", "-1", '""', '"\\u0000"', "[]", "9" * 30, "true"]))
def test_the_same_holds_in_a_file(name: str, value: str) -> None:
    *groups, key = name.removeprefix(PREFIX).lower().split("__")
    Path("selfiegate.toml").write_text("".join(f"[{group}]\n" for group in groups) + f"{key} = {value}\n")

    taken_or_named({}, name)
