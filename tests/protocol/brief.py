"""Says what a value is in few words: a schedule is read by people."""

from __future__ import annotations

from typing import Any

from selfiegate.model import Claim, PhotoRef


def brief(value: Any) -> str:
    """Return the words."""
    match value:
        case Claim():
            contests = f", {len(value.contests)} contests" if value.contests else ""
            return f"<{value.user_id} {value.photo.key[-9:-4]} {value.status} {value.attempt}{contests}>"
        case PhotoRef():
            return value.key[-9:-4]
        case tuple():
            return f"({', '.join(brief(one) for one in value if not isinstance(one, bytes))})"
        case list():
            return f"[{', '.join(map(brief, value))}]"
        case _ if hasattr(value, "user_id"):
            return f"<{type(value).__name__} {value.user_id}>"
        case _ if hasattr(value, "shape"):
            return "<embedding>"
    return repr(value)[:60]
