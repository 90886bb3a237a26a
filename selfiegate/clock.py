"""Moments as the stores keep them: whole microseconds since 1970, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime

LAST_MOMENT = 10**16 - 1
"""Microseconds since 1970 with 16 digits: they sort as text until 2286."""


def now_us() -> int:
    """Return the present moment in microseconds since 1970."""
    return time.time_ns() // 1000


def in_us(seconds: float) -> int:
    """Return the moment so many seconds from now, in microseconds since 1970."""
    return now_us() + int(seconds * 1e6)


def seconds_until(moment_us: int) -> float:
    """Return the seconds from now until a moment; negative once it has passed."""
    return moment_us / 1e6 - time.time()


def moment_of(moment_us: int) -> datetime:
    """Return a moment, from microseconds since 1970."""
    return datetime.fromtimestamp(moment_us / 1e6, UTC)


def utc(moment: datetime | None) -> str:
    """Write a moment for people; `?` where it is not known."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "?"
