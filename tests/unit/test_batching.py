"""Detectors that take many pictures a call find in each what they find in it alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import insightface
import numpy as np
import onnx
import onnxruntime
import pytest
from insightface.app import FaceAnalysis
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from deployments.local.demo_photos import draw
from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
from selfiegate.backends.insightface.batching import KEPT, PIXELS, Unbatchable, batched_detector
from selfiegate.backends.insightface.detector import Detector
from selfiegate.backends.insightface.eyewear import one_thread
from selfiegate.backends.insightface.networks import EmbeddedTogether, Together, counts, rounded_up
from selfiegate.backends.insightface.pack import PackSettings, pack_folder
from selfiegate.backfill.processor import side_by_side
from selfiegate.cli.run_inline import backfilled
from selfiegate.errors import BackendUnavailable
from selfiegate.runtime import open_runtime, using
from selfiegate.settings import load_settings
from tests.conftest import SHARED

pytestmark = pytest.mark.weights

IMAGES = Path(insightface.__file__).parent / "data" / "images"
PACKS = ["selfiegate_tiny", "buffalo_sc_dequant", "scrfd25g_mbf_dequant"]

ROUNDING = 2e-5
"""Outputs are sums of about a thousand products of numbers about 1, in 24 bits: the order of a sum moves it by 1e-5."""

Batch = Callable[..., InsightFaceAnalyser]


@pytest.fixture(params=PACKS)
def named_pack(request: pytest.FixtureRequest) -> PackSettings:
    settings = PackSettings(pack=request.param, root=SHARED / "insightface")
    if request.param != "selfiegate_tiny" and not (settings.root / "models" / request.param).is_dir():
        pytest.skip(f"{request.param} is not beside this checkout")
    return settings


def detector_of(settings: PackSettings) -> Path:
    (file,) = pack_folder(settings).glob("det_*.onnx")
    return file


def session(model: bytes | Path) -> onnxruntime.InferenceSession:
    given = model if isinstance(model, bytes) else str(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def photos(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return photos with and without faces, (3, height, width, 3)."""
    crowd = Image.open(IMAGES / "t1.jpg").convert("RGB").resize(size)
    portrait = Image.open(IMAGES / "Tom_Hanks_54745.png").convert("RGB").resize(size)
    grain = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return np.stack([np.asarray(crowd), grain, np.asarray(portrait)])


@pytest.mark.parametrize("size", [(128, 128), (640, 640), (320, 192)])
def test_each_picture_of_a_batch_has_the_outputs_that_it_has_alone(
    named_pack: PackSettings, size: tuple[int, int]
) -> None:
    file, pixels = detector_of(named_pack), photos(size)
    alone, together = session(file), session(batched_detector(file, size))
    found = together.run(None, {PIXELS: pixels})
    levels = len(found) // 4

    for n, picture in enumerate(pixels):
        blob = ((picture.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
        expected = [part.reshape(-1, part.shape[-1]) for part in alone.run(None, {alone.get_inputs()[0].name: blob})]
        for level in range(levels):
            scores, sides, points, places = (part[n] for part in found[level::levels])
            every_score, *rest = expected[level::levels]
            surest = np.sort(every_score[:, 0])[::-1][: len(places)]
            np.testing.assert_allclose(scores[:, 0], surest, rtol=ROUNDING, atol=ROUNDING)
            for values, every in zip((scores, sides, points), (every_score, *rest), strict=True):
                np.testing.assert_allclose(values, every[places[:, 0]], rtol=ROUNDING, atol=ROUNDING)
            assert len(set(places[:, 0])) == len(places) == min(KEPT, len(every_score))


@pytest.mark.parametrize("name", ["eyewear.onnx", "eyes.onnx", "covering.onnx"])
def test_the_small_networks_take_many_faces_as_they_are(name: str) -> None:
    network = one_thread(name)
    given = network.get_inputs()[0]
    faces = np.random.default_rng(0).random((5, *given.shape[1:]), dtype=np.float32) * 255
    (together,) = network.run(None, {given.name: faces})
    alone = [network.run(None, {given.name: face[None]})[0][0] for face in faces]

    np.testing.assert_allclose(together, alone, rtol=ROUNDING, atol=ROUNDING)


def test_photos_that_share_calls_get_the_faces_and_embeddings_that_they_get_alone(named_pack: PackSettings) -> None:
    """A picture that is enlarged is rounded to whole levels, 1/255, which moves scores by some 0.001."""
    pictures = [Image.fromarray(one) for size in ((640, 640), (900, 700), (250, 250)) for one in photos(size)]
    alone = InsightFaceAnalyser(named_pack)
    together = InsightFaceAnalyser(named_pack.model_copy(update={"batch": 4}))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: together.analyse(one, one.size), pictures))
        faces = [[aligned] for seen in found for _, aligned in seen[:1]]
        embedded = list(pool.map(together.embed, faces))

    for picture, seen in zip(pictures, found, strict=True):
        expected = alone.analyse(picture, picture.size)
        assert len(seen) == len(expected)
        for (face, _), (other, _) in zip(seen, expected, strict=True):
            assert face.confidence == pytest.approx(other.confidence, abs=0.005)
            for side in ("left", "top", "width", "height"):
                assert getattr(face.box, side) == pytest.approx(getattr(other.box, side), abs=0.001)
            np.testing.assert_allclose(face.landmarks, other.landmarks, rtol=0, atol=0.001)
    np.testing.assert_allclose(np.concatenate(embedded), np.concatenate([alone.embed(one) for one in faces]), atol=1e-5)


