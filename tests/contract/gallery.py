"""What every gallery promises."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.sql import CANDIDATES
from selfiegate.gallery import Gallery
from selfiegate.paging import Page
from tests.present import present

D = 64
_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""Examples share the fixture of the subclass's test."""


def vectors(n: int, seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    unit: NDArray[np.float32] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def add_all(gallery: Gallery, stored: NDArray[np.float32]) -> None:
    for n, vector in enumerate(stored):
        gallery.add(str(n), "ann", vector)


class GalleryContract:
    @pytest.fixture
    def gallery(self) -> Gallery:
        raise NotImplementedError

    def test_an_empty_gallery_matches_nobody(self, gallery: Gallery) -> None:
        assert list(gallery.search(vectors(1)[0])) == []

    def test_all_faces_are_listed(self, gallery: Gallery) -> None:
        for n, vector in enumerate(vectors(3)):
            gallery.add(f"face-{n}", f"user-{n}", vector)
        gallery.remove("face-1")

        assert [(face.face_id, face.user_id) for face in gallery.faces()] == [
            ("face-0", "user-0"),
            ("face-2", "user-2"),
        ]

    def test_faces_are_listed_page_by_page(self, gallery: Gallery) -> None:
        for n, vector in enumerate(vectors(7)):
            gallery.add(f"face-{n}", f"user-{n}", vector)
        gallery.remove("face-3")
        page, listed = gallery.page(limit=2), list[str]()
        while page.items or page.next:
            assert len(page.items) <= 2
            listed += [face.face_id for face in page.items]
            page = gallery.page(after=page.next, limit=2) if page.next else Page((), "")

        assert sorted(listed) == [f"face-{n}" for n in range(7) if n != 3]

    def test_of_many_faces_those_that_are_there_are_told(self, gallery: Gallery) -> None:
        for n, vector in enumerate(vectors(3)):
            gallery.add(f"face-{n}", "ann", vector)
        gallery.remove("face-1")

        assert gallery.held(["face-0", "face-1", "unknown"]) == {"face-0"}

    def test_what_was_added_since_a_mark_is_found_exactly(self, gallery: Gallery) -> None:
        gallery.add("old", "ann", vectors(3)[0])
        mark = gallery.newest()
        with gallery.batch():
            for n in (1, 2):
                gallery.add(f"new-{n}", "bob", vectors(3)[n])
        gallery.remove("new-2")

        (found,) = gallery.search(vectors(3)[1], above=mark)
        assert (found.face_id, found.user_id) == ("new-1", "bob")
        assert found.score == pytest.approx(1, abs=1e-3)
        assert list(gallery.search(vectors(3)[1], above=gallery.newest())) == []

    def test_only_faces_of_the_floor_or_more_are_found(self, gallery: Gallery) -> None:
        first, second = vectors(2)
        gallery.add("same", "ann", first)
        gallery.add("other", "bob", second)

        assert [match.face_id for match in gallery.search(first, floor=0.9)] == ["same"]
        assert list(gallery.search(-first, floor=0.9)) == []

    def test_a_face_finds_itself_with_a_cosine_of_one(self, gallery: Gallery) -> None:
        for n, vector in enumerate(vectors(20)):
            gallery.add(f"face-{n}", f"user-{n}", vector)

        best = gallery.search(vectors(20)[7])[0]

        assert (best.face_id, best.user_id) == ("face-7", "user-7")
        assert best.score == pytest.approx(1, abs=1e-3)

    def test_matches_come_best_first_and_no_more_than_asked_for(self, gallery: Gallery) -> None:
        for n, vector in enumerate(vectors(50)):
            gallery.add(f"face-{n}", f"user-{n}", vector)

        scores = [match.score for match in gallery.search(vectors(1, seed=1)[0], limit=5)]

        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 5

    def test_the_scores_are_the_exact_cosines(self, gallery: Gallery) -> None:
        stored, probe = vectors(300), vectors(1, seed=2)[0]
        for n, vector in enumerate(stored):
            gallery.add(f"face-{n}", f"user-{n}", vector)

        found = gallery.search(probe, limit=1)[0]

        assert found.score == pytest.approx(float(stored[int(found.face_id[5:])] @ probe), abs=1e-3)

    @given(data=st.data())
    @settings(max_examples=30, deadline=None, suppress_health_check=_SHARED)
    def test_many_faces_searched_together_find_what_each_finds_alone(
        self, gallery: Gallery, data: st.DataObject
    ) -> None:
        """Faces are few, so that many tie; the gallery grows, and loses faces, from example to example."""
        few, run = vectors(6, seed=3), str(uuid4())
        for n, which in enumerate(data.draw(st.lists(st.integers(0, 5), max_size=12))):
            gallery.add(f"{run}-{n}", f"user-{which}", few[which])
        mark = data.draw(st.sampled_from([0, gallery.newest()]))
        for n in data.draw(st.sets(st.integers(0, 11), max_size=4)):
            gallery.remove(f"{run}-{n}")
        probes = few[data.draw(st.lists(st.integers(0, 5), max_size=45))].reshape(-1, D)
        limit, floor = data.draw(st.integers(1, 90)), data.draw(st.sampled_from([-1.0, 0.3]))

        together = gallery.search_many(list(probes), limit, floor, mark)

        assert [list(found) for found in together] == [list(gallery.search(one, limit, floor, mark)) for one in probes]

    def test_searches_together_beside_one_that_adds_miss_nothing(self, gallery: Gallery) -> None:
        stored = vectors(200)
        with ThreadPoolExecutor(1) as pool:
            adding = pool.submit(add_all, gallery, stored)
            while not adding.done():
                held = [n for n in range(0, 200, 20) if gallery.held([str(n)])]
                found = gallery.search_many([stored[n] for n in held], limit=1)
                assert [one[0].face_id for one in found] == [str(n) for n in held]
            adding.result()

    def test_adding_a_face_again_changes_nothing(self, gallery: Gallery) -> None:
        first, second = vectors(2)
        gallery.add("face", "ann", first)
        gallery.add("face", "bob", second)

        assert gallery.stats().faces == 1
        assert gallery.search(first)[0].user_id == "ann"

    def test_a_removed_face_is_gone_and_may_be_removed_again(self, gallery: Gallery) -> None:
        vector = vectors(1)[0]
        gallery.add("face", "ann", vector)
        gallery.search(vector)
        gallery.remove("face")
        gallery.remove("face")

        assert list(gallery.search(vector)) == []
        assert gallery.embedding("face") is None

    def test_a_removed_face_may_come_back(self, gallery: Gallery) -> None:
        vector = vectors(1)[0]
        gallery.add("face", "ann", vector)
        gallery.remove("face")
        gallery.add("face", "ann", vector)

        assert gallery.search(vector)[0].face_id == "face"

    def test_faces_are_listed_by_user_in_their_order(self, gallery: Gallery) -> None:
        one, two, three = vectors(3)
        gallery.add("first", "ann", one)
        gallery.add("other", "bob", two)
        gallery.add("second", "ann", three)

        assert list(gallery.faces_of("ann")) == ["first", "second"]
        assert (gallery.stats().faces, gallery.stats().users) == (3, 2)

    def test_embeddings_come_back_as_they_were(self, gallery: Gallery) -> None:
        vector = vectors(1)[0]
        gallery.add("face", "ann", vector)

        np.testing.assert_allclose(present(gallery.embedding("face")), vector, atol=1e-3)


class SharedGalleryContract:
    """What a gallery promises that several processes open."""

    @pytest.fixture
    def gallery(self) -> Gallery:
        raise NotImplementedError

    @pytest.fixture
    def another(self) -> Callable[[str], Gallery]:
        """Return what opens the same gallery for a model."""
        raise NotImplementedError

    def test_what_one_opener_enrols_the_others_find(self, gallery: Gallery, another: Callable[[str], Gallery]) -> None:
        other = another("model")
        other.search(vectors(1)[0])
        gallery.add("face", "ann", vectors(1)[0])

        assert other.search(vectors(1)[0])[0].user_id == "ann"

    def test_what_one_opener_removes_the_others_no_longer_find(
        self, gallery: Gallery, another: Callable[[str], Gallery]
    ) -> None:
        other = another("model")
        gallery.add("face", "ann", vectors(1)[0])
        other.search(vectors(1)[0])
        gallery.remove("face")

        assert list(other.search(vectors(1)[0])) == []

    def test_many_removed_faces_do_not_hide_the_one_that_is_left(
        self, gallery: Gallery, another: Callable[[str], Gallery]
    ) -> None:
        other = another("model")
        near, far = vectors(2)
        with gallery.batch():
            for n in range(CANDIDATES):
                gallery.add(f"face-{n}", "ann", near)
        gallery.add("kept", "bob", far)
        other.search(near)
        for n in range(CANDIDATES):
            gallery.remove(f"face-{n}")

        assert [match.face_id for match in other.search(near)] == ["kept"]

    def test_faces_of_another_model_are_not_mixed_in(self, gallery: Gallery, another: Callable[[str], Gallery]) -> None:
        with pytest.raises(BackendMisconfigured, match="holds faces of the model model, but other is loaded"):
            another("other")
