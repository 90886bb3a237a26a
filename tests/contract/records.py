"""What every ledger and every profile store promises."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Protocol

import pytest

from selfiegate.clock import now_us
from selfiegate.errors import ClaimLost, UnreadableRow
from selfiegate.known_gallery import GalleryMark
from selfiegate.model import Claim, Contest, LateLoss, PhotoRef, Profile, Verdict
from selfiegate.paging import Page
from selfiegate.records import Erasure, Erasures, Ledger, Profiles, Records
from selfiegate.rows import refuse
from tests.present import present

PHOTO = PhotoRef(bucket="bucket", key="ann/selfie \U0001f600.jpg", version="1")


CONTEST = Contest(user_id="bob", photo=PHOTO, score=0.9)
LOSS = LateLoss(user_id="bob", winner_face_id="bob's", score=0.9, face_id="face", attempt=1)


def verdict(status: str = "accepted", face_id: str | None = "face") -> Verdict:
    return Verdict(status=status, user_id="ann", photo=PHOTO, face_id=face_id, model="m", policy="p")


FAR = 2**62


class LedgerContract:
    expires_by_itself = False

    @pytest.fixture
    def claim(self, ledger: Ledger) -> Claim:
        return ledger.claim(PHOTO, "ann", "run-1", lease_s=60)

    def test_a_new_claim_is_pending_and_ours(self, claim: Claim) -> None:
        assert (claim.status, claim.owner, claim.attempt, claim.contests) == ("pending", "run-1", 1, ())

    def test_the_same_run_may_claim_again_and_keeps_its_seniority(self, ledger: Ledger, claim: Claim) -> None:
        again = ledger.claim(PHOTO, "ann", "run-1", lease_s=60)

        assert (again.attempt, again.claimed_at) == (2, claim.claimed_at)

    def test_another_run_does_not_get_a_claim_that_is_held(self, ledger: Ledger, claim: Claim) -> None:
        assert ledger.claim(PHOTO, "ann", "run-2", lease_s=60) == claim

    def test_another_run_takes_over_when_the_lease_ran_out(self, ledger: Ledger, claim: Claim) -> None:
        ledger.renew(claim, -1)
        taken = ledger.claim(PHOTO, "ann", "run-2", lease_s=60)

        assert (taken.owner, taken.attempt, taken.claimed_at) == ("run-2", 2, claim.claimed_at)

    def test_a_lease_that_was_lost_cannot_be_renewed(self, ledger: Ledger, claim: Claim) -> None:
        ledger.renew(claim, -1)
        ledger.claim(PHOTO, "ann", "run-2", lease_s=60)

        assert not ledger.renew(claim, 60)

    def test_one_photo_of_two_users_makes_two_rows(self, ledger: Ledger, claim: Claim) -> None:
        assert ledger.claim(PHOTO, "bob", "run-2", lease_s=60).owner == "run-2"
        assert [row.user_id for row in ledger.claims_of("ann")] == ["ann"]

    def test_of_many_runs_at_once_exactly_one_gets_the_claim(self, ledger: Ledger) -> None:
        owners: list[str] = []

        def race(owner: str) -> None:
            owners.append(ledger.claim(PHOTO, "ann", owner, lease_s=60).owner)

        threads = [threading.Thread(target=race, args=(f"run-{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(owners) == 8
        assert len(set(owners)) == 1

    def test_accepting_wins_once(self, ledger: Ledger, claim: Claim) -> None:
        assert ledger.accept(claim)
        assert not ledger.accept(claim)
        assert present(ledger.get(PHOTO, "ann")).status == "accepting"

    def test_the_face_of_a_claim_is_noted_before_and_after_it_is_enrolled(self, ledger: Ledger, claim: Claim) -> None:
        assert claim.face_id == present(ledger.get(PHOTO, "ann")).face_id == ""
        assert ledger.note_face(claim, None)
        assert present(ledger.get(PHOTO, "ann")).face_id is None
        assert ledger.note_face(claim, "face")
        assert present(ledger.get(PHOTO, "ann")).face_id == "face"

    def test_a_contested_claim_is_not_accepted_until_it_is_read_again(self, ledger: Ledger, claim: Claim) -> None:
        assert ledger.contest(claim, CONTEST)
        assert not ledger.accept(claim)
        assert ledger.accept(present(ledger.get(PHOTO, "ann")))

    def test_contests_name_the_contesters_once_each(self, ledger: Ledger, claim: Claim) -> None:
        other = CONTEST.model_copy(update={"user_id": "cid"})
        for contest in (CONTEST, other, CONTEST):
            assert ledger.contest(claim, contest)

        assert present(ledger.get(PHOTO, "ann")).contests == (CONTEST, other)

    def test_what_is_accepting_cannot_be_contested(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)

        assert not ledger.contest(claim, CONTEST)

    def test_a_released_claim_is_pending_and_names_no_face(self, ledger: Ledger, claim: Claim) -> None:
        ledger.note_face(claim, "face")
        ledger.accept(claim)

        assert ledger.release(claim)
        row = present(ledger.get(PHOTO, "ann"))
        assert (row.status, row.face_id) == ("pending", None)

    def test_a_run_that_lost_its_claim_changes_nothing(self, ledger: Ledger, claim: Claim) -> None:
        ledger.renew(claim, -1)
        ledger.claim(PHOTO, "ann", "run-2", lease_s=60)

        assert not ledger.note_face(claim, "face")
        assert not ledger.accept(claim)
        assert not ledger.release(claim)
        with pytest.raises(ClaimLost):
            ledger.decide(claim, verdict("rejected", None))

    def test_an_earlier_attempt_of_the_same_run_changes_nothing(self, ledger: Ledger, claim: Claim) -> None:
        ledger.claim(PHOTO, "ann", "run-1", lease_s=60)

        assert not ledger.accept(claim)
        assert not ledger.release(claim)
        assert not ledger.renew(claim, 60)

    def test_nothing_is_accepted_that_did_not_win(self, ledger: Ledger, claim: Claim) -> None:
        with pytest.raises(ClaimLost):
            ledger.decide(claim, verdict())

    def test_a_verdict_is_final_and_may_be_stored_twice(self, ledger: Ledger, claim: Claim) -> None:
        ledger.decide(claim, verdict("rejected", None))
        ledger.decide(claim, verdict("rejected", None))

        with pytest.raises(ClaimLost):
            ledger.decide(claim, verdict("accepted"))
        assert present(ledger.get(PHOTO, "ann")).verdict == verdict("rejected", None)

    def test_a_decided_photo_comes_back_with_its_verdict(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)
        ledger.decide(claim, verdict())

        assert ledger.claim(PHOTO, "ann", "run-2", lease_s=60).verdict == verdict()

    def test_a_notice_is_taken_once_and_may_be_given_back(self, ledger: Ledger, claim: Claim) -> None:
        ledger.decide(claim, verdict("rejected", None))

        token = ledger.begin_notice(claim, 60)
        assert token
        assert ledger.begin_notice(claim, 60) is None
        ledger.end_notice(claim, token, sent=False)
        again = ledger.begin_notice(claim, 60)
        assert again
        ledger.end_notice(claim, again, sent=True)
        assert ledger.begin_notice(claim, 60) is None
        assert present(ledger.get(PHOTO, "ann")).notice == "sent"

    def test_the_ways_that_told_are_noted_until_a_later_upload(self, ledger: Ledger, claim: Claim) -> None:
        row = ledger.decide(claim, verdict("rejected", None))
        ledger.end_notice(claim, present(ledger.begin_notice(claim, 60)), sent=False, told=("sns",))
        told = present(ledger.get(PHOTO, "ann")).told
        stale = present(ledger.begin_notice(claim, -1))
        taken = present(ledger.begin_notice(claim, 60))
        ledger.end_notice(claim, taken, sent=False)
        ledger.end_notice(claim, stale, sent=False, told=("sns", "ses"))
        ledger.end_notice(claim, present(ledger.begin_notice(claim, 60)), sent=False)
        held = present(ledger.get(PHOTO, "ann"))
        ledger.reopen(held, "0000000000000009.0A", notify=True)

        assert (row.told, told, held.told) == ((), ("sns",), ("sns",))
        assert present(ledger.get(PHOTO, "ann")).told == ()

    def test_a_notice_whose_sender_died_is_taken_by_another(self, ledger: Ledger, claim: Claim) -> None:
        ledger.decide(claim, verdict("rejected", None))
        late = ledger.begin_notice(claim, -1)
        taken = ledger.begin_notice(claim, 60)
        assert late
        assert taken

        ledger.end_notice(claim, late, sent=False)
        assert present(ledger.get(PHOTO, "ann")).notice == "sending"
        ledger.end_notice(claim, taken, sent=True)
        assert present(ledger.get(PHOTO, "ann")).notice == "sent"

    def test_a_silent_row_stays_silent_whoever_finishes_it_in_silence(self, ledger: Ledger) -> None:
        ledger.claim(PHOTO, "ann", "a silent backfill", lease_s=-1, notify=False)
        claim = ledger.claim(PHOTO, "ann", "reconcile", lease_s=60, notify=False)
        row = ledger.decide(claim, verdict("rejected", None))

        assert (claim.owner, row.notice) == ("reconcile", "off")
        assert list(ledger.unfinished(before=FAR)) == []
        assert ledger.begin_notice(claim, 60) is None

    @pytest.mark.parametrize("silent_first", [True, False])
    def test_a_row_is_told_of_where_anybody_claimed_it_to_tell(self, ledger: Ledger, silent_first: bool) -> None:
        ledger.claim(PHOTO, "ann", "one", lease_s=-1, notify=not silent_first)
        claim = ledger.claim(PHOTO, "ann", "other", lease_s=60, notify=silent_first)
        row = ledger.decide(claim, verdict("rejected", None))

        assert (claim.owner, row.notice) == ("other", "none")
        assert [row.user_id for row in ledger.unfinished(before=FAR)] == ["ann"]
        assert ledger.begin_notice(row, 60)

    def test_who_asks_to_tell_is_heard_while_another_holds_the_row(self, ledger: Ledger) -> None:
        silent = ledger.claim(PHOTO, "ann", "a silent backfill", lease_s=60, notify=False)
        upload = ledger.claim(PHOTO, "ann", "an upload", lease_s=60)
        row = ledger.decide(silent, verdict("rejected", None))

        assert (upload.owner, row.notice) == ("a silent backfill", "none")
        assert [row.user_id for row in ledger.unfinished(before=FAR)] == ["ann"]

    def test_a_decided_silent_row_stays_silent(self, ledger: Ledger) -> None:
        silent = ledger.claim(PHOTO, "ann", "a silent backfill", lease_s=60, notify=False)
        ledger.decide(silent, verdict("rejected", None))

        assert ledger.claim(PHOTO, "ann", "an upload", lease_s=60).notice == "off"
        assert list(ledger.unfinished(before=FAR)) == []

    def test_a_batch_is_stored_whole(self, ledger: Ledger, claim: Claim) -> None:
        with ledger.batch():
            other = ledger.claim(PHOTO, "bob", "run-2", lease_s=60)
            ledger.accept(claim)
            assert ledger.get(PHOTO, "bob") == other

        assert present(ledger.get(PHOTO, "ann")).status == "accepting"
        assert ledger.get(PHOTO, "bob") == other

    def test_rows_with_work_left_are_found_when_their_lease_ran_out(self, ledger: Ledger, claim: Claim) -> None:
        assert list(ledger.unfinished(before=claim.lease_until)) == []
        assert [row.user_id for row in ledger.unfinished(before=claim.lease_until + 1)] == ["ann"]

    def test_of_many_rows_with_work_left_those_come_whose_leases_ended_first(self, ledger: Ledger) -> None:
        for n, user_id in enumerate(("late", "middle", "early")):
            ledger.renew(ledger.claim(PHOTO, user_id, "run", lease_s=60), -100 * (n + 1))

        assert [row.user_id for row in ledger.unfinished(FAR, limit=2)] == ["early", "middle"]
        assert [row.user_id for row in ledger.unfinished(FAR, limit=2, newest_first=True)] == ["late", "middle"]

    def test_rows_that_are_left_alone_for_longer_hold_nobodys_place(self, ledger: Ledger) -> None:
        for n in range(30):  # more than a page: the place of those that may be run
            for _ in range(1 + n % 3):
                ledger.claim(PHOTO, f"often {n}", "run", lease_s=-200)
        ledger.claim(PHOTO, "fresh", "run", lease_s=-100)
        waits = [int(1000e6), int(1000e6), int(50e6)]  # of the first, the second, and all later attempts

        assert {row.attempt for row in ledger.unfinished(now_us(), limit=5, waits=waits)} == {3}
        for waits in ([int(150e6), int(1000e6)], [int(50e6), int(1000e6)]):
            found = ledger.unfinished(now_us(), limit=50, waits=waits)
            assert {row.attempt for row in found} == {1}
            assert ("fresh" in {row.user_id for row in found}) is (waits[0] < 100e6)

    def test_all_rows_without_a_verdict_are_listed_page_by_page(self, ledger: Ledger) -> None:
        for n in range(7):
            ledger.claim(PHOTO, f"user {n}", "run", lease_s=60 - 20 * n)
        ledger.decide(ledger.claim(PHOTO, "refused", "run", lease_s=60), verdict("rejected", None))
        page, listed = ledger.undecided(limit=3), list[tuple[str, str]]()
        while page.items or page.next:
            assert len(page.items) <= 3
            listed += page.items
            page = ledger.undecided(after=page.next, limit=3) if page.next else Page((), "")

        assert sorted(listed) == [(f"user {n}", PHOTO.id) for n in range(7)]

    def test_where_an_audit_stopped_is_kept(self, ledger: Ledger) -> None:
        assert ledger.audit_bookmark() == ""
        for text in ("here", "there \U0001f600", ""):
            ledger.keep_audit_bookmark(text)
            assert ledger.audit_bookmark() == text

    def test_a_refusal_is_unfinished_until_its_user_was_told(self, ledger: Ledger, claim: Claim) -> None:
        ledger.decide(claim, verdict("rejected", None))
        assert [row.status for row in ledger.unfinished(before=FAR)] == ["rejected"]

        token = ledger.begin_notice(claim, 60)
        assert [row.notice for row in ledger.unfinished(before=FAR)] == ["sending"]

        ledger.end_notice(claim, present(token), sent=True)
        assert list(ledger.unfinished(before=FAR)) == []

    def test_an_accepted_row_is_finished(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)
        assert [row.status for row in ledger.unfinished(before=FAR)] == ["accepting"]

        ledger.decide(claim, verdict())
        assert list(ledger.unfinished(before=FAR)) == []

    def test_an_accepted_row_may_be_opened_again(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)
        ledger.decide(claim, verdict())

        assert ledger.reopen(claim)
        row = present(ledger.get(PHOTO, "ann"))
        assert (row.status, row.verdict, row.face_id, row.claimed_at) == (
            "pending",
            None,
            None,
            claim.claimed_at,
        )
        assert ledger.claim(PHOTO, "ann", "run-2", lease_s=60).owner == "run-2"
        assert [row.user_id for row in ledger.unfinished(before=FAR)] == ["ann"]

    def test_only_an_accepted_row_may_be_opened_again(self, ledger: Ledger, claim: Claim) -> None:
        assert not ledger.reopen(claim)
        ledger.decide(claim, verdict("rejected", None))

        assert not ledger.reopen(claim)

    def test_an_accepted_row_is_looked_at_when_its_time_has_come(self, ledger: Ledger) -> None:
        for user_id, look_at in (("late", 300), ("never", 0), ("early", 100)):
            claim = ledger.claim(PHOTO, user_id, "run", lease_s=60)
            ledger.accept(claim)
            row = ledger.decide(claim, verdict(), look_at)
            assert (row.look_at, row.looks, row.lease_until) == (look_at, 0, claim.lease_until)

        assert [row.user_id for row in ledger.to_look_at(100, 10)] == []
        assert [row.user_id for row in ledger.to_look_at(101, 10)] == ["early"]
        assert [row.user_id for row in ledger.to_look_at(301, 10)] == ["early", "late"]
        assert [row.user_id for row in ledger.to_look_at(301, 1)] == ["early"]
        assert list(ledger.unfinished(before=FAR)) == []
        assert ledger.undecided().items == []

    def test_a_look_is_put_off_or_done_once(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)
        row = ledger.decide(claim, verdict(), 100)
        assert ledger.look_later(row, 200)
        assert not ledger.look_later(row, 300), "it was put off since"

        row = present(ledger.get(PHOTO, "ann"))
        assert (row.look_at, row.looks, row.lease_until) == (200, 1, claim.lease_until)
        assert [row.user_id for row in ledger.to_look_at(201, 10)] == ["ann"]
        assert ledger.look_later(row, 0)
        row = present(ledger.get(PHOTO, "ann"))
        assert (row.status, row.look_at, row.looks) == ("accepted", 0, 2)
        assert list(ledger.to_look_at(FAR, 10)) == []
        assert ledger.look_later(row, 400), "another look may find that it loses"
        assert [row.user_id for row in ledger.to_look_at(FAR, 10)] == ["ann"]

    def test_the_lease_of_an_accepted_row_is_not_renewed(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)
        row = ledger.decide(claim, verdict(), 5 * 10**15)

        assert not ledger.renew(claim, -1000)
        assert list(ledger.to_look_at(5 * 10**15, 10)) == [], "its time has not come"
        assert list(ledger.to_look_at(5 * 10**15 + 1, 10)) == [row]

    @pytest.mark.parametrize("silent", [False, True])
    def test_an_accepted_row_may_lose_its_face_once(self, ledger: Ledger, silent: bool) -> None:
        claim = ledger.claim(PHOTO, "ann", "run", lease_s=60, notify=not silent)
        ledger.note_face(claim, "face")
        ledger.accept(claim)
        row = ledger.decide(claim, verdict())
        assert not ledger.lose(row, verdict("rejected", None)), "it loses nothing"
        assert ledger.look_later(row, 100, LOSS)
        row = present(ledger.get(PHOTO, "ann"))
        assert (row.status, row.late_loss, row.loses_late, row.face_id) == ("accepted", LOSS, True, "face")
        assert [row.user_id for row in ledger.to_look_at(101, 10)] == ["ann"]

        assert ledger.lose(row, verdict("rejected", None))
        assert not ledger.lose(row, verdict("rejected", None))
        lost = present(ledger.get(PHOTO, "ann"))
        assert (lost.status, lost.verdict, lost.face_id) == ("rejected", verdict("rejected", None), None)
        assert (lost.look_at, lost.loses_late, lost.notice) == (0, False, "off" if silent else "none")
        assert list(ledger.to_look_at(FAR, 10)) == []
        assert [row.user_id for row in ledger.unfinished(before=FAR)] == ([] if silent else ["ann"])
        assert not ledger.look_later(lost, 100)

    def test_a_row_that_loses_its_face_to_a_doubtful_match_waits_for_a_person(self, ledger: Ledger) -> None:
        claim = ledger.claim(PHOTO, "ann", "run", lease_s=60, notify=False)
        ledger.accept(claim)
        ledger.look_later(ledger.decide(claim, verdict()), 100, LOSS)

        assert ledger.lose(present(ledger.get(PHOTO, "ann")), verdict("needs_review", None))
        assert ledger.to_review() == 1

    def test_a_row_that_lost_its_face_late_stays_until_its_user_is_told(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)
        ledger.look_later(ledger.decide(claim, verdict()), 100, LOSS)
        ledger.lose(present(ledger.get(PHOTO, "ann")), verdict("rejected", None))
        lost = present(ledger.get(PHOTO, "ann"))

        assert ledger.expire(FAR) == 0
        ledger.end_notice(lost, present(ledger.begin_notice(lost, 60)), sent=True)
        assert ledger.expire(FAR) == (0 if self.expires_by_itself else 1)

    def test_a_note_of_another_attempt_costs_nothing(self, ledger: Ledger, claim: Claim) -> None:
        """As a version before leaves it that opened the row again, and knows nothing of late losses."""
        ledger.accept(claim)
        ledger.look_later(ledger.decide(claim, verdict()), 100, LOSS.model_copy(update={"attempt": 0}))
        row = present(ledger.get(PHOTO, "ann"))

        assert (row.status, row.loses_late) == ("accepted", False)
        assert not ledger.lose(row, verdict("rejected", None))

    @pytest.mark.parametrize("since", [None, LOSS.model_copy(update={"user_id": "cid"})])
    def test_a_note_that_changed_since_it_was_read_costs_nothing(
        self, ledger: Ledger, claim: Claim, since: LateLoss | None
    ) -> None:
        ledger.accept(claim)
        ledger.look_later(ledger.decide(claim, verdict(), 100), 100, LOSS)
        stale = present(ledger.get(PHOTO, "ann"))
        assert ledger.look_later(stale, 200, since)

        assert not ledger.lose(stale, verdict("rejected", None))

    def test_an_accepted_row_tells_the_lease_of_its_last_run(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)
        assert ledger.reopen(ledger.decide(claim, verdict(), 100))
        again = ledger.claim(PHOTO, "ann", "run-2", lease_s=6000)
        ledger.accept(again)

        assert ledger.decide(again, verdict()).lease_until == again.lease_until
        assert present(ledger.get(PHOTO, "ann")).lease_until == again.lease_until

    def test_a_row_that_was_opened_again_has_lost_nothing(self, ledger: Ledger, claim: Claim) -> None:
        ledger.accept(claim)
        row = ledger.decide(claim, verdict(), 100)
        ledger.look_later(row, 100, LOSS)
        assert ledger.reopen(row)

        assert not ledger.lose(present(ledger.get(PHOTO, "ann")), verdict("rejected", None))
        assert not ledger.look_later(present(ledger.get(PHOTO, "ann")), 100)
        assert list(ledger.to_look_at(FAR, 10)) == []
        again = ledger.claim(PHOTO, "ann", "run-2", lease_s=60)
        ledger.accept(again)
        row = ledger.decide(again, verdict())
        assert (row.loses_late, row.late_loss, row.look_at) == (False, None, 0)
        assert not ledger.lose(row, verdict("rejected", None))

    def test_the_order_of_upload_is_kept(self, ledger: Ledger, claim: Claim) -> None:
        other = ledger.claim(PHOTO, "bob", "run", lease_s=0, upload_order="0000000000000001.0A")
        again = ledger.claim(PHOTO, "bob", "run", lease_s=0, upload_order="0000000000000002.0B")

        assert other.upload_rank == again.upload_rank == "0000000000000001.0A" < claim.upload_rank

    def test_a_row_may_stand_for_a_later_upload(self, ledger: Ledger, claim: Claim) -> None:
        assert ledger.note_upload(claim, "0000000000000002.0B")
        ledger.decide(claim, verdict("rejected", None))
        assert ledger.note_upload(claim, "0000000000000003.0C")
        assert not ledger.note_upload(claim.model_copy(update={"attempt": 2}), "0000000000000004.0D")

        row = present(ledger.get(PHOTO, "ann"))
        assert (row.status, row.verdict, row.upload_rank) == (
            "rejected",
            verdict("rejected", None),
            "0000000000000003.0C",
        )

    @pytest.mark.parametrize("status", ["accepted", "rejected", "needs_review"])
    @pytest.mark.parametrize("notify", [True, False])
    def test_a_later_upload_opens_a_decided_row_anew(
        self, ledger: Ledger, claim: Claim, status: str, notify: bool
    ) -> None:
        ledger.contest(claim, CONTEST)
        claim = present(ledger.get(PHOTO, "ann"))
        if status == "accepted":
            ledger.note_face(claim, "face")
            ledger.accept(claim)
        ledger.decide(claim, verdict(status, "face" if status == "accepted" else None))
        if status != "accepted":
            ledger.end_notice(claim, present(ledger.begin_notice(claim, 60)), sent=True)
        decided = present(ledger.get(PHOTO, "ann"))

        assert ledger.reopen(decided, "0000000000000009.0A", notify)
        row = present(ledger.get(PHOTO, "ann"))
        no_face = None if status == "accepted" else ""  # an accepted photo's face may be there still
        assert (row.status, row.verdict, row.face_id, row.contests) == ("pending", None, no_face, ())
        assert (row.upload_rank, row.uploads, row.notice) == ("0000000000000009.0A", 2, "none" if notify else "off")
        assert row.claimed_at > claim.claimed_at
        assert row.attempt > decided.attempt
        assert [found.user_id for found in ledger.unfinished(before=FAR)] == ["ann"]
        assert not ledger.reopen(decided, "0000000000000009.0A")
        taken = ledger.claim(PHOTO, "ann", "run-2", lease_s=60, notify=False)
        assert (taken.owner, taken.claimed_at) == ("run-2", row.claimed_at)

    def test_an_undecided_row_is_not_opened_anew(self, ledger: Ledger, claim: Claim) -> None:
        assert not ledger.reopen(claim, "0000000000000009.0A")
        ledger.accept(claim)

        assert not ledger.reopen(claim, "0000000000000009.0A")

    def test_a_removed_row_is_gone_and_its_run_is_fenced(self, ledger: Ledger, claim: Claim) -> None:
        other = ledger.claim(PHOTO, "bob", "run-2", lease_s=60)
        assert not ledger.remove(claim.model_copy(update={"attempt": 2}))
        assert ledger.remove(claim)
        assert not ledger.remove(claim)

        assert ledger.get(PHOTO, "ann") is None
        assert list(ledger.claims_of("ann")) == []
        assert not any(
            (ledger.renew(claim, 60), ledger.note_face(claim, "face"), ledger.accept(claim), ledger.release(claim))
        )
        with pytest.raises(ClaimLost):
            ledger.decide(claim, verdict("rejected", None))
        assert ledger.begin_notice(claim, 60) is None
        assert not ledger.reopen(claim)
        assert ledger.get(PHOTO, "ann") is None
        assert ledger.get(PHOTO, "bob") == other

    def test_a_photo_may_be_claimed_anew_where_its_row_was_removed(self, ledger: Ledger, claim: Claim) -> None:
        ledger.decide(claim, verdict("rejected", None))
        ledger.remove(claim)
        again = ledger.claim(PHOTO, "ann", "run-2", lease_s=60)

        assert (again.owner, again.attempt, again.status, again.verdict) == ("run-2", 1, "pending", None)

    def test_rows_that_wait_for_a_person_are_counted(self, ledger: Ledger, claim: Claim) -> None:
        row = ledger.decide(claim, verdict("needs_review", None))
        ledger.end_notice(row, present(ledger.begin_notice(row, 60)), sent=True)
        silent = ledger.claim(PHOTO, "bob", "run", lease_s=60, notify=False)
        ledger.decide(silent, verdict("needs_review", None))
        ledger.decide(ledger.claim(PHOTO, "cid", "run", lease_s=60, notify=False), verdict("rejected", None))
        assert ledger.to_review() == 2
        assert list(ledger.unfinished(before=FAR)) == []

        ledger.reopen(silent, "0000000000000009.0A")
        assert ledger.to_review() == 1
        assert [row.user_id for row in ledger.unfinished(before=FAR)] == ["bob"]

    @pytest.mark.parametrize("status", ["rejected", "needs_review"])
    def test_old_refused_rows_expire_and_others_stay(self, ledger: Ledger, claim: Claim, status: str) -> None:
        other = ledger.claim(PHOTO, "bob", "run-2", lease_s=60)
        ledger.decide(claim, verdict(status, None))

        assert ledger.expire(before=claim.claimed_at) == 0
        assert ledger.expire(before=FAR) == (0 if self.expires_by_itself else 1)
        assert (ledger.get(PHOTO, "ann") is None) is not self.expires_by_itself
        assert ledger.get(PHOTO, "bob") == other


class ProfilesContract:
    def test_a_stranger_has_no_profile(self, profiles: Profiles) -> None:
        assert profiles.get("ann") is None

    def test_a_profile_comes_back_as_it_was_stored(self, profiles: Profiles) -> None:
        assert profiles.put(profile(), replacing=None)
        assert profiles.get("ann") == profile()

    def test_a_first_profile_is_stored_once(self, profiles: Profiles) -> None:
        profiles.put(profile(), replacing=None)

        assert not profiles.put(profile(face_id="other"), replacing=None)
        assert present(profiles.get("ann")).face_id == "face"

    def test_a_write_replaces_only_the_revision_it_names(self, profiles: Profiles) -> None:
        profiles.put(profile(), replacing=None)

        assert profiles.put(profile(2, face_id="second"), replacing=profile())
        assert not profiles.put(profile(2, face_id="third"), replacing=profile())
        assert present(profiles.get("ann")).face_id == "second"

    def test_nothing_replaces_a_profile_that_is_gone(self, profiles: Profiles) -> None:
        assert not profiles.put(profile(2), replacing=profile())

    def test_all_profiles_are_listed(self, profiles: Profiles) -> None:
        stored = [profile(user_id=user_id) for user_id in ("ann", "bob", "Å")]
        for each in stored:
            profiles.put(each, replacing=None)

        assert sorted(profiles.all(), key=lambda each: each.user_id) == stored

    def test_profiles_are_listed_page_by_page(self, profiles: Profiles) -> None:
        stored = [profile(user_id=f"user {n}") for n in range(7)]
        for each in stored:
            profiles.put(each, replacing=None)
        page, listed = profiles.page(limit=3), list[Profile]()
        while page.items or page.next:
            assert len(page.items) <= 3
            listed += page.items
            page = profiles.page(after=page.next, limit=3) if page.next else Page((), "")

        assert sorted(listed, key=lambda each: each.user_id) == stored

    def test_the_profiles_of_many_users_are_read_at_once(self, profiles: Profiles) -> None:
        stored = [profile(user_id=f"user {n}") for n in range(250)]
        for each in stored:
            profiles.put(each, replacing=None)
        found = profiles.of([f"user {n}" for n in range(0, 300, 2)] + ["user 0"])

        assert {each.user_id for each in found} == {f"user {n}" for n in range(0, 250, 2)}
        assert list(profiles.of([])) == []

    def test_removing_names_a_revision_too(self, profiles: Profiles) -> None:
        profiles.put(profile(2), replacing=None)

        assert not profiles.remove(profile(1))
        assert not profiles.remove(profile(2, face_id="another"))
        assert profiles.remove(profile(2))
        assert profiles.get("ann") is None


def profile(revision: int = 1, **changes: object) -> Profile:
    values = {
        "user_id": "ann",
        "photo": PHOTO,
        "face_id": "face",
        "thumbnails": {"250x250": "somewhere"},
        "model": "m",
        "newness": "1",
        "enrolled_at": datetime(2026, 1, 1, tzinfo=UTC),
        "revision": revision,
    }
    return Profile.model_validate({**values, **changes})


class ErasuresContract:
    def test_an_erasure_is_replaced_only_by_who_read_it(self, erasures: Erasures) -> None:
        first = Erasure(user_id="ann", asked_at=1, run="run-1", photos=True, found=(("face", "f"),))
        second = first.model_copy(update={"run": "run-2", "revision": 2})

        assert erasures.get("ann") is None
        assert erasures.put(first, replacing=None)
        assert not erasures.put(second, replacing=None)
        assert erasures.get("ann") == first
        assert erasures.put(second, replacing=first)
        assert not erasures.put(second, replacing=first)
        assert erasures.get("ann") == second
        assert erasures.get("bob") is None

    def test_an_erasure_comes_back_as_far_as_it_was(self, erasures: Erasures) -> None:
        far = {"attempt": 3, "lease_until": 9, "problem": "AccessDenied", "failures": 2, "leases_end_at": 8}
        there = {"sweeps": 1, "gallery_page": "a page", "originals": ("a photo",), "kept_originals": 4}
        erasure = Erasure.model_validate(
            {"user_id": "ann", "asked_at": 1, "run": "run", "photos": True, **far, **there}
        )
        erasures.put(erasure, replacing=None)

        assert erasures.get("ann") == erasure

    def test_unfinished_erasures_are_listed(self, erasures: Erasures) -> None:
        for user_id in ("ann", "bob"):
            erasures.put(Erasure(user_id=user_id, asked_at=1, run="run", photos=False), replacing=None)
        ann = erasures.get("ann")
        done = present(ann).model_copy(update={"finished_at": 2, "revision": 2, "removed": {"face": 1}})
        assert erasures.put(done, replacing=ann)

        assert [one.user_id for one in erasures.unfinished()] == ["bob"]
        assert erasures.get("ann") == done

    def test_an_erasure_is_no_row_of_its_user(self, ledger: Ledger, erasures: Erasures, claim: Claim) -> None:
        erasures.put(Erasure(user_id="ann", asked_at=1, run="run", photos=False), replacing=None)

        assert list(ledger.claims_of("ann")) == [claim]
        assert list(ledger.unfinished(FAR)) == [claim]


def mark_of(gallery_id: str, newest: int) -> GalleryMark:
    return GalleryMark(gallery_id=gallery_id, newest=newest)


class Storage(Protocol):
    """Writes to the rows of one user as a newer version of the program would, or a fault of the disk."""

    def add_fields(self, user_id: str) -> None:
        """Add the field `later` to all values of the user's rows."""

    def has_field(self, kind: str, user_id: str) -> bool:
        """Say whether the user's profile or erasure has that field."""

    def damage(self, kind: str, user_id: str) -> None:
        """Give a ledger row a status that nobody knows; make a profile or an erasure something else than JSON."""


