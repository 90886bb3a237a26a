"""Notices in a list: the double that tests look into."""

from __future__ import annotations

from collections.abc import Collection

from selfiegate.model import Verdict


class MemoryNotices:
    """Keeps what was sent."""

    def __init__(self, way: str = "memory") -> None:
        self.way = way
        self.sent: list[Verdict] = []

    def notify(self, verdict: Verdict, told: Collection[str] = ()) -> None:
        """Keep a verdict."""
        self.sent.append(verdict)
