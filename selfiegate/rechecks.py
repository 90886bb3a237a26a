"""Looks accepted faces up once more, `recheck_after_s` later, and contests the duplicates that a search missed.

A search of Rekognition may lag for longer than a photo waited for it, and that of the embedded gallery is approximate.
Of two users who hold one face the one keeps it who has held it for longer. The other's row is opened again with a
contest, in one write, and its photo is run again: it loses to the contest by `enrolment.sequence`, like any other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from selfiegate.clock import in_us, now_us
from selfiegate.enrolment.rivals import holders
from selfiegate.errors import BackendUnavailable, UnreadableRow
from selfiegate.model import Claim, Contest, Match
from selfiegate.privacy.erasures import is_forgotten
from selfiegate.runtime import Runtime
from selfiegate.stuck import alive

_LOOK_S = 20.0
"""After so long a step of looks ends; the next `reconcile` goes on."""
MOST_RECHECKS = 6
"""Looks at one enrolment: the first, and others where it was found doubtful or its rows could not be read."""
_LONGEST_PAUSE_S = 86_400.0

_log = logging.getLogger(__name__)


class Double(NamedTuple):
    """An accepted row, and another user's face that matches its face."""

    row: Claim
    match: Match


class Contested(NamedTuple):
    """The row that lost and is to be run again, if there is one, and what was done in words; empty: nothing."""

    loser: Claim | None
    done: str


def look_again(rt: Runtime, limit: int) -> list[Double]:
    """Look at most so many accepted faces up whose time has come; return what matches, the oldest enrolment first.

    What matches is looked at again later, until nothing does: who dies after this step has lost nothing.
    """
    ends_at, found = time.monotonic() + _LOOK_S, list[Double]()
    for row in rt.ledger.to_recheck(now_us(), limit) if rt.settings.recheck_after_s else ():
        if time.monotonic() > ends_at:
            break
        alive()
        found += _look_at(rt, row)
    return sorted(found, key=lambda double: double.row.seniority)


def contest_late(rt: Runtime, double: Double) -> Contested:
    """Let the younger of two enrolments of one face lose it, as if the older had been found in time."""
    try:
        return _contest(rt, double.row, double.match)
    except UnreadableRow as row:
        return Contested(None, f"listed: {row}")


def _look_at(rt: Runtime, row: Claim) -> Sequence[Double]:
    try:
        found = [Double(row, match) for match in _matches(rt, row)]
    except UnreadableRow as unreadable:
        _log.warning("%s of %s is looked up later: %s", row.photo.name, row.user_id, unreadable)
        _put_off(rt, row)
        return ()
    if found:
        _put_off(rt, row)
    else:
        rt.ledger.rechecked(row)
    return found


def _put_off(rt: Runtime, row: Claim) -> None:
    """Look again later, at longer and longer intervals, and then no more."""
    pause_s = min(rt.settings.recheck_after_s * 2.0 ** (row.rechecks + 1), _LONGEST_PAUSE_S)
    rt.ledger.rechecked(row, in_us(pause_s) if row.rechecks + 1 < MOST_RECHECKS else 0)


def _matches(rt: Runtime, row: Claim) -> Sequence[Match]:
    """Return the other users' faces that match a row's, unless another photo took its place or it is gone."""
    profile = rt.profiles.get(row.user_id)
    if row.face_id is None or profile is None or (profile.photo, profile.face_id) != (row.photo, row.face_id):
        return ()
    if profile.model != rt.faces.model:
        return ()
    try:
        matches = rt.faces.late_rivals(row.face_id, row.user_id)
    except BackendUnavailable:
        if rt.faces.holds(row.face_id):
            raise
        return ()  # the audit mends a profile without its face
    return [match for match in matches if holders(rt, match) != [] and rt.faces.holds(match.face_id)]


def _contest(rt: Runtime, ours: Claim, match: Match) -> Contested:
    row = rt.ledger.get(ours.photo, ours.user_id)
    if row is None or (row.status, row.attempt) != ("accepted", ours.attempt):
        return Contested(None, "")  # an older double opened it again
    against = Contest(user_id=row.user_id, photo=row.photo, score=match.score)
    undecided = holders(rt, match)
    if undecided is not None:
        contested = [rival for rival in undecided if rt.ledger.contest(rival, against)]
        return Contested(None, "contested before its verdict" if contested else "")
    rival = _accepted_row(rt, match)
    if rival is None:
        return Contested(None, "listed: no row says since when this user holds the face")
    winner, loser = sorted((row, rival), key=lambda one: _holds_since(rt, one))
    if any(is_forgotten(rt.erasures, one.user_id, one.upload_rank) for one in (winner, loser)):
        return Contested(None, "")
    against = Contest(user_id=winner.user_id, photo=winner.photo, score=match.score)
    if not rt.ledger.reopen(loser, notify=loser.notice != "off", contest=against):
        return Contested(None, "")
    _log.warning("%s holds the face of %s, who held it before: it is contested", loser.user_id, winner.user_id)
    return Contested(loser, "contested")


def _accepted_row(rt: Runtime, match: Match) -> Claim | None:
    """Return the row of the profile that a matched face belongs to; None for one of an older system, say."""
    profile = rt.profiles.get(match.user_id)
    row = rt.ledger.get(profile.photo, profile.user_id) if profile and profile.face_id == match.face_id else None
    return row if row and row.status == "accepted" else None


def _holds_since(rt: Runtime, row: Claim) -> tuple[int, str, str]:
    """Return the seniority of a user's oldest accepted photo: each later one shows the same person."""
    return min(one.seniority for one in (row, *rt.ledger.claims_of(row.user_id)) if one.status == "accepted")
