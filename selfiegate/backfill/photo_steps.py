"""The steps of one photo on its way through a chunk; `chunk` has their order, `enrolment` has what they do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from selfiegate.backfill.listing import pinned
from selfiegate.backfill.photo_work import PhotoWork, outcome
from selfiegate.enrolment import profiles, protocol, uploads, verdicts
from selfiegate.enrolment.likeness import is_unclear
from selfiegate.enrolment.search import search_gallery
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import PhotoInProgress, SelfiegateError, UserForgotten
from selfiegate.ports import SearchesTogether
from selfiegate.runtime import Runtime


class PhotoSteps:
    """Takes a step for a photo and writes down what came of it; raises what the step raises."""

    def __init__(self, rt: Runtime, owner: str, notify: bool) -> None:
        """Without `notify` the rows of photos that are claimed first here are silent."""
        self._rt, self._owner, self._notify = rt, owner, notify

    def pin(self, one: PhotoWork) -> None:
        """Find the version of the photo, where its entry names none."""
        one.photo = pinned(self._rt.photos, one.entry)

    def claim(self, one: PhotoWork) -> None:
        """Claim the photo, or learn its verdict or who holds it."""
        assert one.photo is not None  # noqa: S101  it is open, so it is pinned
        entry = one.entry
        try:
            order, notify = entry.upload_order, self._notify
            one.row = protocol.claim_photo(self._rt, one.photo, entry.user_id, self._owner, order, notify)
        except PhotoInProgress as elsewhere:
            one.retry_reason = elsewhere
            return
        except UserForgotten as gone:
            one.ended = outcome(one, "skipped", str(gone))
            return
        if one.row.verdict:
            one.ended = outcome(one, "skipped")

    def take_over(self, one: PhotoWork) -> None:
        """Take back what a run that died left half done; where it had won its face, go on from there."""
        if one.claim.status == "accepting":
            one.row = finish(self._rt, one.claim)
            one.ended = outcome(one, one.claim.status)
        else:
            uploads.wait_for_removal(self._rt, one.claim)
            protocol.withdraw(self._rt, one.claim)
            one.row = protocol.still_ours(self._rt, one.claim)

    def look(self, one: PhotoWork) -> None:
        """Judge the photo, and look its face up where it is usable, or make ready for `search_together`."""
        one.judgement = protocol.judge_photo(self._rt, one.claim.photo)
        if one.judgement.face and not one.judgement.reasons:
            if isinstance(self._rt.faces, SearchesTogether):
                self._rt.faces.prepare(one.claim.photo)
            else:
                self.search(one)

    def search_together(self, photos: Sequence[PhotoWork]) -> bool:
        """Search the gallery once for all photos, where the backend can: each photo's own search is short then."""
        faces = self._rt.faces
        if not isinstance(faces, SearchesTogether):
            return False
        with suppress(SelfiegateError):  # each photo's own search meets the fault, too, and tells it
            faces.search_together([(one.claim.photo, one.entry.user_id, self._unclear(one)) for one in photos])
        return True

    def search(self, one: PhotoWork) -> None:
        """Ask whether somebody else holds this face, and whether it is the user's own."""
        one.profile = self.revision(one)
        one.searched = search_gallery(self._rt, one.claim, one.quality)

    def revision(self, one: PhotoWork) -> int | None:
        """Return the revision of the user's profile as it stands."""
        profile = self._rt.profiles.get(one.entry.user_id)
        return profile.revision if profile else None

    def announce_face(self, one: PhotoWork) -> None:
        """Note that the face may be in the gallery from now on."""
        protocol.announce_face(self._rt, one.claim)

    def enrol(self, one: PhotoWork) -> None:
        """Put the face into the gallery."""
        one.begun = True
        one.face_id = protocol.enrol_face(self._rt, one.claim)

    def search_rivals(self, one: PhotoWork) -> None:
        """Find the faces that this one has to win against."""
        one.row = protocol.still_ours(self._rt, one.claim, one.face_id)  # before the search, see `protocol.contend`
        one.unclear = self._unclear(one)
        one.matches = self._rt.faces.rivals(one.face_id, one.entry.user_id, one.unclear)

    def confirm_alone(self, one: PhotoWork) -> None:
        """Win the face, or lose it, waiting for those who are undecided."""
        if found := protocol.confirm_enrolment(self._rt, one.claim, one.face_id, one.quality):
            one.searched = found

    def withdraw(self, one: PhotoWork) -> None:
        """Leave no trace in the gallery or among the thumbnails."""
        protocol.withdraw(self._rt, one.claim)

    def thumbnail(self, one: PhotoWork) -> None:
        """Make the thumbnails."""
        assert one.judgement.face is not None  # noqa: S101  it won by it
        one.thumbnails = protocol.make_thumbnails(self._rt, one.claim, one.judgement.face)

    def store(self, one: PhotoWork) -> None:
        """Save the profile and store the verdict."""
        checks = one.judgement.checks
        if one.judgement.face is None or one.reasons:
            one.row = verdicts.refuse(self._rt, one.claim, one.reasons, checks, one.searched)
        else:
            if profiles.save_profile(self._rt, one.claim, one.face_id, one.thumbnails):
                profiles.remove_older_photo(self._rt, one.claim, one.face_id)
            one.row = verdicts.accept(self._rt, one.claim, one.face_id, one.thumbnails, checks, one.searched)
        one.ended = outcome(one, one.claim.status)

    def notify(self, one: PhotoWork) -> None:
        """Tell the user what is wrong."""
        with suppress(Exception):  # the photo has its verdict; its row is unfinished, so `reconcile` tells
            verdicts.notify_user(self._rt, one.claim)

    def _unclear(self, one: PhotoWork) -> bool:
        return is_unclear(self._rt, one.claim.photo, one.entry.user_id, one.quality)
