"""Records as rows that no store has a way of its own for: what a move carries from one database to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

Row = tuple[Any, ...]
"""The values of a table's columns, in their order."""


class Table(NamedTuple):
    """One kind of record."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    """The key's first."""
    documents: tuple[str, ...]
    """Those that hold JSON."""

    def key_of(self, row: Row) -> tuple[str, ...]:
        """Return what names a row."""
        return row[: len(self.key)]


CLAIMS = Table(
    "claims",
    ("user_id", "photo_id"),
    (
        *("user_id", "photo_id", "photo", "status", "claimed_at", "owner", "lease_until", "attempt", "contests"),
        *("face_id", "verdict", "notice", "notice_by", "upload_order", "uploads", "told"),
        *("look_at", "looks", "late_loss"),
    ),
    ("photo", "contests", "verdict", "told", "late_loss"),
)
PROFILES = Table("profiles", ("user_id",), ("user_id", "revision", "profile"), ("profile",))
ERASURES = Table("erasures", ("user_id",), ("user_id", "revision", "finished", "erasure"), ("erasure",))
TABLES = (CLAIMS, PROFILES, ERASURES)


class Left(NamedTuple):
    """A row that the other store has no place for; it stays where it is."""

    kind: str
    key: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {' '.join(self.key)!r}: {self.why}"


class RowStore(Protocol):
    """Records, read and written as rows. Every method may raise `BackendUnavailable` and `BackendMisconfigured`."""

    def pages(self, table: Table) -> Iterator[tuple[Sequence[Row], Sequence[Left]]]:
        """Go through all rows, some thousand at a time, and those that cannot be turned into such rows."""

    def put(self, table: Table, rows: Sequence[Row]) -> Sequence[Left]:
        """Store rows, as far as their keys are not there; return those that the store does not take."""

    def same(self, table: Table, rows: Sequence[Row]) -> bool:
        """Say whether each of these rows is there, as it is."""

    def count(self, table: Table) -> int:
        """Count the rows that `pages` goes through."""

    def empty(self) -> None:
        """Remove all rows."""
