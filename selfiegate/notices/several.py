"""Notices in several ways at once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from selfiegate.errors import BackendUnavailable, PartlyTold
from selfiegate.model import Verdict
from selfiegate.ports import Notifier

_log = logging.getLogger(__name__)


class SeveralNotices:
    """Sends each notice in every way; one that fails keeps none of the others from sending."""

    way = "several"

    def __init__(self, notifiers: Sequence[Notifier]) -> None:
        self._notifiers = tuple(notifiers)

    def notify(self, verdict: Verdict, told: Collection[str] = ()) -> None:
        """Send a verdict's reasons in each way but those of `told`.

        Raises `PartlyTold` with the first error that trying again may mend, or else the first.
        """
        done, errors = list(told), list[Exception]()
        for notifier in self._notifiers:
            if notifier.way in told:
                continue
            try:
                notifier.notify(verdict)
                done.append(notifier.way)
            except Exception as error:
                _log.warning("notice by %s about photo %s failed: %s", notifier.way, verdict.photo.id, error)
                errors.append(error)
        if errors:
            may_pass = (error for error in errors if isinstance(error, BackendUnavailable))
            worst = next(may_pass, errors[0])
            raise PartlyTold(tuple(done), worst) from worst
