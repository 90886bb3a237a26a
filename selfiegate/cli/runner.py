"""What commands ask of whatever runs their steps: flows, or plain calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypedDict, Unpack

from selfiegate.model import PhotoRef, Verdict
from selfiegate.records import Erasure


class BackfillAsked(TypedDict):
    """The parameters of a backfill; `flows.backfill` says what each means."""

    source: str
    key_template: str | None
    order: Literal["key", "modified"]
    dry_run: bool
    notify: bool
    engine: Literal["threads", "dask"]
    dask: str | None
    workers: int | None
    tolerate: float
    report: str | None
    html: str | None


class Runner(Protocol):
    """Runs what a command asks for, and returns what came of it; raises a `SelfiegateError` on a fault."""

    def verdicts(self, photos: Iterable[tuple[PhotoRef, str]]) -> list[Verdict]:
        """Take each photo of each user to its verdict."""

    def forgotten(self, user_id: str, photos: bool, keep_originals: bool) -> Erasure:
        """Forget a user, and return the receipt; `keep_originals` gives up on those of an unfinished erasure."""

    def reconciled(self, *, limit: int, audit: bool, repair: bool) -> tuple[dict[str, int], str]:
        """Finish what died; return how many findings of each kind there were, and which parts failed, if any."""

    def backfilled(
        self, watch: Callable[[int, int], None], **asked: Unpack[BackfillAsked]
    ) -> tuple[dict[str, Any], bool]:
        """Run a backfill; return its counts, and whether no more photos failed than are tolerated."""
