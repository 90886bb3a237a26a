"""What another user's face says against a photo: it is that person, a person is to decide, or nobody can tell.

A photo of a clear face is held against the match threshold. One of an unclear face is held against the lower unclear
threshold: that is where the second photos of people lie who disguise themselves, and a better photo costs honest
users little.
"""

from __future__ import annotations

import math

from selfiegate.model import Match, PhotoRef, ReasonCode
from selfiegate.runtime import Runtime


def is_unclear(rt: Runtime, photo: PhotoRef, user_id: str, quality: float | None) -> bool:
    """Say whether a face is too poor to be told from those that are somewhat like it.

    A face of unknown quality is trusted: where a backend tells none, nobody could mend a photo by taking a better one.
    So is the photo of the user's profile, which is run again where our stores lost its face.
    """
    if quality is None or quality >= rt.settings.matching.clear_quality:
        return False
    profile = rt.profiles.get(user_id)
    return profile is None or profile.photo != photo


def counts(rt: Runtime, score: float, unclear: bool) -> bool:
    """Say whether a similarity to another user's face counts against a photo."""
    return _reaches(score, rt.faces.thresholds.floor(unclear))


def code_of(rt: Runtime, match: Match) -> ReasonCode:
    """Return why a photo is refused for a match that counts against it."""
    same = _reaches(match.score, rt.faces.thresholds.match) or is_doubtful(rt, match)
    return ReasonCode.FACE_ALREADY_ENROLLED if same else ReasonCode.UNCLEAR_MATCH


def is_doubtful(rt: Runtime, match: Match) -> bool:
    """Say whether a person is to decide about a match; never where no review threshold is set."""
    asked, thresholds = rt.settings.matching.review_threshold is not None, rt.faces.thresholds
    return asked and _reaches(match.score, thresholds.review) and not _reaches(match.score, thresholds.match)


def threshold_of(rt: Runtime, match: Match) -> float:
    """Return the similarity that a match was held against."""
    thresholds = rt.faces.thresholds
    return thresholds.unclear if code_of(rt, match) is ReasonCode.UNCLEAR_MATCH else thresholds.match


def _reaches(score: float, threshold: float) -> bool:
    """Compare; scores and thresholds that differ by a rounding to 32 bits are equal."""
    return score >= threshold or math.isclose(score, threshold, rel_tol=1e-6)
