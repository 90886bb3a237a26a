"""What the stores do not know of a `World`: who wrote too late, what came and went, who was forgotten.

A run that writes to a store without a ledger though its claim is lost leaves what only an audit finds; the world is
`disturbed` then. Where its row went because its user was forgotten, less is excused. Within its lease it may write:
the erasure waits for that and sweeps again. After its lease it must take back what it wrote, so it is `late` until it
ends, and the world is disturbed only where it dies or a store fails it before that.

Excused altogether, so such a run is let sleep on: one that outlasts all of an erasure and then, its user having come
back with the very same file, writes where that lies. The two have the same row, face and thumbnails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from selfiegate import thumbnails
from selfiegate.errors import ClaimLost, SelfiegateError, UserForgotten
from selfiegate.model import Claim, Verdict

if TYPE_CHECKING:
    from tests.protocol.scheduled import Run
    from tests.protocol.scheduler import World

_ADDS = ("gallery.add", "faces.enrol", "thumbnails.put", "profiles.put")
_REMOVES = ("gallery.remove", "faces.remove", "faces.discard", "thumbnails.remove")
_CHANGES = (*_ADDS, *_REMOVES, "ledger.claim", "ledger.remove", "profiles.remove", "erasures.put")

Thing = tuple[str, str, str]
"""Whose, of what kind, its name."""


class Watch:
    """Sees each call of each run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.wishes = dict[str, int]()
        """Up to when what a user uploaded is to be forgotten, microseconds since 1970: the latest ever stored."""
        self.came, self.erased = Counter[tuple[str, str]](), set[Thing]()
        """How often a thing of a user and kind was made, and what was removed by erasures."""
        self.back_with_the_same = set[str]()
        self.ever_disturbed = False
        self._leases = dict[tuple[str, str, str, int], int]()
        """Until when the runs of removed rows held them."""

    def forgets(self, user_id: str, order: str) -> bool:
        """Say whether what was uploaded then is to be forgotten."""
        return user_id in self.wishes and order <= f"{self.wishes[user_id]:016d}"

    def under_way(self, user_id: str) -> bool:
        """Say whether a user's erasure is not finished: what is held of the user means nothing then."""
        erasure = self._world.erasures.get(user_id)
        return erasure is not None and erasure.finished_at is None

    def let(self, run: Run, call: str, args: Sequence[Any], work: Callable[[], Any]) -> Any:
        """Let a call do its work, and see what it changes."""
        if call == "ledger.decide":
            self._judge(run, args[1])
        if call not in _CHANGES:
            return work()
        before = self._things()
        if call == "ledger.remove":
            self._note_lease(args[0])
        result = work()
        after = self._things()
        touched = {user_id for user_id, *_ in before ^ after}
        assert run.looks or touched <= {run.user_id}, f"{run} touched another user"
        self.came.update((user_id, kind) for user_id, kind, _ in after - before)
        if run.erases:
            self.erased |= before - after
        if (erasure := self._world.erasures.get(run.user_id)) is not None:
            moved = erasure.asked_at != self.wishes.get(run.user_id)
            assert not (moved and run.carries_on), "who carries on does not move the wish"
            self.wishes[run.user_id] = max(erasure.asked_at, self.wishes.get(run.user_id, 0))
        return result

    def outlasts(self, run: Run, call: str) -> bool:
        """Say whether a run is about to write where something newer lies since its user was forgotten."""
        if call not in _CHANGES or call in ("ledger.claim", "erasures.put") or run.looks:
            return False
        if run.erases:
            erasure = self._world.erasures.get(run.user_id)
            overtaken = erasure is None or erasure.run != run.owner or erasure.finished_at is not None
            return overtaken and run.user_id in self.back_with_the_same
        if call not in _ADDS + _REMOVES or run.claim is None:
            assert run.claim is not None, "a write before a claim"
            return False
        return self._is_late(run, call, run.claim)

    def _is_late(self, run: Run, call: str, claim: Claim) -> bool:
        if claim.verdict:  # it only lets the profile count from a later upload
            return False
        row = self._world.ledger.get(run.photo, run.user_id)
        until = self._leases.get(_key(claim))
        if until is not None and until >= self._world.micros():
            return False
        if row is None:
            if call in _ADDS:
                run.late = True
                self._world.log(f"{run} writes though its user is forgotten, and later than its lease")
            return False
        if until is not None and run.user_id in self.back_with_the_same:
            return True
        ours = (row.owner, row.attempt) == (claim.owner, claim.attempt) and not row.verdict
        if not ours and not (call in _REMOVES and row.status == "rejected"):
            self.disturb(f"{run} writes though it lost its claim")
        return False

    def disturb(self, why: str) -> None:
        """From now on only an audit mends."""
        self._world.disturbed = self.ever_disturbed = True
        self._world.log(why)

    def fault(self, run: Run) -> None:
        """A store fails a run, or it dies."""
        if run.late:
            self.disturb(f"{run} cannot take back what it wrote too late")

    def ended(self, run: Run, error: SelfiegateError) -> None:
        """Hold what a run ended by against what was asked for."""
        if isinstance(error, UserForgotten):
            assert self.forgets(run.user_id, run.order), f"{run} is not taken, and was uploaded after the wish"
        if not isinstance(error, ClaimLost):
            self.fault(run)

    def _judge(self, run: Run, verdict: Verdict) -> None:
        """Hold that a photo is not refused for a face that was forgotten before its run began."""
        user_id = verdict.matched_user_id
        erasure = self._world.erasures.get(user_id) if user_id and verdict.status != "accepted" else None
        if erasure is None or erasure.finished_at is None or erasure.finished_at > run.began or self.ever_disturbed:
            return
        if any(other.late for other in self._world.live):
            return
        since = [name for owner, name in self._world.uploads if owner == user_id]
        assert any(not self.forgets(erasure.user_id, self._world.orders[erasure.user_id, name]) for name in since), (
            f"{run} is refused for a face of {user_id}, who is forgotten"
        )

    def _note_lease(self, claim: Claim) -> None:
        row = self._world.ledger.get(claim.photo, claim.user_id)
        if row and _key(row) == _key(claim):
            self._leases[_key(row)] = row.lease_until

    def _things(self) -> set[Thing]:
        world = self._world
        users = {user_id for user_id, _ in world.uploads}
        homes = {thumbnails.home(user_id): user_id for user_id in users}
        return {
            *((row.user_id, "ledger row", row.photo.id) for one in users for row in world.ledger.claims_of(one)),
            *((face.user_id, "face", face.face_id) for face in world.gallery.faces()),
            *((homes[key.split("/")[0]], "thumbnail", key) for key in world.thumbnails.keys()),  # noqa: SIM118  a store
            *((profile.user_id, "profile", profile.user_id) for profile in world.profiles.all()),
        }


def _key(claim: Claim) -> tuple[str, str, str, int]:
    return claim.user_id, claim.photo.id, claim.owner, claim.attempt
