"""Claims kept while they are worked on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from selfiegate.errors import SelfiegateError
from selfiegate.model import Claim
from selfiegate.runtime import Runtime

_log = logging.getLogger(__name__)


class Lease:
    """The claims that a run holds; who decides a claim takes it out."""

    def __init__(self, rt: Runtime, claims: Sequence[Claim]) -> None:
        self.claims, self._rt = claims, rt

    def renew(self, seconds: float) -> None:
        """Let the claims end so many seconds from now; 0 gives them up."""
        try:
            with self._rt.ledger.batch():
                for claim in self.claims:
                    self._rt.ledger.renew(claim, seconds)
        except SelfiegateError as error:  # the lease then ends by itself
            _log.warning("leases are not renewed: %s", error)


@contextmanager
def leased(rt: Runtime, claims: Sequence[Claim]) -> Iterator[Lease]:
    """Renew the lease's claims while the block runs, and give up at once what it still holds in the end.

    A thread of its own renews, though every other one is busy.
    """
    lease, lease_s = Lease(rt, claims), rt.settings.lease_s
    turn, ended = threading.Lock(), threading.Event()

    def keep() -> None:
        while not ended.wait(lease_s / 3):
            with turn:
                if not ended.is_set():
                    lease.renew(lease_s)

    threading.Thread(target=keep, name="leases", daemon=True).start()
    try:
        yield lease
    finally:
        ended.set()
        if lease.claims:
            with turn:  # after a renewal that is under way
                lease.renew(0)
