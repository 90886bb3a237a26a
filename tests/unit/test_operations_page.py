"""The table of settings in docs/operations.md; `python -m tests.unit.test_operations_page` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

from selfiegate.settings_table import markdown_table

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BETWEEN = re.compile(r"(?<=<!-- settings:begin -->\n).*(?=<!-- settings:end -->)", re.DOTALL)


def with_table(page: str) -> str:
    """Return the page with the table of today's settings between its two marks."""
    return BETWEEN.sub(lambda _: markdown_table(), page)


def test_operations_lists_every_setting_as_it_is() -> None:
    page = PAGE.read_text()

    assert with_table(page) == page, "write the table anew: python -m tests.unit.test_operations_page"


def test_the_page_has_a_place_for_the_table() -> None:
    assert len(BETWEEN.findall(PAGE.read_text())) == 1


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
