"""The annotated picture and its JSON."""

from __future__ import annotations

import numpy as np
import pytest

from selfiegate.advice import covered, reason, rotated
from selfiegate.explain import annotate, as_json
from selfiegate.model import Detection, Reason, ReasonCode
from selfiegate.policy import Judgement, Rules, judge
from tests.unit.test_decode import is_red_at_top_left, picture
from tests.unit.test_policy import face

POINTS = ((0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.4, 0.6), (0.6, 0.6))


@pytest.mark.parametrize(("sunglasses", "colour"), [(0.0, (26, 152, 80)), (0.9, (215, 48, 39))])
def test_a_face_is_marked_by_what_the_policy_says(sunglasses: float, colour: tuple[int, int, int]) -> None:
    detection = Detection(faces=(face(sunglasses=sunglasses, landmarks=POINTS),))
    page = np.asarray(annotate(picture((400, 300)), detection, judge(detection, Rules())))

    assert tuple(page[60, 200]) == colour  # the box's upper edge
    assert tuple(page[120, 160]) == (255, 255, 0)  # an eye


@pytest.mark.parametrize("told", [*map(reason, ReasonCode), covered(("eyes", "nose", "mouth")), rotated(90)], ids=str)
def test_no_sentence_is_cut_off_by_the_edge(told: Reason) -> None:
    checks = judge(Detection(faces=(face(),)), Rules()).checks
    judgement = Judgement(checks, (reason(ReasonCode.NO_FACE), told))
    page = np.asarray(annotate(None, Detection(), judgement))

    assert (page[:, -8:] == 255).all()
    assert (page[-8:, 330:] == 255).all()


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_turned_photo_is_drawn_as_it_was_judged(turned: int) -> None:
    detection = Detection(faces=(face(landmarks=POINTS, turned=turned),))
    stored = picture((400, 300)).rotate(turned, expand=True)  # counter-clockwise
    page = annotate(stored, detection, judge(detection, Rules()))

    assert is_red_at_top_left(page.crop((0, 0, 400, 300)))
    assert page.getpixel((160, 120)) == (255, 255, 0)  # an eye


@pytest.mark.parametrize("detection", [Detection(), Detection(unusable=ReasonCode.UNREADABLE_PHOTO)])
def test_a_photo_without_a_face_has_a_page_too(detection: Detection) -> None:
    judgement = judge(detection, Rules())

    assert annotate(None, detection, judgement).width > 320
    assert not as_json(detection, judgement)["usable"]


def test_the_json_names_every_check() -> None:
    detection = Detection(faces=(face(sunglasses=0.9),))
    found = as_json(detection, judge(detection, Rules()))

    assert [check["name"] for check in found["checks"] if not check["passed"]] == ["sunglasses"]
    assert found["faces"][0]["sunglasses"] == 0.9
    assert [reason["code"] for reason in found["reasons"]] == ["sunglasses"]
