"""What every face backend promises; a subclass says which photos show whom."""

from __future__ import annotations

import pytest

from selfiegate.model import PhotoRef
from selfiegate.paging import Page
from selfiegate.ports import FaceBackend, SearchesTogether


class FaceBackendContract:
    @pytest.fixture
    def faces(self) -> FaceBackend:
        raise NotImplementedError

    @pytest.fixture
    def ann(self) -> PhotoRef:
        """A photo of one person."""
        raise NotImplementedError

    @pytest.fixture
    def ann_again(self) -> PhotoRef:
        """Another photo of the same person."""
        raise NotImplementedError

    @pytest.fixture
    def bob(self) -> PhotoRef:
        """A photo of another person."""
        raise NotImplementedError

    @pytest.fixture
    def group(self) -> PhotoRef:
        """A photo of several people."""
        raise NotImplementedError

    @pytest.fixture
    def nobody(self) -> PhotoRef:
        """A photo without a face."""
        raise NotImplementedError

    @pytest.fixture
    def damaged(self) -> PhotoRef:
        """A file that is no photo."""
        raise NotImplementedError

    def test_it_names_its_model_and_what_that_runs_on(self, faces: FaceBackend) -> None:
        assert faces.model
        assert faces.device

    def test_faces_are_counted(self, faces: FaceBackend, ann: PhotoRef, group: PhotoRef, nobody: PhotoRef) -> None:
        assert [len(faces.detect(photo).faces) for photo in (ann, nobody)] == [1, 0]
        assert len(faces.detect(group).faces) > 1

    def test_a_face_lies_in_the_frame(self, faces: FaceBackend, ann: PhotoRef) -> None:
        box = faces.detect(ann).faces[0].box

        assert 0 < box.area < 1
        assert 0 < box.left < box.left + box.width < 1

    def test_a_file_that_is_no_photo_is_an_outcome(self, faces: FaceBackend, damaged: PhotoRef) -> None:
        assert faces.detect(damaged).unusable is not None

    def test_nobody_matches_before_anybody_is_enrolled(self, faces: FaceBackend, ann: PhotoRef) -> None:
        assert list(faces.search(ann, "user_a")) == []

    def test_an_enrolled_face_is_found_in_another_photo(
        self, faces: FaceBackend, ann: PhotoRef, ann_again: PhotoRef
    ) -> None:
        face_id = faces.enrol(ann, "user_a")
        (match,) = faces.search(ann_again, "user_b")

        assert (match.face_id, match.user_id) == (face_id, "user_a")
        assert match.score >= faces.thresholds.match

    def test_another_person_does_not_match(self, faces: FaceBackend, ann: PhotoRef, bob: PhotoRef) -> None:
        faces.enrol(ann, "user_a")

        assert list(faces.search(bob, "user_b")) == []

    def test_the_users_own_face_is_reported_too(self, faces: FaceBackend, ann: PhotoRef, ann_again: PhotoRef) -> None:
        faces.enrol(ann, "user_a")
        (own,) = faces.search(ann_again, "user_a")

        assert own.user_id == "user_a"
        assert own.score >= faces.thresholds.verify

    def test_enrolling_twice_enrols_once(self, faces: FaceBackend, ann: PhotoRef) -> None:
        assert faces.enrol(ann, "user_a") == faces.enrol(ann, "user_a")
        assert faces.stats().faces == 1

    def test_rivals_are_other_users_with_the_same_face(
        self, faces: FaceBackend, ann: PhotoRef, ann_again: PhotoRef, bob: PhotoRef
    ) -> None:
        ours = faces.enrol(ann, "user_a")
        theirs = faces.enrol(ann_again, "user_b")
        faces.enrol(bob, "user_c")

        assert [match.face_id for match in faces.rivals(ours, "user_a")] == [theirs]

    def test_a_match_tells_from_which_photo_its_face_was_enrolled(
        self, faces: FaceBackend, ann: PhotoRef, ann_again: PhotoRef
    ) -> None:
        faces.enrol(ann, "Ann 😀")
        ours = faces.enrol(ann_again, "user_b")
        (found,), (rival,) = faces.search(ann_again, "user_c")[:1], faces.rivals(ours, "user_b")
        theirs = {faces.origin(ann, "Ann 😀"), faces.origin(ann_again, "user_b")}

        assert (rival.origin or rival.face_id) == faces.origin(ann, "Ann 😀")
        assert (found.origin or found.face_id) in theirs

    def test_all_enrolled_faces_are_listed(self, faces: FaceBackend, ann: PhotoRef, bob: PhotoRef) -> None:
        enrolled = {(faces.enrol(ann, "user_a"), "user_a"), (faces.enrol(bob, "user_b"), "user_b")}

        assert {(face.face_id, face.user_id) for face in faces.faces()} == enrolled

    def test_enrolled_faces_are_listed_page_by_page(self, faces: FaceBackend, ann: PhotoRef, bob: PhotoRef) -> None:
        enrolled = {faces.enrol(photo, user_id) for photo, user_id in ((ann, "a"), (bob, "b"), (bob, "c"))}
        page, listed = faces.page(limit=2), list[str]()
        while page.items or page.next:
            assert len(page.items) <= 2
            listed += [face.face_id for face in page.items]
            page = faces.page(after=page.next, limit=2) if page.next else Page((), "")

        assert sorted(listed) == sorted(enrolled)

    def test_of_many_faces_those_that_are_there_are_told(
        self, faces: FaceBackend, ann: PhotoRef, bob: PhotoRef
    ) -> None:
        there, gone = faces.enrol(ann, "user_a"), faces.enrol(bob, "user_b")
        faces.remove(gone)

        assert faces.held([there, gone]) == {there}
        assert faces.held([]) == set()

    def test_a_removed_face_does_not_match(self, faces: FaceBackend, ann: PhotoRef) -> None:
        face_id = faces.enrol(ann, "user_a")
        faces.remove(face_id)
        faces.remove(face_id)

        assert list(faces.search(ann, "user_b")) == []

    def test_a_face_can_be_discarded_without_knowing_its_id(self, faces: FaceBackend, ann: PhotoRef) -> None:
        faces.enrol(ann, "user_a")
        face_id = faces.enrol(ann, "user_a")
        held = faces.holds(face_id)
        faces.discard(ann, "user_a")
        faces.discard(ann, "user_a")

        assert faces.stats().faces == 0
        assert (held, faces.holds(face_id)) == (True, False)

    def test_a_users_faces_are_listed(
        self, faces: FaceBackend, ann: PhotoRef, ann_again: PhotoRef, bob: PhotoRef
    ) -> None:
        mine = {faces.enrol(ann, "user_a"), faces.enrol(ann_again, "user_a")}
        faces.enrol(bob, "user_b")

        assert set(faces.faces_of("user_a")) == mine
        assert list(faces.faces_of("user_c")) == []

    def test_a_users_faces_are_found_page_by_page(self, faces: FaceBackend, ann: PhotoRef, bob: PhotoRef) -> None:
        mine = faces.enrol(ann, "user_a")
        faces.enrol(bob, "user_b")
        page = faces.page_of("user_a")
        pages = [page]
        while page.next:
            page = faces.page_of("user_a", page.next)
            pages.append(page)

        assert [face_id for page in pages for face_id in page.items] == [mine]

    def test_what_is_given_out_of_a_face_is_its_own(self, faces: FaceBackend, ann: PhotoRef, bob: PhotoRef) -> None:
        given = [faces.template(faces.enrol(photo, user)) for photo, user in ((ann, "user_a"), (bob, "user_b"))]

        assert given == [None, None] or (all(given) and given[0] != given[1])
        assert faces.template("00000000-0000-0000-0000-000000000000") is None


