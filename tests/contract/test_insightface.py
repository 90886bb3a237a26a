"""The InsightFace backend on real weights and the pictures that insightface brings along."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import insightface
import numpy as np
import pytest
from insightface.app import FaceAnalysis
from PIL import Image, ImageDraw, ImageEnhance

from selfiegate.backends.embedding import Analyser, EmbeddingBackend
from selfiegate.backends.insightface.detector import Detector
from selfiegate.backends.insightface.pack import PackSettings, pack_folder
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.model import PhotoRef
from selfiegate.policy import Rules, judge
from selfiegate.ports import FaceBackend, PhotoStore
from selfiegate.stores.folder import FolderPhotos
from tests.contract.faces import FaceBackendContract, SearchesTogetherContract
from tests.present import present
from tests.runtimes import THRESHOLDS

pytestmark = pytest.mark.weights

IMAGES = Path(insightface.__file__).parent / "data" / "images"

Save = Callable[[str, Image.Image], PhotoRef]


@pytest.fixture(scope="session")
def analyser(pack: PackSettings) -> Analyser:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

    return InsightFaceAnalyser(pack)


@pytest.fixture(scope="session")
def sharing_analyser(pack: PackSettings) -> Analyser:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

    return InsightFaceAnalyser(pack.model_copy(update={"batch": 4}))


@pytest.fixture
def photos() -> PhotoStore:
    return FolderPhotos(Limits())


@pytest.fixture
def save(tmp_path: Path, photos: PhotoStore) -> Save:
    def write(name: str, picture: Image.Image) -> PhotoRef:
        picture.convert("RGB").save(tmp_path / name, quality=90)
        return photos.find(str(tmp_path / name))

    return write


@pytest.fixture
def portrait() -> Image.Image:
    return Image.open(IMAGES / "Tom_Hanks_54745.png").convert("RGB")


@pytest.fixture
def faces_of_a_pack(analyser: Analyser, tmp_path: Path, photos: PhotoStore) -> EmbeddingBackend:
    gallery = SqliteGallery(tmp_path / "gallery.db", analyser.model)
    return EmbeddingBackend(analyser, gallery, photos, Limits(), THRESHOLDS)


class TestInsightFace(FaceBackendContract, SearchesTogetherContract):
    @pytest.fixture
    def faces(self, faces_of_a_pack: FaceBackend) -> FaceBackend:
        return faces_of_a_pack

    @pytest.fixture
    def ann(self, save: Save, portrait: Image.Image) -> PhotoRef:
        framed = Image.new("RGB", (300, 300), "grey")
        framed.paste(portrait.resize((150, 150 * portrait.height // portrait.width)), (75, 60))
        return save("ann.jpg", framed)

    @pytest.fixture
    def ann_again(self, save: Save, portrait: Image.Image) -> PhotoRef:
        other = ImageEnhance.Brightness(portrait.rotate(8, fillcolor="white")).enhance(0.8)
        framed = Image.new("RGB", (500, 400), "white")
        framed.paste(other.resize((200, 200 * other.height // other.width)), (200, 80))
        return save("ann2.jpg", framed)

    @pytest.fixture
    def group(self, save: Save) -> PhotoRef:
        return save("group.jpg", Image.open(IMAGES / "t1.jpg"))

    @pytest.fixture
    def bob(self, save: Save, group: PhotoRef, faces: FaceBackend) -> PhotoRef:
        box, whole = faces.detect(group).faces[0].box, Image.open(IMAGES / "t1.jpg")
        left, top = (box.left - box.width / 2) * whole.width, (box.top - box.height / 2) * whole.height
        size = 2 * box.width * whole.width, 2 * box.height * whole.height
        return save("bob.jpg", whole.crop((int(left), int(top), int(left + size[0]), int(top + size[1]))))

    @pytest.fixture
    def nobody(self, save: Save) -> PhotoRef:
        shapes = Image.new("RGB", (640, 480), "lightblue")
        ImageDraw.Draw(shapes).polygon([(80, 400), (320, 80), (560, 400)], fill="darkgreen")
        return save("nobody.png", shapes)

    @pytest.fixture
    def damaged(self, tmp_path: Path, photos: PhotoStore) -> PhotoRef:
        (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff rest is missing")
        return photos.find(str(tmp_path / "damaged.jpg"))

    def test_faces_are_those_that_insightface_itself_finds(self, pack: PackSettings) -> None:
        app = FaceAnalysis(name=str(pack_folder(pack)), allowed_modules=["detection"])
        app.prepare(ctx_id=0, det_thresh=0.3, det_size=[(128, 128), (640, 640)])
        theirs, ours = app.models["detection"], Detector(app.models["detection"])
        for size in ((1280, 886), (848, 1280), (640, 443), (301, 97), (970, 640)):  # nothing is left of the one before
            close = 0.2 if max(size) < 640 else 0.01  # enlarging, insightface rounds what it scales to whole levels
            picture = np.asarray(Image.open(IMAGES / "t1.jpg").convert("RGB").resize(size))
            boxes, landmarks = theirs.detect(picture[..., ::-1])
            found, points = ours(picture)
            assert len(boxes) > 0
            np.testing.assert_allclose(found[:, :4], boxes[:, :4], rtol=0, atol=close)
            np.testing.assert_allclose(found[:, 4], boxes[:, 4], rtol=0, atol=0.05 * close)
            np.testing.assert_allclose(points, landmarks, rtol=0, atol=close)

    def test_a_photo_that_is_all_width_or_height_shows_nobody(self, save: Save, faces: FaceBackend) -> None:
        for n, size in enumerate([(11_000, 80), (80, 11_000)]):
            assert faces.detect(save(f"{n}.png", Image.new("RGB", size))).faces == ()

    def test_a_detector_without_landmarks_is_refused(self, pack: PackSettings) -> None:
        app = FaceAnalysis(name=str(pack_folder(pack)), allowed_modules=["detection"])
        app.models["detection"].use_kps = False
        with pytest.raises(ValueError, match="no landmarks"):
            Detector(app.models["detection"])

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
    def test_close_ups_are_found(self, share: float, save: Save, ann: PhotoRef, faces: FaceBackend) -> None:
        box, whole = faces.detect(ann).faces[0].box, Image.open(Path(ann.bucket, ann.key))
        height = box.height * whole.height / share
        x, y = (box.left + box.width / 2) * whole.width, (box.top + box.height / 2) * whole.height
        near = whole.crop((int(x - height / 2), int(y - height / 2), int(x + height / 2), int(y + height / 2)))

        assert len(faces.detect(save("near.jpg", near.resize((900, 900)))).faces) == 1

    def test_several_threads_see_the_same(self, ann: PhotoRef, group: PhotoRef, faces: EmbeddingBackend) -> None:
        expected = {photo.id: faces._look_at(photo)[0] for photo in (ann, group)}
        seen: list[bool] = []

        def look() -> None:
            seen.extend(faces._look_at(photo)[0] == expected[photo.id] for photo in (ann, group) for _ in range(3))

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert seen == [True] * 24

    @pytest.mark.parametrize("turn", [0, 90, 180, 270])
    def test_a_face_that_lies_or_stands_on_its_head_never_raises(
        self, turn: int, save: Save, portrait: Image.Image, faces: FaceBackend
    ) -> None:
        found = faces.detect(save("turned.jpg", portrait.rotate(turn, expand=True))).faces

        assert all(np.isfinite(present(face.sharpness)) for face in found)

    @pytest.mark.parametrize("turned", [0, 90, 180, 270])
    def test_a_photo_stored_on_its_side_or_its_head_is_judged_and_enrolled_upright(
        self, turned: int, save: Save, ann: PhotoRef, faces: FaceBackend
    ) -> None:
        upright = Image.open(Path(ann.bucket, ann.key))
        stored = save("turned.jpg", upright.rotate(turned, expand=True))  # counter-clockwise
        face_id = faces.enrol(ann, "user_a")
        detection = faces.detect(stored)
        (match,) = faces.search(stored, "user_b")

        assert judge(detection, Rules()).reasons == ()
        assert detection.faces[0].turned == turned
        assert abs(present(detection.faces[0].roll)) < 15
        assert match.face_id == face_id
        assert match.score > 0.95

    @pytest.mark.parametrize("turned", [90, 180, 270])
    def test_a_turned_photo_has_its_box_landmarks_and_eye_distance_upright(
        self, turned: int, save: Save, portrait: Image.Image, faces: FaceBackend
    ) -> None:
        framed = Image.new("RGB", (600, 300), "grey")
        framed.paste(portrait.resize((150, 150 * portrait.height // portrait.width)), (40, 60))
        (upright,) = faces.detect(save("upright.jpg", framed)).faces
        (face,) = faces.detect(save("turned.jpg", framed.rotate(turned, expand=True))).faces

        assert face.box.left == pytest.approx(upright.box.left, abs=0.02)
        assert face.box.height == pytest.approx(upright.box.height, abs=0.02)
        assert np.array(face.landmarks) == pytest.approx(np.array(upright.landmarks), abs=0.02)
        assert face.eye_distance == pytest.approx(upright.eye_distance, rel=0.05)

    @pytest.mark.parametrize("turned", [90, 180, 270])
    def test_a_group_is_a_group_however_it_is_stored(
        self, turned: int, save: Save, group: PhotoRef, faces: FaceBackend
    ) -> None:
        whole = Image.open(Path(group.bucket, group.key))
        detection = faces.detect(save("turned.jpg", whole.rotate(turned, expand=True)))

        assert [reason.code for reason in judge(detection, Rules()).reasons] == ["multiple_faces"]

    @pytest.mark.parametrize("roll", [-50, 50])
    def test_a_tilted_head_is_not_set_upright(
        self, roll: int, save: Save, portrait: Image.Image, faces: FaceBackend
    ) -> None:
        framed = Image.new("RGB", (300, 300), "grey")
        framed.paste(portrait.resize((150, 150 * portrait.height // portrait.width)), (75, 60))
        detection = faces.detect(save("tilted.jpg", framed.rotate(-roll, fillcolor="grey")))

        # A detector need not find a face that leans so far.
        assert [reason.code for reason in judge(detection, Rules()).reasons] in (["turned_away"], ["no_face"])
        assert not any(face.turned for face in detection.faces)

    @pytest.mark.parametrize("seed", range(4))
    def test_noise_and_landscapes_do_not_become_faces(self, seed: int, save: Save, faces: FaceBackend) -> None:
        for name, picture in landscapes(seed):
            for turned in (0, 90):
                found = faces.detect(save(f"{name}.jpg", picture.rotate(turned, expand=True))).faces
                assert found == (), name

    def test_a_face_of_twelve_pixels_never_raises(self, save: Save, portrait: Image.Image, faces: FaceBackend) -> None:
        tiny = Image.new("RGB", (320, 240), "white")
        tiny.paste(portrait.resize((24, 24)), (150, 100))

        assert len(faces.detect(save("tiny.png", tiny)).faces) <= 1


class TestPhotosShareCalls(TestInsightFace):
    """The same with calls of the models that threads share."""

    @pytest.fixture
    def analyser(self, sharing_analyser: Analyser) -> Analyser:
        return sharing_analyser


def landscapes(seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Draw pictures without a face: grain, clouds, hills below a sky, and stripes."""
    random, size = np.random.default_rng(seed), (480, 640)
    grain = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    clouds = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    hills = Image.new("RGB", size[::-1], "lightblue")
    for n in range(4):
        ridge = [(x, 200 + 60 * n + int(random.integers(0, 120))) for x in range(0, 641, 80)]
        colour = tuple(int(value) for value in random.integers(0, 160, 3))
        ImageDraw.Draw(hills).polygon([*ridge, (640, 480), (0, 480)], fill=colour)
    stripes = Image.fromarray(np.repeat(random.integers(0, 256, (480, 1, 3), dtype=np.uint8), 640, axis=1))
    yield from (("grain", Image.fromarray(grain)), ("clouds", clouds), ("hills", hills), ("stripes", stripes))


