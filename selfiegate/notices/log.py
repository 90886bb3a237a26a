"""Notices as log lines: what a machine without a mail or message service has."""

from __future__ import annotations

import logging
from collections.abc import Collection

from selfiegate.model import Verdict

_log = logging.getLogger(__name__)


class LogNotices:
    """Writes each notice to Python's log, on the logger `selfiegate.notices.log`."""

    way = "log"

    def notify(self, verdict: Verdict, told: Collection[str] = ()) -> None:
        """Log the reasons of a verdict."""
        reasons = " ".join(reason.message for reason in verdict.reasons)
        _log.info("notice to %s about %s: %s", verdict.user_id, verdict.photo.name, reasons)
