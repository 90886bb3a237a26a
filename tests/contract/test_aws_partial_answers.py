"""Answers of AWS that are called a success and are only a part of one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.backends.rekognition import RekognitionBackend
from selfiegate.backends.rekognition_removal import remove_face
from selfiegate.backends.scripted import scripted_photo
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, PhotoRejected
from selfiegate.model import PhotoRef
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime, memory_runtime
from selfiegate.steps import inline
from selfiegate.stores.s3 import S3Photos, S3Thumbnails
from tests.aws.local import PHOTOS, THUMBNAILS
from tests.aws.proxy import Proxy
from tests.present import present


@pytest.fixture
def faces(aws: AwsSettings) -> RekognitionBackend:
    return RekognitionBackend(aws, S3Photos(aws, Limits()), Limits())


def upload(aws: AwsSettings, key: str, data: bytes) -> PhotoRef:
    client("s3", aws).put_object(Bucket=PHOTOS, Key=key, Body=data)
    return S3Photos(aws, Limits()).find(f"s3://{PHOTOS}/{key}")


@pytest.fixture
def tied(aws: AwsSettings, faces: RekognitionBackend) -> str:
    """A face of ann's that another program has associated with a user of Rekognition."""
    face_id = faces.enrol(upload(aws, "ann.png", scripted_photo("ann")), "ann")
    there = {"CollectionId": aws.collection, "UserId": "rider-7"}
    client("rekognition", aws).create_user(**there)
    client("rekognition", aws).associate_faces(**there, FaceIds=[face_id])
    return face_id


def test_a_face_of_a_rekognition_user_is_removed(
    faces: RekognitionBackend, tied: str, scripted_rekognition: Any
) -> None:
    scripted_rekognition.calls.clear()
    faces.remove(tied)
    calls = dict(scripted_rekognition.calls)

    assert not faces.holds(tied)
    assert calls == {"DeleteFaces": 2, "DisassociateFaces": 1}


def test_a_face_that_is_not_there_takes_one_call(faces: RekognitionBackend, scripted_rekognition: Any) -> None:
    scripted_rekognition.calls.clear()
    faces.remove("00000000-0000-0000-0000-000000000000")

    assert scripted_rekognition.calls == {"DeleteFaces": 1}


@pytest.mark.parametrize(
    ("code", "error"),
    [("AccessDeniedException", BackendMisconfigured), ("ConflictException", BackendUnavailable)],
)
def test_a_face_that_stays_is_never_called_removed(
    faces: RekognitionBackend, tied: str, scripted_rekognition: Any, code: str, error: type[Exception]
) -> None:
    scripted_rekognition.switches.fail("DisassociateFaces", code)

    with pytest.raises(error, match="rekognition:DisassociateFaces"):
        faces.remove(tied)
    assert faces.holds(tied)


def test_a_face_that_is_tied_again_meanwhile_is_never_called_removed(
    aws: AwsSettings, faces: RekognitionBackend, tied: str
) -> None:
    def ask(operation: str, **arguments: Any) -> Any:
        answer = faces._ask(operation, **arguments)
        if operation == "disassociate_faces":  # the other program is faster than our second try
            there = {"CollectionId": aws.collection, "UserId": "rider-7"}
            client("rekognition", aws).associate_faces(**there, FaceIds=[tied])
        return answer

    with pytest.raises(BackendUnavailable, match=r"kept the face .*: ASSOCIATED_TO_AN_EXISTING_USER.*rider-7"):
        remove_face(ask, tied)
    assert faces.holds(tied)


def forget(rt: Runtime) -> None:
    asyncio.run(forget_user(rt, inline(rt, attempts=1), "ann", "run", sleep=lambda _: asyncio.sleep(0)))


def test_an_erasure_removes_a_face_of_a_rekognition_user(faces: RekognitionBackend, tied: str) -> None:
    rt = replace(memory_runtime(), faces=faces)
    forget(rt)

    assert present(rt.erasures.get("ann")).removed == {"face": 1}
    assert not faces.holds(tied)


def test_an_erasure_that_cannot_remove_a_face_is_not_finished_and_says_why(
    faces: RekognitionBackend, tied: str, scripted_rekognition: Any
) -> None:
    scripted_rekognition.switches.fail("DisassociateFaces", "AccessDeniedException")
    rt = replace(memory_runtime(), faces=faces)
    with pytest.raises(BackendMisconfigured):
        forget(rt)
    erasure = present(rt.erasures.get("ann"))

    assert (erasure.finished_at, erasure.removed) == (None, {})
    assert "rekognition:DisassociateFaces" in erasure.problem
    assert faces.holds(tied)


def test_faces_that_are_told_on_a_second_page_are_there(
    aws: AwsSettings, faces: RekognitionBackend, scripted_rekognition: Any
) -> None:
    ids = {faces.enrol(upload(aws, f"{n}.png", scripted_photo(f"person {n}")), f"user {n}") for n in range(3)}
    scripted_rekognition.switches.list_most(1)

    assert faces.held(ids) == ids


def test_a_face_that_is_not_indexed_has_each_reason(aws: AwsSettings) -> None:
    strict = RekognitionBackend(aws.model_copy(update={"quality_filter": "HIGH"}), S3Photos(aws, Limits()), Limits())
    photo = upload(aws, "x.png", scripted_photo("ann", sharpness=1.0, brightness=1.0, yaw=80.0))

    with pytest.raises(PhotoRejected) as refused:
        strict.enrol(photo, "user_a")
    assert set(refused.value.codes) == {"blurred", "too_dark", "turned_away"}


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_a_removed_thumbnail_leaves_no_older_version(aws: AwsSettings, status: str) -> None:
    s3, thumbnails = client("s3", aws), S3Thumbnails(aws)
    s3.put_bucket_versioning(Bucket=THUMBNAILS, VersioningConfiguration={"Status": "Enabled"})
    for key in ("ann/photo/250.jpg", "ann/photo/250.jpg", "ann/photo/250.jpg.bak", "older.jpg"):
        thumbnails.put(key, b"small", "image/jpeg")
    s3.put_bucket_versioning(Bucket=THUMBNAILS, VersioningConfiguration={"Status": status})
    thumbnails.remove("ann/photo")
    thumbnails.erase(f"s3://{THUMBNAILS}/older.jpg")

    left = s3.list_object_versions(Bucket=THUMBNAILS)
    assert (left.get("Versions", []), left.get("DeleteMarkers", [])) == ([], [])


def test_a_thumbnail_whose_versions_stay_is_never_called_gone(aws: AwsSettings) -> None:
    s3, proxy = client("s3", aws), Proxy(str(aws.endpoint_url))
    s3.put_bucket_versioning(Bucket=THUMBNAILS, VersioningConfiguration={"Status": "Enabled"})
    thumbnails = S3Thumbnails(aws.model_copy(update={"s3_endpoint_url": proxy.url}))
    thumbnails.put("ann/photo/250.jpg", b"small", "image/jpeg")
    proxy.fail("s3:GetObject", "refuse_key", 2)  # its name for ListObjectVersions
    for _ in range(2):
        with pytest.raises(BackendMisconfigured, match="DeleteObjectVersion"):
            thumbnails.remove("ann/photo")
    thumbnails.remove("ann/photo")
    proxy.close()

    left = s3.list_object_versions(Bucket=THUMBNAILS)
    assert (left.get("Versions", []), left.get("DeleteMarkers", [])) == ([], [])