def test_the_workshops_faces_are_counted(workshop: Path, faces_of_a_pack: FaceBackend, photos: PhotoStore) -> None:
    files = ["1_happy_face.jpg", "2_sunglass_face.jpg", "3_multiple_faces.jpg", "4_no_face.jpg"]

    assert [len(faces_of_a_pack.detect(photos.find(str(workshop / name))).faces) for name in files] == [1, 1, 3, 0]


def test_the_workshops_sunglasses_are_seen_and_its_happy_face_passes(
    workshop: Path, faces_of_a_pack: FaceBackend, photos: PhotoStore
) -> None:
    def reasons(name: str) -> list[str]:
        detection = faces_of_a_pack.detect(photos.find(str(workshop / name)))
        return [reason.code for reason in judge(detection, Rules()).reasons]

    assert reasons("2_sunglass_face.jpg") == ["sunglasses"]
    assert reasons("1_happy_face.jpg") == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder.rmdir(), ["could not be downloaded", "SELFIEGATE_INSIGHTFACE__ROOT"]),
        (lambda folder: None, ["holds no .onnx files", "SELFIEGATE_INSIGHTFACE__PACK"]),
        (lambda folder: (folder / "x.onnx").write_bytes(b"no model"), ["is not a pack with a detector"]),
    ],
    ids=["absent", "empty", "broken"],
)
def test_a_pack_that_cannot_be_loaded_says_where_it_looked_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], words: list[str]
) -> None:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there: as good as offline
    folder = tmp_path / "models" / "some_pack"
    folder.mkdir(parents=True)
    make(folder)

    with pytest.raises(BackendMisconfigured) as error:
        InsightFaceAnalyser(PackSettings(pack="some_pack", root=tmp_path))
    assert all(word in str(error.value) for word in [str(folder), *words]), str(error.value)


