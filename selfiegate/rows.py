"""Reading stored rows, of which some may not be readable: of a newer version, or damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Never, TypeVar

from pydantic import ValidationError

from selfiegate.errors import UnreadableRow

Skip = Callable[[UnreadableRow], object]
"""Is called with each row that cannot be read; where it returns, the row is left out."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


def refuse(row: UnreadableRow) -> Never:
    """Raise it: for those who must not decide anything without that row."""
    raise row


def warn(row: UnreadableRow) -> None:
    """Log it and go on: for those who look after everybody's rows."""
    _log.warning("%s", row)


@contextmanager
def reading(kind: str, user_id: object, name: str = "", revision: object = None) -> Iterator[None]:
    """Raise `UnreadableRow` for what a stored row makes the block raise; the values in it are not told."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        why = ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
        raise UnreadableRow(kind, str(user_id), why, name, revision) from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise UnreadableRow(kind, str(user_id), f"{type(error).__name__}: {error}", name, revision) from None


def readable(rows: Iterable[Any], read: Callable[[Any], T], skip: Skip) -> Iterator[T]:
    """Read each row, and leave out what cannot be read where `skip` returns."""
    for row in rows:
        try:
            value = read(row)
        except UnreadableRow as unreadable:
            skip(unreadable)
        else:
            yield value
