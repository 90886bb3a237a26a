"""The values: identity, validation, JSON."""

from __future__ import annotations

import pytest

from selfiegate.errors import WrongInput
from selfiegate.face import Box, Face
from selfiegate.model import PhotoRef, Verdict
from selfiegate.report import markdown
from selfiegate.user_ids import user_id_of
from tests.contract.records import verdict


def test_photo_ids_tell_all_parts_apart() -> None:
    parts = [("a", "bc", "d"), ("ab", "c", "d"), ("a", "b", "cd"), ("a", "bc", "e")]

    assert len({PhotoRef(bucket=b, key=k, version=v).id for b, k, v in parts}) == 4


def test_names_for_the_ui_are_short_and_printable() -> None:
    photo = PhotoRef(bucket="b", key="x" * 2000 + "\n\u202egpj.exe", version="1")

    assert len(photo.name) == 60
    assert photo.name.isprintable()


@pytest.mark.parametrize("user_id", ["ann", "a b", "a/b", "Ünïcødé", "用户", "x" * 255, "..", "\U0001f600"])
def test_any_printable_name_is_a_user_id(user_id: str) -> None:
    assert user_id_of(user_id) == user_id


@pytest.mark.parametrize(
    ("user_id", "words"),
    [
        ("", "0 characters"),
        ("x" * 300, "300 characters"),
        ("a\nb", "control"),
        ("a\u202eb", "control"),
        ("a\udc80", "invisible"),
    ],
)
def test_a_wrong_user_id_is_named(user_id: str, words: str) -> None:
    with pytest.raises(WrongInput, match=words):
        user_id_of(user_id)


def test_landmarks_do_not_leave_the_process() -> None:
    face = Face(box=Box(left=0, top=0, width=1, height=1), confidence=1, landmarks=((0.123, 0.456),) * 5)

    assert "landmarks" not in face.model_dump_json()
    assert "0.123" not in repr(face)


def test_a_face_that_an_earlier_version_wrote_down_was_not_turned() -> None:
    written = Face(box=Box(left=0, top=0, width=1, height=1), confidence=0.9, turned=90).model_dump(exclude={"turned"})

    assert Face.model_validate(written).turned == 0


def test_a_box_knows_how_much_of_it_is_cut_off() -> None:
    assert Box(left=0.25, top=0.25, width=0.5, height=0.5).margin == 0.5
    assert Box(left=-0.1, top=0.2, width=0.4, height=0.4).margin == pytest.approx(-0.25)


def test_names_from_strangers_cannot_format_the_page() -> None:
    photo = PhotoRef(bucket="b", key="`![x](http://evil)\n\n<script>\n===", version="1")
    lines = markdown(verdict().model_copy(update={"photo": photo, "user_id": "a`b"})).splitlines()

    assert lines[2] == "Photo `s3://b/'![x](http://evil)��<script>�===` of user `a'b`"


def test_a_reason_of_a_newer_version_is_read_shown_and_written_back() -> None:
    """As the version before this one reads `unclear_match`."""
    stored = verdict().model_dump(mode="json") | {"reasons": [{"code": "of_tomorrow", "message": "Take another."}]}
    read = Verdict.from_store(stored)

    assert read.reasons[0].code == "of_tomorrow"
    assert "- `of_tomorrow` Take another." in markdown(read)
    assert read.model_dump(mode="json")["reasons"] == stored["reasons"]
