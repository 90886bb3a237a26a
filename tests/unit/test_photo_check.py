"""The library call: `selfiegate.check`."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import selfiegate
from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.scripted import scripted_photo
from selfiegate.errors import WrongInput
from selfiegate.photo_check import PhotoChecker, checker
from selfiegate.settings import Settings

WITHOUT = """
import sys
import selfiegate
assert not {{"numpy", "PIL", "pydantic"}} & sys.modules.keys()
sys.modules[{absent!r}] = None
try:
    selfiegate.check({photo!r})
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.weights
@pytest.mark.usefixtures("pack")
@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("1_happy_face.jpg", []),
        ("2_sunglass_face.jpg", ["sunglasses"]),
        ("3_multiple_faces.jpg", ["multiple_faces"]),
        ("4_no_face.jpg", ["no_face"]),
    ],
)
def test_a_photo_is_judged_by_path_or_bytes_and_nothing_is_stored(name: str, codes: list[str], workshop: Path) -> None:
    photo = workshop / name
    found = selfiegate.check(photo)

    assert (found.usable, [reason.code for reason in found.reasons]) == (not codes, codes)
    assert found == selfiegate.check(str(photo)) == selfiegate.check(photo.read_bytes())
    assert not Path(os.environ["SELFIEGATE_HOME"]).exists()


@pytest.mark.weights
@pytest.mark.usefixtures("pack")
def test_the_models_are_loaded_once_for_all_threads(workshop: Path) -> None:
    photo = (workshop / "1_happy_face.jpg").read_bytes()
    with ThreadPoolExecutor(4) as threads:
        checkers = {threads.submit(checker).result() for _ in range(4)}
        found = list(threads.map(selfiegate.check, [photo] * 8))

    assert len(checkers) == 1
    assert [judgement.usable for judgement in found] == [True] * 8


@pytest.mark.weights
@pytest.mark.usefixtures("pack")
def test_what_cannot_be_read_is_a_reason_and_what_is_not_there_an_error(tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(25_000_001))
    large, given = selfiegate.check(tmp_path / "large.jpg"), selfiegate.check(bytes(25_000_001))

    assert large == given
    assert [reason.code for reason in large.reasons] == ["photo_too_large"]
    assert [reason.code for reason in selfiegate.check(b"GIF89a").reasons] == ["unsupported_format"]
    with pytest.raises(WrongInput, match=r"nobody\.jpg"):
        selfiegate.check("nobody.jpg")


@pytest.mark.parametrize("in_s3", [False, True])
def test_rekognition_judges_bytes_and_objects_in_s3(in_s3: bool, aws: AwsSettings) -> None:
    from selfiegate.stores.s3 import S3Photos

    settings, photo = Settings(backend="rekognition", aws=aws), scripted_photo("ann", sunglasses=0.9)
    uri = S3Photos(aws, settings.photos).put("photos", "ann.png", photo, {}).uri
    found = PhotoChecker(settings).check(uri if in_s3 else photo)

    assert [reason.code for reason in found.reasons] == ["sunglasses"]


@pytest.mark.parametrize(
    ("absent", "extra", "photo"),
    [
        ("cv2", "insightface", "a.jpg"), ("onnxruntime", "insightface", "a.jpg"),
        ("insightface", "insightface", "a.jpg"),
        ("boto3", "aws", "s3://photos/a.jpg"), ("botocore", "aws", "s3://photos/a.jpg"),
    ],
)  # fmt: skip
def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it(absent: str, extra: str, photo: str) -> None:
    code = WITHOUT.format(absent=absent, photo=photo)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == f"BackendMisconfigured {absent} is not installed; pip install 'selfiegate[{extra}]'\n"
