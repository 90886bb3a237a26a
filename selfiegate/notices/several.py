"""Notices in several ways at once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence

from selfiegate.errors import BackendUnavailable
from selfiegate.model import Verdict
from selfiegate.ports import Notifier

_log = logging.getLogger(__name__)

_REMEMBERED = 1024


class SeveralNotices:
    """Sends each notice in every way; one that fails keeps none of the others from sending.

    Afterwards it raises the first error that trying again may mend, or else the first, so that the step is
    tried again. Then only those send that failed before; this process remembers its last 1,024 photos, another
    one may send twice.
    """

    def __init__(self, notifiers: Sequence[Notifier]) -> None:
        self._notifiers = tuple(notifiers)
        self._sent: OrderedDict[tuple[str, str], set[int]] = OrderedDict()
        self._lock = threading.Lock()

    def notify(self, verdict: Verdict) -> None:
        """Send a verdict's reasons in each way that has not sent them yet."""
        sent, errors = self._sent_for(verdict), list[Exception]()
        for number, notifier in enumerate(self._notifiers):
            if number in sent:
                continue
            try:
                notifier.notify(verdict)
                sent.add(number)
            except Exception as error:
                _log.warning("notice by %s about photo %s failed: %s", type(notifier).__name__, verdict.photo.id, error)
                errors.append(error)
        if errors:
            raise next((error for error in errors if isinstance(error, BackendUnavailable)), errors[0])

    def _sent_for(self, verdict: Verdict) -> set[int]:
        with self._lock:
            sent = self._sent.setdefault((verdict.photo.id, verdict.user_id), set())
            self._sent.move_to_end((verdict.photo.id, verdict.user_id))
            if len(self._sent) > _REMEMBERED:
                self._sent.popitem(last=False)
            return sent