class SharedRecordsContract:
    """What records promise beside a newer version of the program, and about rows that cannot be read."""

    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError

    @pytest.fixture
    def erasure(self, erasures: Erasures) -> Erasure:
        erasure = Erasure(user_id="ann", asked_at=1, run="run", photos=False)
        erasures.put(erasure, replacing=None)
        return erasure

    def test_fields_of_a_newer_version_stay_when_this_one_writes(
        self, profiles: Profiles, erasures: Erasures, erasure: Erasure, storage: Storage
    ) -> None:
        profiles.put(profile(), replacing=None)
        storage.add_fields("ann")
        held, asked = present(profiles.get("ann")), present(erasures.get("ann"))
        assert profiles.put(held.model_copy(update={"face_id": "f", "revision": 2}), replacing=held)
        assert erasures.put(asked.model_copy(update={"run": "other", "revision": 2}), replacing=asked)

        assert (present(profiles.get("ann")).face_id, present(erasures.get("ann")).run) == ("f", "other")
        assert storage.has_field("profile", "ann")
        assert storage.has_field("erasure", "ann")
        assert [one.user_id for one in erasures.unfinished(refuse)] == ["ann"]

    def test_a_row_with_fields_of_a_newer_version_is_taken_to_its_verdict(
        self, ledger: Ledger, claim: Claim, storage: Storage
    ) -> None:
        ledger.contest(claim, CONTEST)
        storage.add_fields("ann")
        row = present(ledger.get(PHOTO, "ann"))
        assert (row.photo, len(row.contests)) == (PHOTO, 1)
        assert ledger.accept(row)
        ledger.decide(row, verdict())
        storage.add_fields("ann")

        assert present(ledger.claim(PHOTO, "ann", "run-2", lease_s=60).verdict).status == "accepted"
        assert ledger.reopen(row)
        assert [one.user_id for one in ledger.unfinished(FAR, skip=refuse)] == ["ann"]

    def test_a_contest_after_the_row_was_read_counts_whoever_wrote_it(
        self, ledger: Ledger, claim: Claim, storage: Storage
    ) -> None:
        ledger.contest(claim, CONTEST)
        row = present(ledger.get(PHOTO, "ann"))
        ledger.contest(claim, CONTEST.model_copy(update={"user_id": "cid"}))
        storage.add_fields("ann")

        assert not ledger.accept(row)
        assert ledger.accept(present(ledger.get(PHOTO, "ann")))

    def test_a_ledger_row_that_cannot_be_read_is_told_and_keeps_nobody_else_back(
        self, ledger: Ledger, claim: Claim, storage: Storage
    ) -> None:
        ledger.claim(PHOTO, "bob", "run", lease_s=60)
        storage.damage("claim", "ann")
        skipped: list[UnreadableRow] = []

        with pytest.raises(UnreadableRow, match=r"'ann' cannot be read \(status: Input should be 'pending'"):
            ledger.get(PHOTO, "ann")
        with pytest.raises(UnreadableRow):
            ledger.claim(PHOTO, "ann", "run", lease_s=60)
        with pytest.raises(UnreadableRow):
            ledger.claims_of("ann")
        assert [row.user_id for row in ledger.unfinished(FAR)] == ["bob"]
        assert ledger.claims_of("ann", skipped.append) == []
        assert ledger.remove(skipped[0])
        assert not ledger.remove(skipped[0])
        assert ledger.claim(PHOTO, "ann", "run", lease_s=60).attempt == 1

    def test_a_profile_that_cannot_be_read_is_told_and_keeps_nobody_else_back(
        self, profiles: Profiles, storage: Storage
    ) -> None:
        for user_id in ("ann", "bob"):
            profiles.put(profile(user_id=user_id), replacing=None)
        storage.damage("profile", "ann")
        skipped: list[UnreadableRow] = []

        with pytest.raises(UnreadableRow, match="profile of 'ann' cannot be read"):
            profiles.get("ann")
        assert [held.user_id for held in profiles.all(skipped.append)] == ["bob"]
        assert [row.user_id for row in skipped] == ["ann"]
        assert profiles.remove(skipped[0])
        assert profiles.get("ann") is None
        assert not profiles.remove(skipped[0])

    def test_an_erasure_that_cannot_be_read_is_told_and_may_be_replaced(
        self, erasures: Erasures, erasure: Erasure, storage: Storage
    ) -> None:
        erasures.put(erasure.model_copy(update={"user_id": "bob"}), replacing=None)
        storage.damage("erasure", "ann")
        skipped: list[UnreadableRow] = []

        with pytest.raises(UnreadableRow, match="erasure of 'ann' cannot be read"):
            erasures.get("ann")
        assert [one.user_id for one in erasures.unfinished(skipped.append)] == ["bob"]
        assert [row.user_id for row in skipped] == ["ann"]
        assert erasures.put(erasure.model_copy(update={"revision": 2}), replacing=skipped[0])
        assert not erasures.put(erasure, replacing=skipped[0])
        assert present(erasures.get("ann")).revision == 2


