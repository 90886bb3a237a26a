"""The enrolment protocol, one interleaving at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.enrolment import profiles, protocol, verdicts
from selfiegate.enrolment.search import SearchResult, search_gallery
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import ClaimLost, PhotoInProgress
from selfiegate.model import Claim, Match
from selfiegate.runtime import MemoryRuntime, Runtime
from tests.present import present


def refused(rt: Runtime, claim: Claim) -> Claim:
    return verdicts.refuse(rt, claim, (), (), SearchResult())


def claimed(rt: MemoryRuntime, user_id: str, person: str = "ann", number: int = 0) -> Claim:
    photo = rt.photos.add(
        f"{user_id}-{person}-{number}.png", scripted_photo(person, size=(320 + number, 240 + len(user_id)))
    )
    return protocol.claim_photo(rt, photo, user_id, f"run of {user_id}")


def confirmed(rt: Runtime, claim: Claim) -> Match | None:
    lost = protocol.confirm_enrolment(rt, claim, protocol.enrol_face(rt, claim), None)
    return lost.match if lost else None


class Interleaved:
    """A face backend in which something else happens after each of its first calls of a method."""

    def __init__(self, faces: Any, *events: Callable[[], object], method: str = "rivals") -> None:
        self._faces, self._events, self._method = faces, list(events), method

    def __getattr__(self, name: str) -> Any:
        return self._interleaved if name == self._method else getattr(self._faces, name)

    def _interleaved(self, *args: Any, **more: Any) -> Any:
        found = getattr(self._faces, self._method)(*args, **more)
        if self._events:
            self._events.pop(0)()
        return found


def test_a_face_that_nobody_else_has_is_won(rt: MemoryRuntime) -> None:
    claim = claimed(rt, "user_a")

    assert confirmed(rt, claim) is None
    assert present(rt.ledger.get(claim.photo, "user_a")).status == "accepting"


def test_an_older_claim_wins_though_it_confirms_later(rt: MemoryRuntime) -> None:
    older, younger = claimed(rt, "user_a"), claimed(rt, "user_b")
    protocol.enrol_face(rt, older)

    assert present(confirmed(rt, younger)).user_id == "user_a"
    assert confirmed(rt, older) is None


def test_an_older_claim_that_enrols_after_the_younger_was_accepted_loses(rt: MemoryRuntime) -> None:
    older, younger = claimed(rt, "user_a"), claimed(rt, "user_b")

    assert confirmed(rt, younger) is None
    assert present(confirmed(rt, older)).user_id == "user_b"


def test_a_younger_claim_that_looked_too_early_is_contested_and_loses(rt: MemoryRuntime) -> None:
    older, younger = claimed(rt, "user_a"), claimed(rt, "user_b")
    # The older one enrols and confirms between the younger one's search and its accept.
    racing = replace(rt, faces=Interleaved(rt.faces, lambda: confirmed(rt, older)))

    assert present(confirmed(racing, younger)).user_id == "user_a"
    assert present(rt.ledger.get(older.photo, "user_a")).status == "accepting"


def test_a_face_that_is_just_being_withdrawn_does_not_count(rt: MemoryRuntime) -> None:
    winner, loser = claimed(rt, "user_a"), claimed(rt, "user_b")
    protocol.enrol_face(rt, loser)

    def withdraw() -> None:
        protocol.withdraw(rt, loser)
        refused(rt, loser)

    # Its face was still seen, but its row is read when it is decided already.
    racing = replace(rt, faces=Interleaved(rt.faces, withdraw))

    assert confirmed(racing, winner) is None


def test_a_face_that_no_row_explains_is_held_in_the_end(rt: MemoryRuntime) -> None:
    claim, other = claimed(rt, "user_a"), claimed(rt, "user_b")
    protocol.enrol_face(rt, other)
    refused(rt, other)  # rejected, and yet its face stays

    assert present(confirmed(rt, claim)).user_id == "user_b"


def test_a_removed_face_that_searches_still_show_does_not_count(rt: MemoryRuntime) -> None:
    class Lagging(Interleaved):
        def rivals(self, face_id: str, user_id: str, unclear: bool = False) -> Any:
            return [Match(face_id="removed long ago", user_id="user_b", score=0.9)]

    loser = claimed(rt, "user_b")
    refused(rt, loser)

    assert confirmed(replace(rt, faces=Lagging(rt.faces)), claimed(rt, "user_a")) is None


def test_the_noted_face_is_withdrawn_though_the_photo_is_gone(rt: MemoryRuntime) -> None:
    claim = claimed(rt, "user_a")
    protocol.enrol_face(rt, claim)
    rt.photos.add("user_a.png", b"overwritten")
    protocol.withdraw(rt, claim)

    assert rt.faces.stats().faces == 0


def test_a_face_of_an_older_system_is_held(rt: MemoryRuntime) -> None:
    photo = rt.photos.add("old.png", scripted_photo("ann", size=(400, 300)))
    rt.faces.enrol(photo, "somebody of before")
    claim = claimed(rt, "user_a")

    assert search_gallery(rt, claim, None).reasons[0].code == "face_already_enrolled"
    assert present(confirmed(rt, claim)).user_id == "somebody of before"


def test_a_pending_claim_of_another_user_is_no_reason_to_refuse_early(rt: MemoryRuntime) -> None:
    protocol.enrol_face(rt, claimed(rt, "user_a"))

    assert search_gallery(rt, claimed(rt, "user_b"), None).reasons == ()


def test_a_photo_that_another_run_holds_is_in_progress(rt: MemoryRuntime) -> None:
    claim = claimed(rt, "user_a")

    with pytest.raises(PhotoInProgress):
        protocol.claim_photo(rt, claim.photo, "user_a", "another run")


@pytest.mark.parametrize("step", [confirmed, protocol.withdraw, refused])
def test_a_run_that_lost_its_claim_stops(rt: MemoryRuntime, step: Callable[[Runtime, Claim], object]) -> None:
    claim = claimed(rt, "user_a")
    rt.ledger.renew(claim, -1)
    protocol.claim_photo(rt, claim.photo, "user_a", "another run")

    with pytest.raises(ClaimLost):
        step(rt, claim)


def test_withdrawing_leaves_a_saved_profile_alone(rt: MemoryRuntime) -> None:
    claim = claimed(rt, "user_a")
    face_id = protocol.enrol_face(rt, claim)
    protocol.confirm_enrolment(rt, claim, face_id, None)
    profiles.save_profile(rt, claim, face_id, {})
    protocol.withdraw(rt, claim)

    assert rt.faces.stats().faces == 1


def test_a_newer_photo_that_is_replaced_while_it_saves_is_not_lost(rt: MemoryRuntime) -> None:
    first = claimed(rt, "user_a")
    second = protocol.claim_photo(rt, rt.photos.add("b.png", scripted_photo("ann~")), "user_a", "run 2")
    for claim in (second, first):
        face_id = protocol.enrol_face(rt, claim)
        assert protocol.confirm_enrolment(rt, claim, face_id, None) is None
        if profiles.save_profile(rt, claim, face_id, {}):
            profiles.remove_older_photo(rt, claim, face_id)

    assert present(rt.profiles.get("user_a")).photo == second.photo
    assert rt.faces.stats().faces == 1


def test_another_older_claim_of_a_rival_user_does_not_decide_for_its_face(rt: MemoryRuntime) -> None:
    claimed(rt, "user_v", "somebody else")  # stuck, older than all, and of another face
    ours = claimed(rt, "user_u")
    photo = rt.photos.add("v2.png", scripted_photo("ann", size=(330, 250)))
    theirs = protocol.claim_photo(rt, photo, "user_v", "run 2")
    protocol.enrol_face(rt, theirs)

    assert confirmed(rt, ours) is None
    assert present(confirmed(rt, theirs)).user_id == "user_u"


def test_it_is_enough_if_one_of_two_rivals_sees_the_other(rt: MemoryRuntime) -> None:
    class Blind:
        """Finds no rivals: an approximate search may miss what the other side finds."""

        def __getattr__(self, name: str) -> Any:
            return getattr(rt.faces, name)

        def rivals(self, face_id: str, user_id: str, unclear: bool = False) -> list[Match]:
            # The older one confirms between the younger one's search and its accept.
            assert confirmed(rt, older) is None
            return []

    older, younger = claimed(rt, "user_a"), claimed(rt, "user_b")

    assert present(confirmed(replace(rt, faces=Blind()), younger)).user_id == "user_a"


def test_a_run_that_lost_its_claim_to_a_refusal_leaves_nothing(rt: MemoryRuntime) -> None:
    claim = claimed(rt, "user_a")
    rt.faces.enrol(claim.photo, "user_a")  # it slept here, while another run refused the photo
    rt.ledger.renew(claim, -1)
    refused(rt, protocol.claim_photo(rt, claim.photo, "user_a", "another run"))

    with pytest.raises(ClaimLost):
        protocol.withdraw(rt, claim)
    assert rt.faces.stats().faces == 0


def test_a_face_that_did_not_win_gets_no_profile(rt: MemoryRuntime) -> None:
    claim = claimed(rt, "user_a")
    face_id = protocol.enrol_face(rt, claim)

    with pytest.raises(ClaimLost):
        profiles.save_profile(rt, claim, face_id, {})


def test_the_users_other_photo_that_is_enrolled_during_a_search_makes_nobody_a_stranger(rt: MemoryRuntime) -> None:
    first, second = claimed(rt, "user_a"), claimed(rt, "user_a", person="ann~")
    enrolled = Interleaved(rt.faces, lambda: finish(rt, second), method="search")

    assert search_gallery(replace(rt, faces=enrolled), first, None).reasons == ()


def replacing(rt: MemoryRuntime, times: int) -> Runtime:
    """Make user_a's profile another photo's after each of the first reads of it."""
    first, *newer = [claimed(rt, "user_a", number=number) for number in range(1, times + 2)]
    finish(rt, first)
    events = [partial(finish, rt, claim) for claim in newer]
    return replace(rt, profiles=Interleaved(rt.profiles, *events, method="get"))


def test_a_profile_that_is_replaced_before_the_search_makes_nobody_a_stranger(rt: MemoryRuntime) -> None:
    claim = claimed(rt, "user_a")

    assert search_gallery(replacing(rt, 1), claim, None).reasons == ()


def test_a_profile_that_is_replaced_again_and_again_ends_the_search(rt: MemoryRuntime) -> None:
    claim = claimed(rt, "user_a")

    with pytest.raises(PhotoInProgress, match="other photos of user_a"):
        search_gallery(replacing(rt, 8), claim, None)
