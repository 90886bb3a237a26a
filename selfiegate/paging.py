"""How stores give out very many things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    """Some of a store's many things, in an order of the store's own; it may hold none though others follow."""

    items: Sequence[T]
    next: str
    """What the next page is asked for with, at any time and from any process; empty after the last."""
