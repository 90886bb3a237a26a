"""Verdicts as people and programs read them. Nothing here shows a face."""

from __future__ import annotations

from typing import Any

from selfiegate.model import Verdict
from selfiegate.untrusted_text import plain


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict in the shape that the command line and the reports print."""
    return {
        "verdict": verdict.status,
        "user_id": verdict.user_id,
        "photo": verdict.photo.uri,
        "reasons": [reason.model_dump(mode="json") for reason in verdict.reasons],
        "face_id": verdict.face_id,
        "matched_user_id": verdict.matched_user_id,
        "score": verdict.score,
        "thumbnails": verdict.thumbnails,
    }


def markdown(verdict: Verdict) -> str:
    """Return a page for the run in Prefect's UI: verdict, reasons, each value against its limit."""
    lines = [
        f"# {verdict.status.replace('_', ' ').capitalize()}",
        f"Photo {code(verdict.photo.uri)} of user {code(verdict.user_id)}",
        *(f"- `{reason.code}` {reason.message}" for reason in verdict.reasons),
    ]
    if verdict.score is not None:
        whose = f"user {code(verdict.matched_user_id)}" if verdict.matched_user_id else "the present photo"
        lines.append(f"Similarity to {whose}: **{verdict.score:.3f}**, threshold {verdict.threshold}")
    if verdict.checks:
        rows = [
            f"| {check.name} | {'?' if check.value is None else f'{check.value:.3g}'} | {check.limit} "
            f"| {'✓' if check.passed else '✗ **refused**'} |"
            for check in verdict.checks
        ]
        lines.append("\n".join(["| check | value | limit | |", "|---|---:|---|---|", *rows]))
    for size, place in verdict.thumbnails.items():
        web = place.startswith(("https://", "http://"))
        lines.append(f"![thumbnail {size}]({place})" if web else f"Thumbnail {size}: {code(place)}")
    lines.append(f"Face model `{verdict.model}` · policy `{verdict.policy}`")
    return "\n\n".join(lines)


def code(text: str) -> str:
    """Return text that Markdown shows as it is, in code type."""
    return f"`{plain(text).replace('`', chr(39))}`"
