"""What the records ask of a SQL database: SQLite (`sqlite_database`) and PostgreSQL (`postgres_database`) have it.

Statements are written once, for both. Parameters are `?`, or `:name` where one mapping is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

PATIENCE_S = 30.0
"""How long a call waits for another process's write; far above a commit (about 5 ms on an SSD)."""


class SqlRow(Protocol):
    """A row; its columns are asked for by name."""

    def __getitem__(self, name: str, /) -> Any: ...

    def keys(self) -> Iterable[str]: ...


class SqlDatabase(Protocol):
    """One database, safe to use from several threads.

    Every method may raise `BackendUnavailable` (try again) or `BackendMisconfigured` (mend the set-up).
    """

    for_update: str
    """What a SELECT ends with that no other transaction may overtake before this one is done."""
    each_of_json: str
    """A subquery for the texts of a JSON array that is a parameter."""
    among_numbers: str
    """A condition on what is before it: it is in a JSON array of whole numbers, which is a parameter."""

    def read(self, sql: str, *parameters: Any) -> Sequence[SqlRow]:
        """Return all rows of one SELECT; within `write` of the same thread it sees what that wrote."""

    def write(self) -> AbstractContextManager[object]:
        """Make what this thread writes one transaction, durable at the end; within another it is a part of that."""

    def execute(self, sql: str, *parameters: Any) -> int:
        """Run one statement in a transaction and return how many rows it changed."""

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, all in one transaction.

        Raises `ValueError` where a row holds what the database has no place for: a text that is no JSON, say.
        """

    @property
    def in_transaction(self) -> bool:
        """Say whether this thread is within `write`."""


def named(parameters: tuple[Any, ...]) -> Any:
    """Return the mapping where one is all that was given."""
    return parameters[0] if len(parameters) == 1 and isinstance(parameters[0], Mapping) else parameters
