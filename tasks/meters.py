"""Metrics of verdicts, as Prometheus reads them.

A warm worker shows them where Prefect shows its client's metrics: PREFECT_CLIENT_METRICS_ENABLED, ..._PORT.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from prometheus_client import Counter, Histogram

from selfiegate.clock import now_us
from selfiegate.model import Reason

Lane = Literal["single", "express"]

_VERDICTS = Counter("selfiegate_verdicts", "Photos that got a verdict in this process", ["status", "lane"])
_REASONS = Counter("selfiegate_reasons", "Reasons of refusals; a photo may have several", ["reason", "lane"])
_SECONDS = Histogram(
    "selfiegate_upload_to_verdict_seconds",
    "From the upload, as its event tells it, to the verdict",
    ["lane"],
    buckets=(0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8, 15, 30, 60, 120, 300, 900, 3600),
)


def count(status: str, reasons: Iterable[Reason], upload_order: str, lane: Lane) -> None:
    """Count a verdict; `upload_order` begins with microseconds since 1970 (`Claim.upload_rank`), or is empty."""
    _VERDICTS.labels(status, lane).inc()
    for reason in reasons:
        _REASONS.labels(reason.code, lane).inc()
    if upload_order:
        _SECONDS.labels(lane).observe(max(0.0, (now_us() - int(upload_order[:16])) / 1e6))
