"""A late look at a face of two users meets other runs. A file of its own, for another process of the tests."""

from __future__ import annotations

import pytest

from tests.protocol.late_meetings import FATES_AND_STRIDES, RUNS_MEET, Meets, a_late_look_meets
from tests.protocol.meetings import Fate


@pytest.mark.parametrize(("fate", "stride"), FATES_AND_STRIDES)
@pytest.mark.parametrize("meets", RUNS_MEET)
def test_a_late_look_may_meet_anything_anywhere(meets: Meets, fate: Fate, stride: int) -> None:
    a_late_look_meets(meets, fate, stride)
