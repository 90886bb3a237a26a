"""Photos in buckets that Rekognition cannot read: of another region, or of another store, such as MinIO."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.backends.rekognition import RekognitionBackend
from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.decoding.decode import Limits
from selfiegate.errors import PhotoRejected
from selfiegate.face import Box, Face
from selfiegate.model import PhotoRef
from selfiegate.stores.s3 import S3Photos
from tests.rekognition import RekognitionServer

FAR = "far-photos"
"""A versioned bucket of another region."""


@pytest.fixture
def far(aws: AwsSettings) -> AwsSettings:
    s3 = boto3.client("s3", endpoint_url=aws.endpoint_url, region_name="us-west-2")
    s3.create_bucket(Bucket=FAR, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_bucket_versioning(Bucket=FAR, VersioningConfiguration={"Status": "Enabled"})
    return aws


def backend(aws: AwsSettings) -> RekognitionBackend:
    """Open the collection as another process would."""
    return RekognitionBackend(aws, S3Photos(aws, Limits()), Limits())


def upload(aws: AwsSettings, key: str, data: bytes, bucket: str = FAR) -> PhotoRef:
    client("s3", aws).put_object(Bucket=bucket, Key=key, Body=data)
    return S3Photos(aws, Limits()).find(f"s3://{bucket}/{key}")


def test_photos_of_another_region_are_enrolled_and_told_apart(far: AwsSettings, scripted_rekognition: Any) -> None:
    faces, ann = backend(far), upload(far, "ann.png", scripted_photo("ann"))
    again, bob = upload(far, "again.png", scripted_photo("ann~")), upload(far, "bob.png", scripted_photo("bob"))

    assert len(faces.detect(ann).faces) == 1
    face_id = faces.enrol(ann, "user_a")
    assert [match.user_id for match in faces.search(again, "user_b")] == ["user_a"]
    assert faces.search(bob, "user_b") == []
    assert [match.face_id for match in faces.rivals(faces.enrol(again, "user_b"), "user_b")] == [face_id]
    assert scripted_rekognition.violations == []


def test_only_the_first_photo_of_such_a_bucket_costs_a_refused_call(
    far: AwsSettings, scripted_rekognition: Any, caplog: pytest.LogCaptureFixture
) -> None:
    faces = backend(far)
    for name in ("ann", "bob", "eve"):
        faces.detect(upload(far, f"{name}.png", scripted_photo(name)))
    images = [asked["image"] for asked in scripted_rekognition.detections]

    assert images == ["S3Object", "Bytes", "Bytes", "Bytes"]
    assert caplog.text.count(f"Rekognition cannot read the bucket {FAR}") == 1


def test_a_photo_that_is_gone_there_is_an_outcome_and_says_nothing_of_its_bucket(
    aws: AwsSettings, scripted_rekognition: Any
) -> None:
    faces, ann = backend(aws), upload(aws, "ann.png", scripted_photo("ann"), "photos")
    faces.detect(ann)
    client("s3", aws).delete_object(Bucket=ann.bucket, Key=ann.key, VersionId=ann.version)
    with pytest.raises(PhotoRejected, match="unreadable_photo"):
        faces.search(ann, "user_a")
    faces.detect(upload(aws, "bob.png", scripted_photo("bob"), "photos"))

    assert [asked["image"] for asked in scripted_rekognition.detections] == ["S3Object", "S3Object"]


def test_photos_of_a_store_that_aws_does_not_know_are_enrolled(aws: AwsSettings) -> None:
    with RekognitionServer(ScriptedAnalyser()) as server:  # it knows no S3 at all
        here = aws.model_copy(update={"rekognition_endpoint_url": server.url})
        client("rekognition", here).create_collection(CollectionId=here.collection)
        ann = upload(here, "ann.png", scripted_photo("ann"), "photos")
        face_id = backend(here).enrol(ann, "user_a")

        assert backend(here).enrol(ann, "user_a") == face_id
        assert [match.face_id for match in backend(here).search(ann, "user_b")] == [face_id]


class Anybody(ScriptedAnalyser):
    """Sees one face, the same in every picture: for pictures that no script survives."""

    def analyse(self, picture: Image.Image, size: tuple[int, int]) -> Sequence[tuple[Face, NDArray[np.uint8]]]:
        box = Box(left=0.2, top=0.2, width=0.6, height=0.6)
        return [(Face(box=box, confidence=0.9), np.frombuffer(b"anybody", np.uint8))]


@pytest.fixture
def noisy(far: AwsSettings) -> Iterator[AwsSettings]:
    with RekognitionServer(Anybody(), far.endpoint_url) as server:
        here = far.model_copy(update={"rekognition_endpoint_url": server.url})
        client("rekognition", here).create_collection(CollectionId=here.collection)
        yield here
        assert server.violations == []


def noise(side: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def test_a_photo_above_5_mb_goes_as_one_smaller_jpeg_also_on_a_retry(noisy: AwsSettings) -> None:
    photo = upload(noisy, "large.png", noise(1500))
    face_id = backend(noisy).enrol(photo, "user_a")
    image, size = backend(noisy)._images.inline(photo)

    assert backend(noisy).enrol(photo, "user_a") == face_id  # IndexFaces knew the bytes again
    assert image["Bytes"].startswith(b"\xff\xd8\xff")
    assert size == (1500, 1500)


def test_a_jpeg_that_is_itself_above_5_mb_is_made_smaller(noisy: AwsSettings) -> None:
    photo, limits = upload(noisy, "large.png", noise(2200)), Limits(working_side=2200)
    faces = [RekognitionBackend(noisy, S3Photos(noisy, limits), limits) for _ in range(2)]
    first, again = (one._images.inline(photo)[0]["Bytes"] for one in faces)

    assert len(first) <= 5 * 2**20
    assert first == again
    assert faces[0].enrol(photo, "user_a") == faces[1].enrol(photo, "user_a")


def test_a_photo_too_narrow_for_rekognition_is_refused_and_not_tried_for_ever(aws: AwsSettings) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (400, 8000)).save(out, "PNG")
    client("s3", aws).create_bucket(Bucket=FAR, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client("s3", aws).put_bucket_versioning(Bucket=FAR, VersioningConfiguration={"Status": "Enabled"})

    assert backend(aws).detect(upload(aws, "long.png", out.getvalue())).unusable == "photo_too_small"
