"""Claims kept while they are worked on."""

from __future__ import annotations

from collections.abc import Sequence

from selfiegate.leases import Lease
from selfiegate.model import Claim
from selfiegate.runtime import Runtime


def lease_of(rt: Runtime, claims: Sequence[Claim]) -> Lease[Claim]:
    """Return the lease of a run's claims; who decides a claim takes it out."""

    def renew(claims: Sequence[Claim], seconds: float) -> None:
        with rt.ledger.batch():
            for claim in claims:
                rt.ledger.renew(claim, seconds)

    return Lease(claims, renew, rt.settings.lease_s)
