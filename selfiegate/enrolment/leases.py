"""Claims kept while they are worked on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from selfiegate.errors import SelfiegateError
from selfiegate.model import Claim
from selfiegate.runtime import Runtime

_log = logging.getLogger(__name__)


@contextmanager
def leased(rt: Runtime, claims: Callable[[], Sequence[Claim]]) -> Iterator[None]:
    """Renew the leases of `claims()` while the block runs, and give up at once what it still names in the end.

    A thread of its own renews, though every other one is busy.
    """
    lease_s, turn, ended = rt.settings.lease_s, threading.Lock(), threading.Event()

    def renew(lease: float) -> None:
        try:
            with rt.ledger.batch():
                for claim in claims():
                    rt.ledger.renew(claim, lease)
        except SelfiegateError as error:  # it then ends by itself
            _log.warning("leases are not renewed: %s", error)

    def keep() -> None:
        while not ended.wait(lease_s / 3):
            with turn:
                if not ended.is_set():
                    renew(lease_s)

    threading.Thread(target=keep, name="leases", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        if claims():
            with turn:  # after a renewal that is under way
                renew(0)