def test_a_face_that_is_turned_is_as_sure_in_each_turn_as_alone(named_pack: PackSettings) -> None:
    alone = InsightFaceAnalyser(named_pack).detector
    together = InsightFaceAnalyser(named_pack.model_copy(update={"batch": 4})).detector
    turns = [np.ascontiguousarray(np.rot90(photos((128, 128))[2], n)) for n in range(4)]
    expected = alone.confidences(turns)

    assert together.confidences(turns) == pytest.approx(expected, abs=0.001)
    assert expected[0] > max(expected[1:]) + 0.05


def test_a_crowd_of_more_places_than_are_given_is_found_whole(named_pack: PackSettings) -> None:
    """A low threshold makes a crowd: of 3,200 places more than `KEPT` pass."""
    crowded = named_pack.model_copy(update={"detection_threshold": 0.01, "detection_sizes": (320,)})
    pixels = photos((640, 640))[0]
    boxes, landmarks = InsightFaceAnalyser(crowded).detector(pixels)
    found, points = InsightFaceAnalyser(crowded.model_copy(update={"batch": 4})).detector(pixels)

    assert len(found) == len(boxes)
    np.testing.assert_allclose(found, boxes, rtol=ROUNDING, atol=0.01)
    np.testing.assert_allclose(points, landmarks, rtol=ROUNDING, atol=0.01)


@pytest.mark.parametrize(("size", "planned"), [(1, [1]), (12, [1, 8, 12]), (64, [1, 8, 32, 64])])
def test_a_gpu_is_given_few_counts_of_pictures(size: int, planned: list[int]) -> None:
    assert sorted({rounded_up(count, counts(size)) for count in range(1, size + 1)}) == planned


def test_counts_that_are_rounded_up_change_nothing(named_pack: PackSettings) -> None:
    """As on a GPU: what fills up a call are pictures of an earlier call, or nothing."""
    app = FaceAnalysis(name=str(pack_folder(named_pack)), allowed_modules=["detection", "recognition"])
    app.prepare(ctx_id=0, det_thresh=0.5, det_size=[(128, 128)])
    detector = Detector(app.models["detection"], Together(app.models["detection"], 4, 0, padded=True))
    embedded = EmbeddedTogether(app.models["recognition"], 4, 0, padded=True)
    alone = InsightFaceAnalyser(named_pack.model_copy(update={"detection_sizes": (128,)}))
    turns = [np.ascontiguousarray(np.rot90(photos((128, 128))[2], n)) for n in range(4)]
    face = np.ascontiguousarray(photos((112, 112))[2])

    for picture in photos((128, 128)):
        for found, expected in zip(detector(picture), alone.detector(picture), strict=True):
            np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=0.001)
    assert detector.confidences(turns[:3]) == pytest.approx(alone.detector.confidences(turns[:3]), abs=0.001)
    features = embedded(face)
    np.testing.assert_allclose(features, app.models["recognition"].get_feat([face])[0], rtol=ROUNDING, atol=1e-4)


def test_a_graph_of_other_heads_is_not_rewritten(named_pack: PackSettings, tmp_path: Path) -> None:
    model = onnx.load(detector_of(named_pack))
    for node in model.graph.node:
        if node.op_type == "Transpose":
            node.attribute[0].ints[:] = [1, 0, 2, 3]
    onnx.save(model, tmp_path / "det.onnx")

    with pytest.raises(Unbatchable, match=r"transposes by \[1, 0, 2, 3\]"):
        batched_detector(tmp_path / "det.onnx", (128, 128))


def test_a_pack_of_which_no_graph_takes_more_has_one_photo_a_call(tmp_path: Path) -> None:
    """A backfill would have threads for photos that no call can take."""
    for file in pack_folder(PackSettings(pack="selfiegate_tiny")).glob("*.onnx"):
        model = onnx.load(file)
        name = model.graph.input[0].name
        for node in model.graph.node:
            node.input[:] = ["mixed" if one == name else one for one in node.input]
        model.graph.node.insert(0, helper.make_node("ReduceMean", [name], ["mean"], axes=[0], keepdims=1))
        model.graph.node.insert(1, helper.make_node("Sub", [name, "mean"], ["distance"]))
        model.graph.node.insert(2, helper.make_node("Add", [name, "distance"], ["mixed"]))
        onnx.save(model, tmp_path / file.name)

    assert InsightFaceAnalyser(PackSettings(pack=str(tmp_path), batch=4)).photos_a_call == 1