class AlikeFacesContract:
    """What is found of a face that is like another one and does not match it."""

    @pytest.fixture
    def alike(self) -> PhotoRef:
        """A photo of somebody who is like ann: from the unclear threshold up, and below the match threshold."""
        raise NotImplementedError

    def test_faces_that_are_merely_alike_are_found_where_the_face_is_unclear(
        self, faces: FaceBackend, ann: PhotoRef, alike: PhotoRef
    ) -> None:
        theirs = faces.enrol(ann, "user_a")
        clear, unclear = faces.search(alike, "user_b"), faces.search(alike, "user_b", True)
        ours = faces.enrol(alike, "user_b")

        assert list(clear) == []
        assert [match.face_id for match in unclear] == [theirs]
        assert faces.thresholds.unclear <= unclear[0].score < faces.thresholds.match
        assert [match.face_id for match in faces.rivals(ours, "user_b", True)] == [theirs]
        assert list(faces.rivals(ours, "user_b")) == []

    def test_what_a_search_left_out_is_looked_for_again(
        self, faces: FaceBackend, ann: PhotoRef, alike: PhotoRef
    ) -> None:
        theirs = faces.enrol(ann, "user_a")
        faces.search(alike, "user_b")
        ours = faces.enrol(alike, "user_b")

        assert [match.face_id for match in faces.rivals(ours, "user_b", True)] == [theirs]


class SearchesTogetherContract:
    """What a face backend promises that searches many photos in one go; fixtures are those of `FaceBackendContract`."""

    def test_photos_searched_together_find_what_each_finds_alone(
        self, faces: FaceBackend, ann: PhotoRef, ann_again: PhotoRef, bob: PhotoRef
    ) -> None:
        assert isinstance(faces, SearchesTogether)
        faces.enrol(ann, "user_a")
        faces.search_together([(ann_again, "user_b", False), (bob, "user_b", True), (ann_again, "user_a", False)])

        for photo, user_id, unclear in ((ann_again, "user_b", False), (bob, "user_b", True)):
            assert faces.search(photo, user_id, unclear) == faces.search(photo, "user_c", unclear)
        assert [match.user_id for match in faces.search(ann_again, "user_b")] == ["user_a"]
        assert [match.user_id for match in faces.search(ann_again, "user_a")] == ["user_a"]

    def test_a_search_after_that_sees_what_came_and_went_since(
        self, faces: FaceBackend, ann: PhotoRef, ann_again: PhotoRef, bob: PhotoRef
    ) -> None:
        assert isinstance(faces, SearchesTogether)
        face_id = faces.enrol(ann, "user_a")
        faces.search_together([(ann_again, "user_b", False), (bob, "user_b", False)])
        faces.remove(face_id)
        came = faces.enrol(bob, "user_c")

        assert list(faces.search(ann_again, "user_b")) == []
        assert [match.face_id for match in faces.search(bob, "user_b")] == [came]

    def test_a_face_that_went_and_came_again_is_found_once(
        self, faces: FaceBackend, ann: PhotoRef, ann_again: PhotoRef
    ) -> None:
        assert isinstance(faces, SearchesTogether)
        face_id = faces.enrol(ann, "user_a")
        faces.search_together([(ann_again, "user_b", False)])
        faces.remove(face_id)
        faces.enrol(ann, "user_a")

        assert [match.face_id for match in faces.search(ann_again, "user_b")] == [face_id]
