"""The doubles keep the promises of what they stand for."""

from __future__ import annotations

import pytest

from selfiegate.backends.scripted import scripted_photo
from selfiegate.galleries.memory import MemoryGallery
from selfiegate.gallery import Gallery
from selfiegate.model import PhotoRef
from selfiegate.ports import FaceBackend, PhotoStore, SearchesTogether, ThumbnailStore
from selfiegate.records import Records
from selfiegate.runtime import MemoryRuntime, Runtime, memory_runtime
from selfiegate.stores.memory_photos import MemoryPhotos, MemoryThumbnails
from selfiegate.stores.memory_records import memory_records
from tests.contract.faces import AlikeFacesContract, FaceBackendContract, SearchesTogetherContract
from tests.contract.gallery import GalleryContract
from tests.contract.photos import PhotoStoreContract, ThumbnailStoreContract, Upload
from tests.contract.records import RecordsContract


class TestMemoryGallery(GalleryContract):
    @pytest.fixture
    def gallery(self) -> Gallery:
        return MemoryGallery("model")


class TestMemoryRecords(RecordsContract):
    @pytest.fixture
    def records(self) -> Records:
        return memory_records()


class TestMemoryPhotos(PhotoStoreContract):
    @pytest.fixture
    def photos(self) -> PhotoStore:
        return MemoryPhotos()

    @pytest.fixture
    def upload(self, photos: MemoryPhotos) -> Upload:
        return lambda data: photos.add("ann/selfie.jpg", data).key


class TestMemoryThumbnails(ThumbnailStoreContract):
    @pytest.fixture
    def thumbnails(self) -> ThumbnailStore:
        return MemoryThumbnails()


class TestScriptedFaces(FaceBackendContract, AlikeFacesContract, SearchesTogetherContract):
    @pytest.fixture
    def rt(self) -> MemoryRuntime:
        return memory_runtime()

    @pytest.fixture
    def faces(self, rt: Runtime) -> FaceBackend:
        return rt.faces

    @pytest.fixture
    def ann(self, rt: MemoryRuntime) -> PhotoRef:
        return rt.photos.add("ann.png", scripted_photo("ann"))

    @pytest.fixture
    def ann_again(self, rt: MemoryRuntime) -> PhotoRef:
        return rt.photos.add("ann2.png", scripted_photo("ann~"))

    @pytest.fixture
    def alike(self, rt: MemoryRuntime) -> PhotoRef:
        return rt.photos.add("alike.png", scripted_photo("ann~~~~~"))

    def test_photos_searched_together_keep_to_their_own_floors(
        self, faces: FaceBackend, ann: PhotoRef, alike: PhotoRef
    ) -> None:
        assert isinstance(faces, SearchesTogether)
        faces.enrol(ann, "user_a")
        faces.search_together([(alike, "user_b", False), (alike, "user_c", True)])

        assert list(faces.search(alike, "user_b")) == []
        assert [match.user_id for match in faces.search(alike, "user_c", unclear=True)] == ["user_a"]

    @pytest.fixture
    def bob(self, rt: MemoryRuntime) -> PhotoRef:
        return rt.photos.add("bob.png", scripted_photo("bob"))

    @pytest.fixture
    def group(self, rt: MemoryRuntime) -> PhotoRef:
        return rt.photos.add("group.png", scripted_photo("ann", "bob"))

    @pytest.fixture
    def nobody(self, rt: MemoryRuntime) -> PhotoRef:
        return rt.photos.add("nobody.png", scripted_photo())

    @pytest.fixture
    def damaged(self, rt: MemoryRuntime) -> PhotoRef:
        return rt.photos.add("damaged.png", b"no photo")