class RecordsContract(LedgerContract, ProfilesContract, ErasuresContract):
    """Ledger, profiles and erasures of one database."""

    @pytest.fixture
    def records(self) -> Records:
        raise NotImplementedError

    @pytest.fixture
    def ledger(self, records: Records) -> Ledger:
        return records.ledger

    @pytest.fixture
    def profiles(self, records: Records) -> Profiles:
        return records.profiles

    @pytest.fixture
    def erasures(self, records: Records) -> Erasures:
        return records.erasures

    def test_the_mark_of_the_gallery_is_kept_and_never_falls(self, records: Records) -> None:
        known = records.known_gallery
        none = known.get()
        for mark in (mark_of("ours", 3), mark_of("ours", 7), mark_of("ours", 5), mark_of("another", 9)):
            known.keep(mark)

        assert none is None
        assert known.get() == mark_of("ours", 7)

    def test_after_a_restore_another_gallery_is_relied_on(self, records: Records) -> None:
        records.known_gallery.keep(mark_of("ours", 7))
        records.known_gallery.replace(mark_of("another", 2))

        assert records.known_gallery.get() == mark_of("another", 2)

    def test_records_that_rely_on_no_gallery_any_more_may_be_tied_anew(self, records: Records) -> None:
        for mark in (mark_of("ours", 7), None):
            records.known_gallery.replace(mark)
        none = records.known_gallery.get()
        records.known_gallery.keep(mark_of("another", 2))

        assert (none, records.known_gallery.get()) == (None, mark_of("another", 2))
