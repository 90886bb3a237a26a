"""Looks each accepted face up once more, `recheck_after_s` after its verdict, for duplicates that a search missed.

A search of Rekognition may lag for longer than a photo waited for it, and that of the embedded gallery is approximate.
What becomes of two users with one face is told in `enrolment.late_losses`.

A row is looked at `MOST_LOOKS` times at most: once, and again after pauses that double where it could not be decided.
A row that fails holds no other back: it is put off as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from selfiegate.clock import in_us, now_us
from selfiegate.enrolment.late_losses import Look, look_up, take_back
from selfiegate.errors import SelfiegateError
from selfiegate.model import Claim
from selfiegate.runtime import Runtime
from selfiegate.stuck import alive

LATE = "late look"
"""What a report calls a finding of ours."""
MOST_LOOKS = 6
_MOST_ROWS = 1000
_LOOK_S = 20.0
"""After so long no other row is looked at; the next `reconcile` goes on."""
_MOST_FAILURES = 5
"""After so many rows in a row that fail, it is not the rows."""
_LEAST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 86_400.0

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """A row of which there is something to tell."""

    row: Claim
    done: str
    tell: bool = False
    """Whether its user is to be told of the refusal."""


def look_again(rt: Runtime) -> list[Found]:
    """Look at the rows whose time has come, for as long as there is time; return what is to be told of them."""
    ends_at, found, failures = time.monotonic() + _LOOK_S, list[Found](), 0
    for row in rt.ledger.to_look_at(now_us(), _MOST_ROWS):
        if time.monotonic() > ends_at or failures == _MOST_FAILURES:
            break
        alive()
        try:
            found += _look_at(rt, row)
            failures = 0
        except SelfiegateError as error:  # of this row, or of a store that does not answer: the others must go on
            failures += 1
            found += _failed(rt, row, f"{type(error).__name__}: {error}")
    return found


def _look_at(rt: Runtime, due: Claim) -> Sequence[Found]:
    row = rt.ledger.get(due.photo, due.user_id)
    if row is None or row.status != "accepted" or row.look_at != due.look_at:
        return ()  # an index lags behind
    if row.loses_late:
        return _told(rt, row, take_back(rt, row))
    profile = rt.profiles.get(row.user_id)
    if profile is None or profile.photo != row.photo or not rt.settings.recheck_after_s:
        rt.ledger.look_later(row, 0)  # a newer photo is looked up by itself
        return ()
    if profile.model != rt.faces.model:
        return _put_off(rt, row, f"its face is of the model {profile.model}, until the gallery is rebuilt")
    look = look_up(rt, row, profile)
    if not look.again:
        rt.ledger.look_later(row, 0)
    return _told(rt, row, look)


def _told(rt: Runtime, row: Claim, look: Look) -> Sequence[Found]:
    return [*map(_lost, look.lost), *(_put_off(rt, row, look.again) if look.again else ())]


def _put_off(rt: Runtime, due: Claim, why: str, failed: bool = False) -> Sequence[Found]:
    """Look at a row again after a pause, and at last no more; a loss that is noted is carried out all the same."""
    row = rt.ledger.get(due.photo, due.user_id)
    if row is None or row.status != "accepted":
        return ()
    loss = row.late_loss if row.loses_late else None
    over = loss is None and row.looks + 1 >= MOST_LOOKS
    pause_s = max(rt.settings.recheck_after_s, _LEAST_PAUSE_S) * 2.0 ** min(row.looks, 30)
    rt.ledger.look_later(row, 0 if over else in_us(min(pause_s, _LONGEST_PAUSE_S)), loss)
    _log.warning("%s of %s is looked at %s: %s", row.photo.name, row.user_id, "no more" if over else "later", why)
    return [Found(row, f"{'given up' if over else 'put off'}: {why}")] if over or failed else ()


def _failed(rt: Runtime, row: Claim, why: str) -> Sequence[Found]:
    """Put a row off; where even that fails, it stays due."""
    try:
        return _put_off(rt, row, why, failed=True)
    except SelfiegateError:
        _log.warning("%s of %s stays due for a look: %s", row.photo.name, row.user_id, why)
        return [Found(row, f"put off: {why}")]


def _lost(row: Claim) -> Found:
    winner = row.verdict.matched_user_id if row.verdict else None
    _log.warning("%s lost the face to %s, who has held it for longer", row.user_id, winner)
    return Found(row, f"lost the face to {winner}, who has held it for longer", tell=row.notice == "none")
