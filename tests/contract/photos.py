"""What every photo store and every thumbnail store promises."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from selfiegate.errors import PhotoRejected, WrongInput
from selfiegate.paging import Page
from selfiegate.ports import PhotoStore, ThumbnailStore

Upload = Callable[[bytes], str]
"""Puts bytes where the store finds them and returns the URI; a second upload replaces the first."""

LATER = 10**17


class PhotoStoreContract:
    @pytest.fixture
    def photos(self) -> PhotoStore:
        raise NotImplementedError

    @pytest.fixture
    def upload(self) -> Upload:
        raise NotImplementedError

    def test_a_photo_is_read_as_it_was_uploaded(self, photos: PhotoStore, upload: Upload) -> None:
        assert photos.read(photos.find(upload(b"selfie"))) == b"selfie"

    def test_finding_a_photo_twice_gives_equal_references(self, photos: PhotoStore, upload: Upload) -> None:
        uri = upload(b"selfie")

        assert photos.find(uri) == photos.find(uri)

    def test_a_changed_photo_is_another_version(self, photos: PhotoStore, upload: Upload) -> None:
        before = photos.find(upload(b"selfie"))
        after = photos.find(upload(b"another"))

        assert before.id != after.id

    def test_a_photo_that_changed_after_it_was_found_is_not_read(self, photos: PhotoStore, upload: Upload) -> None:
        reference = photos.find(upload(b"selfie"))
        upload(b"another")

        with pytest.raises(PhotoRejected, match="unreadable_photo"):
            photos.read(reference)

    def test_a_photo_that_is_not_there_is_named(self, photos: PhotoStore) -> None:
        with pytest.raises(WrongInput, match=r"nowhere\.jpg"):
            photos.find("nowhere.jpg")

    def test_an_erased_photo_is_gone(self, photos: PhotoStore, upload: Upload) -> None:
        uri = upload(b"selfie")
        reference = photos.find(uri)
        photos.erase(reference, LATER)
        photos.erase(reference, LATER)

        with pytest.raises(PhotoRejected, match="unreadable_photo"):
            photos.read(reference)
        with pytest.raises(WrongInput):
            photos.find(uri)

    def test_what_came_under_its_name_since_then_stays(self, photos: PhotoStore, upload: Upload) -> None:
        reference, asked_at = photos.find(upload(b"selfie")), time.time_ns() // 1000
        time.sleep(1.1)  # S3 tells seconds
        later = photos.find(upload(b"another"))
        photos.erase(reference, asked_at)

        assert photos.read(later) == b"another"
        with pytest.raises(PhotoRejected, match="unreadable_photo"):
            photos.read(reference)


class ThumbnailStoreContract:
    @pytest.fixture
    def thumbnails(self) -> ThumbnailStore:
        raise NotImplementedError

    def test_a_thumbnail_is_listed_until_it_is_removed(self, thumbnails: ThumbnailStore) -> None:
        place = thumbnails.put("ann/photo/250x250.jpg", b"small", "image/jpeg")
        listed = thumbnails.keys()
        thumbnails.remove("ann/photo")

        assert place.endswith("ann/photo/250x250.jpg")
        assert list(listed) == ["ann/photo/250x250.jpg"]
        assert list(thumbnails.keys()) == []

    def test_putting_a_thumbnail_again_leaves_one(self, thumbnails: ThumbnailStore) -> None:
        thumbnails.put("ann/photo/250x250.jpg", b"small", "image/jpeg")
        thumbnails.put("ann/photo/250x250.jpg", b"small", "image/jpeg")

        assert len(thumbnails.keys()) == 1

    def test_removing_what_is_not_there_is_fine(self, thumbnails: ThumbnailStore) -> None:
        thumbnails.remove("ann/photo")

    def test_all_sizes_of_a_photo_go_and_those_of_others_stay(self, thumbnails: ThumbnailStore) -> None:
        for key in ("ann@example.com/photo/1.jpg", "ann@example.com/photo/2.webp", "ann@example.com/photo2/1.jpg"):
            thumbnails.put(key, b"small", "image/jpeg")
        thumbnails.remove("ann@example.com/photo")

        assert list(thumbnails.keys()) == ["ann@example.com/photo2/1.jpg"]

    def test_a_thumbnail_is_read_as_it_was_put(self, thumbnails: ThumbnailStore) -> None:
        thumbnails.put("ann/photo/250x250.jpg", b"small", "image/jpeg")

        assert thumbnails.read("ann/photo/250x250.jpg") == b"small"
        assert thumbnails.read("ann/photo/100x100.jpg") is None

    def test_a_folders_keys_are_those_below_it(self, thumbnails: ThumbnailStore) -> None:
        for key in ("ann/photo/1.jpg", "ann/photo2/1.jpg", "anna/photo/1.jpg"):
            thumbnails.put(key, b"small", "image/jpeg")

        assert sorted(thumbnails.keys("ann")) == ["ann/photo/1.jpg", "ann/photo2/1.jpg"]
        assert list(thumbnails.keys("ann/photo")) == ["ann/photo/1.jpg"]
        assert list(thumbnails.keys("bob")) == []

    def test_folders_with_thumbnails_are_listed_page_by_page_in_order(self, thumbnails: ThumbnailStore) -> None:
        wanted = [f"{user}/{photo}" for user in ("ann-1", "ann", "bob", "b-o b", "eve") for photo in ("x", "y", "z")]
        for folder in wanted:
            for size in ("1.jpg", "2.jpg"):
                thumbnails.put(f"{folder}/{size}", b"small", "image/jpeg")
        thumbnails.remove("bob/y")
        page, listed = thumbnails.folders(limit=3), list[str]()
        while page.items or page.next:
            assert len(page.items) <= 3
            listed += page.items
            page = thumbnails.folders(after=page.next, limit=3) if page.next else Page((), "")

        assert sorted(listed) == sorted(set(wanted) - {"bob/y"})
        assert listed == sorted(listed, key=lambda folder: f"{folder}/")