@pytest.mark.parametrize("mixes", [True, False])
def test_a_graph_that_mixes_pictures_runs_them_one_by_one(
    mixes: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Add to the input its distance from the pictures' mean, which is nothing for one picture alone."""
    folder = pack_folder(PackSettings(pack="selfiegate_tiny"))
    for file in folder.glob("*.onnx"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = onnx.load(tmp_path / "det_tiny.onnx")
    graph, name = model.graph, model.graph.input[0].name
    for node in graph.node:
        node.input[:] = ["mixed" if one == name else one for one in node.input]
    graph.initializer.append(numpy_helper.from_array(np.array([float(mixes)], np.float32), "share"))
    graph.node.insert(0, helper.make_node("ReduceMean", [name], ["mean"], axes=[0], keepdims=1))
    graph.node.insert(1, helper.make_node("Sub", [name, "mean"], ["distance"]))
    graph.node.insert(2, helper.make_node("Mul", ["distance", "share"], ["weighed"]))
    graph.node.insert(3, helper.make_node("Add", [name, "weighed"], ["mixed"]))
    onnx.save(model, tmp_path / "det_tiny.onnx")
    picture = Image.fromarray(photos((640, 640))[0])
    analyser = InsightFaceAnalyser(PackSettings(pack=str(tmp_path), batch=4))
    found = analyser.analyse(picture, picture.size)

    said = [one.getMessage() for one in caplog.records if "takes one photo a call" in one.getMessage()]
    assert len(said) == mixes
    assert len(found) == len(InsightFaceAnalyser(PackSettings(pack="selfiegate_tiny")).analyse(picture, picture.size))


def test_a_backfill_whose_photos_share_calls_reaches_the_same_verdicts(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    for user in ("ann", "bob"):
        (source / user).mkdir(parents=True)
        draw(source / user)

    def verdicts(batch: int) -> tuple[int, dict[str, Any]]:
        pack = PackSettings(pack="selfiegate_tiny", batch=batch)
        settings = load_settings().model_copy(update={"home": tmp_path / f"home {batch}", "insightface": pack})
        with using(open_runtime(settings)) as rt:
            found, ended_well = backfilled(
                lambda done, total: None,
                source=str(source), key_template="{user_id}/{name}", order="key", dry_run=False, notify=False,
                engine="threads", dask=None, workers=None, tolerate=0.0, report=None, html=None,
            )  # fmt: skip
            assert ended_well
            return side_by_side(rt), {name: found[name] for name in ("photos", "accepted", "rejected", "reasons")}

    threads, together = verdicts(batch=4)

    assert threads == 8
    assert together == verdicts(batch=1)[1]
    assert together["photos"] == 10


@pytest.mark.parametrize("batch", [1, 4])
def test_no_session_goes_on_without_its_device(batch: int) -> None:
    """Onnxruntime would go on with the CPU, and say so on stdout alone."""
    analyser = InsightFaceAnalyser(PackSettings(pack="selfiegate_tiny", batch=batch))
    sessions = [analyser.recogniser.session, *analyser.detector.sessions]

    assert not any(one._enable_fallback for one in sessions)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_model_that_fails_does_not_answer_now(batch: int, tmp_path: Path) -> None:
    """A GPU without memory is no fault of the photo, which would be left out for good. Here bright faces fail."""
    for file in pack_folder(PackSettings(pack="selfiegate_tiny")).glob("*.onnx"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (recogniser,) = (file for file in tmp_path.glob("*.onnx") if not file.name.startswith("det"))
    model = onnx.load(recogniser)
    graph, name, output = model.graph, model.graph.input[0].name, model.graph.output[0].name
    for node in graph.node:
        node.output[:] = ["features" if one == output else one for one in node.output]
    for constant, value in (("row", np.array([-1])), ("width", np.array([512]))):
        graph.initializer.append(numpy_helper.from_array(value, constant))
    graph.node.append(helper.make_node("ReduceMean", [name], ["level"], keepdims=0))
    graph.node.append(helper.make_node("Cast", ["level"], ["bright"], to=onnx.TensorProto.INT64))
    graph.node.append(helper.make_node("Add", ["width", "bright"], ["wide"]))
    graph.node.append(helper.make_node("Concat", ["row", "wide"], ["shape"], axis=0))
    graph.node.append(helper.make_node("Reshape", ["features", "shape"], [output]))
    onnx.save(model, recogniser)
    analyser = InsightFaceAnalyser(PackSettings(pack=str(tmp_path), batch=batch))

    with pytest.raises(BackendUnavailable, match="onnxruntime failed on CPUExecutionProvider"):
        analyser.embed([np.full((112, 112, 3), 255, np.uint8)])
    assert analyser.embed([np.full((112, 112, 3), 100, np.uint8)]).shape == (1, 512)
