"""Notices in a list: the double that tests look into."""

from __future__ import annotations

from selfiegate.model import Verdict


class MemoryNotices:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[Verdict] = []

    def notify(self, verdict: Verdict) -> None:
        """Keep a verdict."""
        self.sent.append(verdict)