@pytest.mark.parametrize("pack", ["../../etc", "a/b", "no such pack/.."])
def test_a_pack_is_a_name_or_a_folder(pack: str, tmp_path: Path) -> None:
    from selfiegate.backends.insightface.pack import pack_folder

    with pytest.raises(BackendMisconfigured, match="SELFIEGATE_INSIGHTFACE__PACK"):
        pack_folder(PackSettings(pack=pack, root=tmp_path))


def test_a_provider_that_is_not_there_is_named(pack: PackSettings) -> None:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

    with pytest.raises(BackendMisconfigured, match="no MoonExecutionProvider here, only"):
        InsightFaceAnalyser(pack.model_copy(update={"providers": ("MoonExecutionProvider",)}))


@pytest.fixture
def cuda_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """As onnxruntime-gpu without CUDA: the build has the provider, and sessions are made without it."""
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )


@pytest.mark.usefixtures("cuda_does_not_load")
@pytest.mark.parametrize("providers", [("CUDAExecutionProvider",), ("CUDAExecutionProvider", "CPUExecutionProvider")])
def test_a_provider_that_is_named_and_does_not_load_is_refused(pack: PackSettings, providers: tuple[str, ...]) -> None:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

    with pytest.raises(BackendMisconfigured) as error:
        InsightFaceAnalyser(pack.model_copy(update={"providers": providers}))
    words = ["CUDAExecutionProvider of SELFIEGATE_INSIGHTFACE__PROVIDERS did not load", "run on CPUExecutionProvider"]
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.usefixtures("cuda_does_not_load")
def test_a_device_that_was_not_asked_for_and_does_not_load_is_told_once(
    pack: PackSettings, caplog: pytest.LogCaptureFixture
) -> None:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

    devices = {InsightFaceAnalyser(pack).device for _ in range(2)}

    assert devices == {"CPUExecutionProvider, for CUDAExecutionProvider did not load"}
    assert [record.levelname for record in caplog.records if "did not load" in record.message].count("WARNING") == 1
