"""The index of unfinished rows in DynamoDB: its HASH key `unfinished` marks them, its RANGE key is the lease's end.

One partition of an index takes 1,000 writes a second, and a photo writes its row some 13 times. Ends of leases only
grow, so DynamoDB cannot split one mark by them. So the marks are sixteen: `yes-` and the first digit of the photo's id,
which is a hash. Rows of a version before bear `yes` alone until they are finished; they are read first.

Accepted rows whose face is looked up once more bear sixteen other marks, `late-` and that digit. Nobody holds such a
row. So its `lease_until` says when the row is looked at, and `held_until` until when its run had held it.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfiegate.aws.dynamodb_table import Table

INDEX = "unfinished"
REVIEW = "review"
"""The mark of rows that wait for a person."""
OLD = "yes"
_DIGITS = "0123456789abcdef"
MARKS = (OLD, *(f"{OLD}-{digit}" for digit in _DIGITS))
_LATE_MARKS = tuple(f"late-{digit}" for digit in _DIGITS)
_ENDED = f"{INDEX} = :mark AND lease_until < :before"
_MOST_PAGES = 50
"""Of 1 MB: tens of thousands of rows. Those that waited longest and shortest are at the two ends."""


def mark_of(photo_id: str) -> str:
    """Return the mark of an unfinished row."""
    return f"{OLD}-{photo_id[0]}"


def late_mark_of(photo_id: str) -> str:
    """Return the mark of an accepted row that is looked at once more."""
    return f"late-{photo_id[0]}"


def end_of(status: str, look_at: int = 0) -> str:
    """Return how an update takes a row of this status out of the unfinished ones."""
    if look_at:
        return f", {INDEX} = :late, held_until = lease_until, lease_until = :look_at"
    return f", {INDEX} = :review" if status == "needs_review" else f" REMOVE {INDEX}"


def due_late(table: Table, before: int) -> Iterator[dict[str, Any]]:
    """Go through the items that are looked at before this time, in the order of that; some 50 MB at most."""
    return ended(table, before, bounded=True, marks=_LATE_MARKS)


def ended(
    table: Table, before: int, *, bounded: bool, newest_first: bool = False, marks: Sequence[str] = MARKS
) -> Iterator[dict[str, Any]]:
    """Go through the items whose leases ran out before this time, in the order of that.

    Where it is bounded, it reads some 50 MB at most, and a page of each mark.
    """
    pages = iter(range(_MOST_PAGES)) if bounded else None

    def marked(mark: str) -> Iterator[dict[str, Any]]:
        after, first = "", True
        while first or (after and (pages is None or next(pages, None) is not None)):
            items, after = table.page(_ENDED, INDEX, after, backwards=newest_first, mark=mark, before=before)
            yield from items
            first = False

    return heapq.merge(*map(marked, marks), key=_lease_of, reverse=newest_first)


def page(table: Table, after: str, limit: int, before: int) -> tuple[list[dict[str, Any]], str]:
    """Return some items, mark by mark, and what to ask for the next with: DynamoDB's key, or the next mark alone."""
    mark = json.loads(after)[INDEX] if after else MARKS[0]
    inside = after if after and len(json.loads(after)) > 1 else ""
    items, following = table.page(_ENDED, INDEX, inside, limit=limit, mark=mark, before=before)
    rest = MARKS[MARKS.index(mark) + 1 :]
    return items, following or (json.dumps({INDEX: rest[0]}) if rest else "")


def _lease_of(item: Mapping[str, Any]) -> int:
    return int(item["lease_until"])
