"""The Rekognition endpoint that the AWS tests stand on: real boto3 over the wire, S3 by moto's server."""

from __future__ import annotations

import base64
import http.client
import io
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from PIL import Image

from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.face import Box, Face
from tests.present import present
from tests.rekognition import OPERATIONS, RekognitionServer
from tests.rekognition.details import quality_reasons
from tests.rekognition.images import Look
from tests.rekognition.operations import largest

KEYS = {"region_name": "us-east-1", "aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
ONCE = Config(parameter_validation=False, retries={"total_max_attempts": 1})
"""One attempt, and wrong requests reach the endpoint."""

NOBODY_ID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def s3(moto: str) -> Any:
    requests.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    client = boto3.client("s3", endpoint_url=moto, **KEYS)
    client.create_bucket(Bucket="photos")
    client.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    return client


@pytest.fixture(scope="module")
def running(s3: Any) -> Iterator[RekognitionServer]:
    with RekognitionServer(ScriptedAnalyser(), s3.meta.endpoint_url) as server:
        yield server


@pytest.fixture(scope="module")
def client(running: RekognitionServer) -> Any:
    return boto3.client("rekognition", endpoint_url=running.url, config=ONCE, **KEYS)


@pytest.fixture
def server(running: RekognitionServer, client: Any) -> Iterator[RekognitionServer]:
    running.reset()
    client.create_collection(CollectionId="faces")
    running.calls.clear()
    yield running
    assert running.violations == []


def shows(*people: str, **attributes: Any) -> dict[str, bytes]:
    return {"Bytes": scripted_photo(*people, **attributes)}


def encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def index(client: Any, *people: str, user: str | None = None, **options: Any) -> list[str]:
    """Index a photo of these people for a user, the first of them by default; return the FaceIds."""
    answer = client.index_faces(
        CollectionId="faces", Image=shows(*people), ExternalImageId=user or people[0].rstrip("~"), **options
    )
    return [record["Face"]["FaceId"] for record in answer["FaceRecords"]]


def found_by_image(client: Any, *people: str, **options: Any) -> list[str]:
    answer = client.search_faces_by_image(CollectionId="faces", Image=shows(*people), **options)
    return [match["Face"]["FaceId"] for match in answer["FaceMatches"]]


def found_by_face(client: Any, face_id: str) -> list[str]:
    answer = client.search_faces(CollectionId="faces", FaceId=face_id)
    return [match["Face"]["FaceId"] for match in answer["FaceMatches"]]


def error_of(call: Callable[..., Any], **parameters: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as refused:
        call(**parameters)
    answer = refused.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def control(server: RekognitionServer, settings: object = None, path: str = "/_control") -> dict[str, Any]:
    body = None if settings is None else json.dumps(settings).encode()
    with urllib.request.urlopen(server.url + path, body) as answer:  # noqa: S310
        return dict(json.load(answer))


# Collections


def test_a_collection_is_created_described_listed_and_deleted(server: RekognitionServer, client: Any) -> None:
    created = client.create_collection(CollectionId="more", Tags={"team": "selfies"})
    index(client, "ann", "bob")
    described = client.describe_collection(CollectionId="faces")
    listed = client.list_collections()["CollectionIds"]
    client.delete_collection(CollectionId="more")

    assert (created["StatusCode"], created["FaceModelVersion"]) == (200, "7.0")
    assert (described["FaceCount"], described["FaceModelVersion"]) == (2, "7.0")
    assert described["CollectionARN"] == "arn:aws:rekognition:us-east-1:123456789012:collection/faces"
    assert abs(described["CreationTimestamp"].timestamp() - time.time()) < 60
    assert listed == ["faces", "more"]
    assert client.list_collections()["CollectionIds"] == ["faces"]


def test_a_collection_is_created_once(server: RekognitionServer, client: Any) -> None:
    assert error_of(client.create_collection, CollectionId="faces") == ("ResourceAlreadyExistsException", 400)


def test_an_unknown_collection_is_an_error_of_every_operation_on_it(server: RekognitionServer, client: Any) -> None:
    there, image = {"CollectionId": "nowhere"}, {"Image": shows("ann")}
    calls: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (client.delete_collection, {}),
        (client.describe_collection, {}),
        (client.index_faces, image),
        (client.search_faces_by_image, image),
        (client.search_faces, {"FaceId": NOBODY_ID}),
        (client.list_faces, {}),
        (client.delete_faces, {"FaceIds": [NOBODY_ID]}),
        (client.list_users, {}),
        (client.create_user, {"UserId": "ann"}),
        (client.delete_user, {"UserId": "ann"}),
        (client.associate_faces, {"UserId": "ann", "FaceIds": [NOBODY_ID]}),
        (client.disassociate_faces, {"UserId": "ann", "FaceIds": [NOBODY_ID]}),
    ]

    assert {error_of(call, **there, **more) for call, more in calls} == {("ResourceNotFoundException", 400)}


# Detection


def test_detection_tells_the_default_attributes(server: RekognitionServer, client: Any) -> None:
    (face,) = client.detect_faces(Image=shows("ann", yaw=-12.0, pitch=5.0, roll=3.0))["FaceDetails"]

    assert set(face) == {"BoundingBox", "Confidence", "Pose", "Quality", "Landmarks"}
    assert face["Pose"] == {"Yaw": -12.0, "Pitch": 5.0, "Roll": 3.0}
    assert face["Quality"] == {"Brightness": 80.0, "Sharpness": 90.0}
    assert {mark["Type"] for mark in face["Landmarks"]} == {"eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight"}


@pytest.mark.parametrize(
    ("turned", "roll", "box"), [(90, -87, (0.2, 0.1)), (180, -177, (0.1, 0.2)), (270, 93, (0.2, 0.1))]
)
def test_a_turned_face_is_told_where_it_lies_in_the_image(
    server: RekognitionServer, client: Any, turned: int, roll: float, box: tuple[float, float]
) -> None:
    """As AWS does: `OrientationCorrection` is always null, and no image without EXIF is turned."""
    (face,) = client.detect_faces(Image=shows("ann", turned=turned, roll=3.0))["FaceDetails"]

    assert face["Pose"]["Roll"] == roll
    assert (face["BoundingBox"]["Left"], face["BoundingBox"]["Top"]) == pytest.approx(box)


def test_detection_adds_the_attributes_asked_for(server: RekognitionServer, client: Any) -> None:
    asked = ["DEFAULT", "SUNGLASSES", "EYEGLASSES", "EYES_OPEN", "FACE_OCCLUDED"]
    image = shows("ann", sunglasses=0.9, eyes_open=0.2)
    (face,) = client.detect_faces(Image=image, Attributes=asked)["FaceDetails"]
    (whole,) = client.detect_faces(Image=image, Attributes=["ALL"])["FaceDetails"]

    assert face["Sunglasses"] == {"Value": True, "Confidence": pytest.approx(90)}
    assert face["EyesOpen"] == {"Value": False, "Confidence": pytest.approx(80)}
    assert (face["Eyeglasses"]["Value"], face["FaceOccluded"]["Value"]) == (False, True)
    assert "Smile" not in face
    assert {*face, "Smile", "AgeRange", "Emotions", "Gender", "EyeDirection"} <= set(whole)


def test_the_eyes_lie_as_far_apart_as_the_script_says(server: RekognitionServer, client: Any) -> None:
    (face,) = client.detect_faces(Image=shows("ann", eye_distance=64))["FaceDetails"]
    x = {mark["Type"]: mark["X"] for mark in face["Landmarks"]}

    assert (x["eyeRight"] - x["eyeLeft"]) * 320 == pytest.approx(64)


def test_it_is_remembered_what_each_detection_asked_for(server: RekognitionServer, client: Any, s3: Any) -> None:
    s3.put_object(Bucket="photos", Key="ann.png", Body=scripted_photo("ann"))
    client.detect_faces(Image={"S3Object": {"Bucket": "photos", "Name": "ann.png"}}, Attributes=["SUNGLASSES"])
    client.detect_faces(Image=shows("ann"))

    assert server.detections == [
        {"image": "S3Object", "attributes": ["SUNGLASSES"]},
        {"image": "Bytes", "attributes": []},
    ]


# Images


def test_an_image_is_read_from_s3_in_the_version_asked_for(server: RekognitionServer, client: Any, s3: Any) -> None:
    old = s3.put_object(Bucket="photos", Key="a b.png", Body=scripted_photo("ann"))["VersionId"]
    s3.put_object(Bucket="photos", Key="a b.png", Body=scripted_photo("ann", "bob"))
    place = {"Bucket": "photos", "Name": "a b.png"}

    assert len(client.detect_faces(Image={"S3Object": place})["FaceDetails"]) == 2
    assert len(client.detect_faces(Image={"S3Object": {**place, "Version": old}})["FaceDetails"]) == 1


@pytest.mark.parametrize(
    "place",
    [
        {"Bucket": "photos", "Name": "missing.png"},
        {"Bucket": "no-such-bucket", "Name": "ann.png"},
        {"Bucket": "photos", "Name": "missing.png", "Version": "none"},
        {"Bucket": "photos"},
    ],
)
def test_an_object_that_is_not_there_is_an_error(server: RekognitionServer, client: Any, place: dict[str, str]) -> None:
    assert error_of(client.detect_faces, Image={"S3Object": place}) == ("InvalidS3ObjectException", 400)


def test_a_bucket_of_another_region_cannot_be_read(server: RekognitionServer, client: Any, s3: Any) -> None:
    s3.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="far", Key="ann.png", Body=scripted_photo("ann"))
    image = {"S3Object": {"Bucket": "far", "Name": "ann.png"}}
    there = in_region(server, "eu-west-1")

    assert error_of(client.detect_faces, Image=image) == ("InvalidS3ObjectException", 400)
    assert len(there.detect_faces(Image=image)["FaceDetails"]) == 1


def test_each_region_has_collections_of_its_own(server: RekognitionServer, client: Any) -> None:
    there = in_region(server, "eu-west-1")
    there.create_collection(CollectionId="european")
    arn = there.describe_collection(CollectionId="european")["CollectionARN"]

    assert arn == "arn:aws:rekognition:eu-west-1:123456789012:collection/european"
    assert client.list_collections()["CollectionIds"] == ["faces"]
    assert error_of(there.describe_collection, CollectionId="faces") == ("ResourceNotFoundException", 400)


def in_region(server: RekognitionServer, name: str) -> Any:
    return boto3.client("rekognition", endpoint_url=server.url, config=ONCE, **{**KEYS, "region_name": name})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encoded(Image.new("RGB", (200, 200)), "WEBP"), "InvalidImageFormatException"),
        (b"\xff\xd8\xff rest is missing", "InvalidImageFormatException"),
        (encoded(Image.new("RGB", (200, 79)), "PNG"), "InvalidParameterException"),
        (encoded(Image.new("RGB", (79, 200)), "JPEG"), "InvalidParameterException"),
        (b"\xff\xd8\xff" + bytes(5 * 1024 * 1024), "ValidationException"),
    ],
    ids=["webp", "damaged", "low", "narrow", "more than 5 MB"],
)
def test_an_image_must_keep_the_limits(server: RekognitionServer, client: Any, data: bytes, code: str) -> None:
    assert error_of(client.detect_faces, Image={"Bytes": data}) == (code, 400)


def test_an_object_may_be_larger_than_inline_bytes_but_not_without_end(
    server: RekognitionServer, client: Any, s3: Any
) -> None:
    photo = scripted_photo("ann")
    s3.put_object(Bucket="photos", Key="large.png", Body=photo + bytes(6_000_000))
    s3.put_object(Bucket="photos", Key="huge.png", Body=photo + bytes(15 * 1024 * 1024))

    def image(name: str) -> dict[str, Any]:
        return {"S3Object": {"Bucket": "photos", "Name": name}}

    assert len(client.detect_faces(Image=image("large.png"))["FaceDetails"]) == 1
    assert error_of(client.detect_faces, Image=image("huge.png")) == ("ImageTooLargeException", 400)


@pytest.mark.parametrize("image", [{}, {**shows("ann"), "S3Object": {"Bucket": "photos", "Name": "ann.png"}}])
def test_an_image_is_either_bytes_or_an_object(server: RekognitionServer, client: Any, image: dict[str, Any]) -> None:
    assert error_of(client.detect_faces, Image=image) == ("InvalidParameterException", 400)


# Indexing


def test_an_indexed_face_is_recorded_with_its_details(server: RekognitionServer, client: Any) -> None:
    answer = client.index_faces(
        CollectionId="faces", Image=shows("ann"), ExternalImageId="user:1", DetectionAttributes=["SUNGLASSES"]
    )
    (record,) = answer["FaceRecords"]

    assert answer["FaceModelVersion"] == "7.0"
    assert record["Face"]["ExternalImageId"] == "user:1"
    assert record["Face"]["BoundingBox"] == record["FaceDetail"]["BoundingBox"]
    assert record["FaceDetail"]["Sunglasses"]["Value"] is False


def test_the_same_image_under_the_same_external_id_is_stored_once(server: RekognitionServer, client: Any) -> None:
    first, again, other = index(client, "ann"), index(client, "ann"), index(client, "ann", user="bob")

    assert first == again != other
    assert client.describe_collection(CollectionId="faces")["FaceCount"] == 2


def test_without_an_external_id_every_call_stores_a_face(server: RekognitionServer, client: Any) -> None:
    for _ in range(2):
        client.index_faces(CollectionId="faces", Image=shows("ann"))
    faces = client.list_faces(CollectionId="faces")["Faces"]

    assert len({face["FaceId"] for face in faces}) == 2
    assert len({face["ImageId"] for face in faces}) == 1
    assert all("ExternalImageId" not in face for face in faces)


def test_a_deleted_face_is_indexed_anew(server: RekognitionServer, client: Any) -> None:
    first = index(client, "ann")
    client.delete_faces(CollectionId="faces", FaceIds=first)

    assert index(client, "ann") != first


def test_the_largest_faces_are_indexed_and_the_others_told(server: RekognitionServer, client: Any) -> None:
    answer = client.index_faces(CollectionId="faces", Image=shows("ann", "bob", "cem"), MaxFaces=1)

    assert len(answer["FaceRecords"]) == 1
    assert [face["Reasons"] for face in answer["UnindexedFaces"]] == [["EXCEEDS_MAX_FACES"]] * 2


def test_of_too_many_faces_poor_ones_are_left_out_before_small_ones() -> None:
    widths, sharpness = (0.4, 0.3, 0.2), (2, 90, 90)
    faces = [
        Face(box=Box(left=0, top=0, width=width, height=0.5), confidence=0.9, sharpness=sharp)
        for width, sharp in zip(widths, sharpness, strict=True)
    ]
    look = Look("image", (640, 480), faces, [], ScriptedAnalyser())

    assert [list(largest(look, range(3), limit)) for limit in (None, 3, 2, 1)] == [[0, 1, 2], [0, 1, 2], [1, 2], [1]]


def test_a_poor_face_is_indexed_only_without_a_quality_filter(server: RekognitionServer, client: Any) -> None:
    poor = {"CollectionId": "faces", "Image": shows("ann", sharpness=2, brightness=1, yaw=80)}
    default, bare = client.index_faces(**poor), client.index_faces(**poor, QualityFilter="NONE")

    assert default["FaceRecords"] == []
    assert default["UnindexedFaces"][0]["Reasons"] == ["LOW_SHARPNESS", "LOW_BRIGHTNESS", "EXTREME_POSE"]
    assert len(bare["FaceRecords"]) == 1


def test_each_quality_bar_is_higher_than_the_one_before() -> None:
    small = Face(box=Box(left=0, top=0, width=0.1, height=0.1), confidence=0.7, sharpness=30, covered=0.7)
    sizes = {"NONE": 1, "LOW": 190, "AUTO": 190, "MEDIUM": 390, "HIGH": 590}
    reasons = {bar: quality_reasons(small, (side, side), bar) for bar, side in sizes.items()}

    assert reasons["NONE"] == []
    assert reasons["LOW"] == reasons["AUTO"] == reasons["MEDIUM"] == ["SMALL_BOUNDING_BOX"]
    assert reasons["HIGH"] == ["SMALL_BOUNDING_BOX", "LOW_CONFIDENCE", "LOW_SHARPNESS", "LOW_FACE_QUALITY"]


def test_eight_threads_index_one_image_once_and_their_own_each(server: RekognitionServer, client: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        shared = list(pool.map(lambda _: index(client, "ann")[0], range(16)))
        own = list(pool.map(lambda n: index(client, f"person {n}", user=f"user-{n}")[0], range(16)))

    assert len(set(shared)) == 1
    assert len(set(own)) == 16
    assert client.describe_collection(CollectionId="faces")["FaceCount"] == 17
    assert server.calls["IndexFaces"] == 32


# Searching


def test_a_face_is_found_by_another_image_of_it(server: RekognitionServer, client: Any) -> None:
    face_id, *_ = index(client, "ann"), index(client, "bob")
    answer = client.search_faces_by_image(CollectionId="faces", Image=shows("ann~"))
    (match,) = answer["FaceMatches"]

    assert [match["Face"]["FaceId"]] == face_id
    assert 90 < match["Similarity"] < 100
    assert answer["SearchedFaceConfidence"] == pytest.approx(90)


def test_similarity_is_the_mapped_cosine_and_the_best_match_comes_first(server: RekognitionServer, client: Any) -> None:
    for person in ("ann~~", "ann", "ann~"):
        index(client, person, user=person.replace("~", "."))
    answer = client.search_faces_by_image(CollectionId="faces", Image=shows("ann"), FaceMatchThreshold=0)
    names = [np.frombuffer(name, np.uint8) for name in (b"ann", b"ann", b"ann~", b"ann~~")]
    probe, *others = ScriptedAnalyser().embed(names)

    expected = [100 - (1 - float(probe @ other)) / 0.6 * 10 for other in others]
    assert [match["Similarity"] for match in answer["FaceMatches"]] == pytest.approx(expected, abs=1e-4)


def test_a_search_returns_no_more_than_was_asked_for(server: RekognitionServer, client: Any) -> None:
    for user in ("a", "b", "c"):
        index(client, "ann", user=user)

    assert len(found_by_image(client, "ann", MaxFaces=2)) == 2
    assert found_by_image(client, "ann~", FaceMatchThreshold=99.9) == []


def test_the_largest_usable_face_is_searched_for(server: RekognitionServer, client: Any) -> None:
    index(client, "ann")

    assert len(found_by_image(client, "ann", "bob")) == 1
    assert found_by_image(client, "bob", "ann") == []


@pytest.mark.parametrize(
    "asked", [{"Image": shows()}, {"Image": shows("ann", sharpness=2), "QualityFilter": "HIGH"}], ids=["none", "poor"]
)
def test_a_search_needs_a_face_in_the_image(server: RekognitionServer, client: Any, asked: dict[str, Any]) -> None:
    with pytest.raises(client.exceptions.InvalidParameterException, match="There are no faces in the image"):
        client.search_faces_by_image(CollectionId="faces", **asked)


def test_a_search_by_face_leaves_out_the_face_itself(server: RekognitionServer, client: Any) -> None:
    (ours,), (theirs,), _ = index(client, "ann"), index(client, "ann~", user="user-2"), index(client, "bob")
    answer = client.search_faces(CollectionId="faces", FaceId=ours)

    assert answer["SearchedFaceId"] == ours
    assert [match["Face"]["FaceId"] for match in answer["FaceMatches"]] == [theirs]


def test_a_search_by_an_unknown_face_is_an_error(server: RekognitionServer, client: Any) -> None:
    with pytest.raises(client.exceptions.InvalidParameterException, match="faceId was not found"):
        client.search_faces(CollectionId="faces", FaceId=NOBODY_ID)


# Listing and deleting


def test_faces_and_collections_are_listed_by_pages(server: RekognitionServer, client: Any) -> None:
    face_ids = index(client, "ann", "bob", "cem", "dan", "eve")
    more = [f"more-{n}" for n in range(4)]
    for name in more:
        client.create_collection(CollectionId=name)

    paging = {"PaginationConfig": {"PageSize": 2}}
    faces = list(client.get_paginator("list_faces").paginate(CollectionId="faces", **paging))
    collections = list(client.get_paginator("list_collections").paginate(**paging))

    assert [len(page["Faces"]) for page in faces] == [2, 2, 1]
    assert [face["FaceId"] for page in faces for face in page["Faces"]] == face_ids
    assert [name for page in collections for name in page["CollectionIds"]] == ["faces", *more]


def test_faces_deleted_between_two_pages_hide_none_of_the_others(server: RekognitionServer, client: Any) -> None:
    face_ids = index(client, "ann", "bob", "cem")
    first = client.list_faces(CollectionId="faces", MaxResults=1)
    client.delete_faces(CollectionId="faces", FaceIds=face_ids[:1])
    rest = client.list_faces(CollectionId="faces", NextToken=first["NextToken"])

    assert [face["FaceId"] for face in rest["Faces"]] == face_ids[1:]


def test_a_list_can_be_narrowed_to_some_faces(server: RekognitionServer, client: Any) -> None:
    face_ids = index(client, "ann", "bob")
    answer = client.list_faces(CollectionId="faces", FaceIds=[face_ids[1], NOBODY_ID])

    assert [face["FaceId"] for face in answer["Faces"]] == face_ids[1:]


def test_a_token_that_was_never_given_is_an_error(server: RekognitionServer, client: Any) -> None:
    expected = ("InvalidPaginationTokenException", 400)

    assert error_of(client.list_faces, CollectionId="faces", NextToken="never") == expected
    assert error_of(client.list_collections, NextToken="bmV2ZXI=") == expected


def test_a_deleted_face_is_gone_and_an_unknown_one_is_told(server: RekognitionServer, client: Any) -> None:
    face_ids = index(client, "ann")
    answer = client.delete_faces(CollectionId="faces", FaceIds=[*face_ids, NOBODY_ID])
    again = client.delete_faces(CollectionId="faces", FaceIds=face_ids)

    assert answer["DeletedFaces"] == face_ids
    assert answer["UnsuccessfulFaceDeletions"] == [{"FaceId": NOBODY_ID, "Reasons": ["FACE_NOT_FOUND"]}]
    assert "DeletedFaces" not in again
    assert found_by_image(client, "ann") == []
    assert error_of(client.search_faces, CollectionId="faces", FaceId=face_ids[0])[0] == "InvalidParameterException"


def test_a_face_of_a_user_is_deleted_only_once_it_is_disassociated(server: RekognitionServer, client: Any) -> None:
    there, (face_id,) = {"CollectionId": "faces"}, index(client, "ann")
    for user_id in ("user-1", "user-2"):
        client.create_user(**there, UserId=user_id)
    associated = client.associate_faces(**there, UserId="user-1", FaceIds=[face_id, NOBODY_ID])
    taken = client.associate_faces(**there, UserId="user-2", FaceIds=[face_id])
    refused = client.delete_faces(**there, FaceIds=[face_id])
    (listed,) = client.list_faces(**there)["Faces"]
    other = client.disassociate_faces(**there, UserId="user-2", FaceIds=[face_id])
    freed = [client.disassociate_faces(**there, UserId="user-1", FaceIds=[face_id]) for _ in range(2)]
    deleted = client.delete_faces(**there, FaceIds=[face_id])

    missing = {"FaceId": NOBODY_ID, "UserId": "user-1", "Reasons": ["FACE_NOT_FOUND"]}
    held = {"FaceId": face_id, "UserId": "user-1"}
    assert (associated["AssociatedFaces"], associated["UnsuccessfulFaceAssociations"]) == (
        [{"FaceId": face_id}],
        [missing],
    )
    assert taken["UnsuccessfulFaceAssociations"] == [{**held, "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}]
    assert refused["UnsuccessfulFaceDeletions"] == [{**held, "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"]}]
    assert "DeletedFaces" not in refused
    assert listed["UserId"] == "user-1"
    assert other["UnsuccessfulFaceDisassociations"] == [{**held, "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}]
    assert [answer["DisassociatedFaces"] for answer in freed] == [[{"FaceId": face_id}], []]
    assert (deleted["DeletedFaces"], deleted["UnsuccessfulFaceDeletions"]) == ([face_id], [])
    assert error_of(client.create_user, **there, UserId="user-1") == ("ConflictException", 400)
    assert error_of(client.associate_faces, **there, UserId="user-3", FaceIds=[face_id])[0] == (
        "ResourceNotFoundException"
    )


# Users


def users(client: Any) -> dict[str, str]:
    listed = client.list_users(CollectionId="faces")["Users"]
    return {user["UserId"]: user["UserStatus"] for user in listed}


def associate(client: Any, user_id: str, *face_ids: str, **options: Any) -> dict[str, Any]:
    return dict(client.associate_faces(CollectionId="faces", UserId=user_id, FaceIds=list(face_ids), **options))


def test_a_user_is_created_listed_and_deleted(server: RekognitionServer, client: Any) -> None:
    for user_id in ("ann", "bob"):
        client.create_user(CollectionId="faces", UserId=user_id)
    associate(client, "bob", *index(client, "bob"))

    assert users(client) == {"ann": "CREATED", "bob": "ACTIVE"}
    assert client.describe_collection(CollectionId="faces")["UserCount"] == 2
    assert error_of(client.create_user, CollectionId="faces", UserId="ann") == ("ConflictException", 400)
    client.delete_user(CollectionId="faces", UserId="bob")
    assert users(client) == {"ann": "CREATED"}
    assert error_of(client.delete_user, CollectionId="faces", UserId="bob") == ("ResourceNotFoundException", 400)
    assert client.describe_collection(CollectionId="faces")["FaceCount"] == 1


def test_users_are_listed_by_pages(server: RekognitionServer, client: Any) -> None:
    for number in range(5):
        client.create_user(CollectionId="faces", UserId=f"user:{number}")
    pages = client.get_paginator("list_users").paginate(CollectionId="faces", PaginationConfig={"PageSize": 2})

    assert [[user["UserId"][-1] for user in page["Users"]] for page in pages] == [["0", "1"], ["2", "3"], ["4"]]


def test_the_faces_of_a_user_are_listed(server: RekognitionServer, client: Any) -> None:
    (ann,), (again,), (bob,) = index(client, "ann"), index(client, "ann~"), index(client, "bob")
    for user_id in ("ann", "bob"):
        client.create_user(CollectionId="faces", UserId=user_id)
    answer = associate(client, "ann", ann, again)
    associate(client, "bob", bob)
    listed = client.list_faces(CollectionId="faces", UserId="ann")["Faces"]

    assert answer["AssociatedFaces"] == [{"FaceId": ann}, {"FaceId": again}]
    assert (answer["UnsuccessfulFaceAssociations"], answer["UserStatus"]) == ([], "UPDATING")
    assert [(face["FaceId"], face["UserId"]) for face in listed] == [(ann, "ann"), (again, "ann")]
    assert len(client.list_faces(CollectionId="faces")["Faces"]) == 3
    unknown = error_of(client.list_faces, CollectionId="faces", UserId="nobody")
    assert unknown == ("ResourceNotFoundException", 400)


def two_users(client: Any) -> tuple[str, str, str]:
    """Index three faces and associate two of them with users of their names; return the faces."""
    (ann,), (bob,), (cem,) = index(client, "ann"), index(client, "bob"), index(client, "cem")
    for user_id, face_id in (("ann", ann), ("bob", bob)):
        client.create_user(CollectionId="faces", UserId=user_id)
        associate(client, user_id, face_id)
    return ann, bob, cem


def test_a_face_that_cannot_be_a_users_is_told(server: RekognitionServer, client: Any) -> None:
    ann, bob, cem = two_users(client)
    told = associate(client, "ann", ann, bob, cem, NOBODY_ID)
    why = {face["FaceId"]: face for face in told["UnsuccessfulFaceAssociations"]}

    assert told["AssociatedFaces"] == [], "a face that is the user's already is passed over"
    assert why.keys() == {bob, cem, NOBODY_ID}
    assert (why[bob]["Reasons"], why[bob]["UserId"]) == (["ASSOCIATED_TO_A_DIFFERENT_USER"], "bob")
    assert why[cem]["Reasons"] == ["LOW_MATCH_CONFIDENCE"]
    assert why[cem]["Confidence"] < 75
    assert why[NOBODY_ID]["Reasons"] == ["FACE_NOT_FOUND"]
    assert associate(client, "ann", cem, UserMatchThreshold=0)["AssociatedFaces"] == [{"FaceId": cem}]


def test_a_face_is_taken_from_its_user_alone(server: RekognitionServer, client: Any) -> None:
    ann, bob, cem = two_users(client)
    asked = {"CollectionId": "faces", "UserId": "ann", "FaceIds": [ann, bob, cem, NOBODY_ID]}
    told = client.disassociate_faces(**asked)
    why = {face["FaceId"]: face["Reasons"] for face in told["UnsuccessfulFaceDisassociations"]}

    assert told["DisassociatedFaces"] == [{"FaceId": ann}]
    assert why == {bob: ["ASSOCIATED_TO_A_DIFFERENT_USER"], NOBODY_ID: ["FACE_NOT_FOUND"]}
    assert client.list_faces(CollectionId="faces", UserId="ann")["Faces"] == []


def test_a_face_of_a_user_cannot_be_deleted(server: RekognitionServer, client: Any) -> None:
    (ann,), (bob,) = index(client, "ann"), index(client, "bob")
    client.create_user(CollectionId="faces", UserId="ann")
    associate(client, "ann", ann)
    answer = client.delete_faces(CollectionId="faces", FaceIds=[ann, bob])

    assert answer["DeletedFaces"] == [bob]
    assert answer["UnsuccessfulFaceDeletions"] == [
        {"FaceId": ann, "UserId": "ann", "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"]}
    ]
    assert found_by_image(client, "ann") == [ann]
    client.delete_user(CollectionId="faces", UserId="ann")
    assert client.delete_faces(CollectionId="faces", FaceIds=[ann])["DeletedFaces"] == [ann]


def test_a_user_has_a_hundred_faces_at_most(server: RekognitionServer, client: Any) -> None:
    client.create_user(CollectionId="faces", UserId="ann")
    face_ids = [index(client, "ann", user=f"ann{number}")[0] for number in range(101)]
    associate(client, "ann", *face_ids[:100])

    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        associate(client, "ann", face_ids[100])


def test_a_client_token_makes_a_call_once(server: RekognitionServer, client: Any) -> None:
    once = {"CollectionId": "faces", "UserId": "ann", "ClientRequestToken": "token-1"}
    client.create_user(**once)
    client.create_user(**once)

    assert users(client) == {"ann": "CREATED"}
    other = {**once, "UserId": "bob"}
    assert error_of(client.create_user, **other) == ("IdempotentParameterMismatchException", 400)


# Permissions


def test_a_policy_denies_what_it_does_not_allow(server: RekognitionServer, client: Any) -> None:
    collection = "arn:aws:rekognition:us-east-1:123456789012:collection/faces"
    allowed = {"Effect": "Allow", "Action": ["rekognition:List*", "rekognition:DeleteFaces"], "Resource": collection}
    denied = {"Effect": "Deny", "Action": "rekognition:DeleteFaces", "Resource": "*"}
    server.switches.policy([allowed, denied])

    assert client.list_faces(CollectionId="faces")["Faces"] == []
    with pytest.raises(ClientError, match=r"perform: rekognition:DeleteFaces on resource: .* explicit deny"):
        client.delete_faces(CollectionId="faces", FaceIds=[NOBODY_ID])
    with pytest.raises(ClientError, match="no identity-based policy allows the rekognition:DescribeCollection action"):
        client.describe_collection(CollectionId="faces")
    assert error_of(client.list_collections)[0] == "AccessDeniedException", "it knows no resource but *"


def test_a_policy_is_reached_over_http(server: RekognitionServer, client: Any) -> None:
    control(server, {"policy": {"statements": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}})
    assert client.list_collections()["CollectionIds"] == ["faces"]

    with pytest.raises(urllib.error.HTTPError, match="400"):
        control(server, {"policy": {"statements": [{"Effect": "Allow", "NotAction": "*"}]}})


# Requests that break the service model


@pytest.mark.parametrize(
    ("operation", "asked"),
    [
        ("create_collection", {}),
        ("create_collection", {"CollectionId": "with space"}),
        ("create_collection", {"CollectionId": "x" * 256}),
        ("create_collection", {"CollectionId": "x", "Tags": {"k": 1}}),
        ("index_faces", {"Image": shows("ann"), "ExternalImageId": "ann@example.org"}),
        ("index_faces", {"Image": shows("ann"), "ExternalImageId": "x" * 256}),
        ("index_faces", {"Image": shows("ann"), "ExternalImageId": ""}),
        ("index_faces", {"Image": shows("ann"), "MaxFaces": 0}),
        ("index_faces", {"Image": shows("ann"), "QualityFilter": "BEST"}),
        ("detect_faces", {"Image": shows("ann"), "Attributes": ["HAIR"]}),
        ("search_faces", {"FaceId": "no uuid"}),
        ("search_faces_by_image", {"Image": shows("ann"), "FaceMatchThreshold": 100.5}),
        ("search_faces_by_image", {"Image": shows("ann"), "MaxFaces": 4097}),
        ("list_faces", {"NextToken": "x" * 256}),
        ("delete_faces", {"FaceIds": []}),
        ("delete_faces", {"FaceIds": [NOBODY_ID], "Extra": 1}),
        ("detect_faces", {"Image": {"S3Object": {"Bucket": "no/slash", "Name": "x"}}}),
    ],
)
def test_a_request_outside_the_model_is_refused(
    server: RekognitionServer, operation: str, asked: dict[str, Any]
) -> None:
    needs_collection = operation not in ("create_collection", "detect_faces")
    name = "".join(word.capitalize() for word in operation.split("_"))
    status, answer = raw(server, name, {**({"CollectionId": "faces"} if needs_collection else {}), **asked})

    assert (status, answer["__type"]) == (400, "ValidationException")


def raw(server: RekognitionServer, operation: str, asked: object) -> tuple[int, dict[str, Any]]:
    """Send what boto3 would not: its serialiser drops members that the model lacks."""
    body = json.dumps(asked, default=lambda data: base64.b64encode(data).decode())
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    connection.request("POST", "/", body, {"X-Amz-Target": f"RekognitionService.{operation}"})
    answer = connection.getresponse()
    status, content = answer.status, json.load(answer)
    connection.close()
    return status, content


@pytest.mark.parametrize("asked", ["text", [], {"Image": {"Bytes": "no base64"}}, {"Image": 3}])
def test_a_body_of_another_form_cannot_be_read(server: RekognitionServer, asked: object) -> None:
    status, answer = raw(server, "DetectFaces", asked)

    assert (status, answer["__type"]) == (400, "SerializationException")


def test_an_operation_that_is_not_offered_is_unknown(server: RekognitionServer, client: Any) -> None:
    assert error_of(client.detect_text, Image=shows("ann")) == ("UnknownOperationException", 400)


def test_an_answer_outside_the_model_fails_loudly(s3: Any) -> None:
    class Wild(ScriptedAnalyser):
        def analyse(self, *asked: Any) -> Any:
            return [(face.model_copy(update={"confidence": 2.0}), aligned) for face, aligned in super().analyse(*asked)]

    with RekognitionServer(Wild()) as server:
        client = boto3.client("rekognition", endpoint_url=server.url, config=ONCE, **KEYS)

        assert error_of(client.detect_faces, Image=shows("ann")) == ("InternalServerError", 500)
        assert "less than or equal to 100" in server.violations[0]
        assert control(server)["violations"] == server.violations


# Switches


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 500),
        ("ProvisionedThroughputExceededException", 400),
        ("InternalServerError", 500),
        ("AccessDeniedException", 400),
    ],
)
def test_an_operation_fails_as_often_as_it_was_told(
    server: RekognitionServer, client: Any, code: str, status: int
) -> None:
    server.switches.fail("DetectFaces", code, times=2)
    failures = [error_of(client.detect_faces, Image=shows("ann")) for _ in range(2)]

    assert failures == [(code, status)] * 2
    assert len(client.detect_faces(Image=shows("ann"))["FaceDetails"]) == 1
    assert server.calls["DetectFaces"] == 3


def test_all_operations_fail_until_the_switches_are_cleared(server: RekognitionServer, client: Any) -> None:
    server.switches.fail()
    codes = {error_of(client.list_collections)[0] for _ in range(3)} | {
        error_of(client.describe_collection, CollectionId="faces")[0]
    }
    server.switches.clear()

    assert codes == {"ThrottlingException"}
    assert client.list_collections()["CollectionIds"] == ["faces"]


def test_faults_are_used_up_in_the_order_they_were_set(server: RekognitionServer, client: Any) -> None:
    server.switches.fail("ListCollections", "ThrottlingException", times=1)
    server.switches.fail("ListCollections", "InternalServerError", times=1)

    codes = [error_of(client.list_collections)[0] for _ in range(2)]
    assert codes == ["ThrottlingException", "InternalServerError"]


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "InternalServerError"]
)
def test_boto3s_own_retries_get_over_a_passing_fault(server: RekognitionServer, code: str) -> None:
    patient = Config(retries={"mode": "standard", "max_attempts": 2})
    client = boto3.client("rekognition", endpoint_url=server.url, config=patient, **KEYS)
    server.switches.fail("ListCollections", code, times=1)

    assert client.list_collections()["CollectionIds"] == ["faces"]
    assert server.calls["ListCollections"] == 2


def test_eight_threads_use_up_a_fault_exactly(server: RekognitionServer, client: Any) -> None:
    server.switches.fail("ListCollections", times=10)

    def fails(_: int) -> bool:
        try:
            client.list_collections()
        except ClientError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(fails, range(24))) == 10


def test_a_slow_operation_takes_its_time_and_holds_up_no_other(server: RekognitionServer, client: Any) -> None:
    server.switches.slow(3, "DetectFaces", times=1)
    begun = time.monotonic()
    waiting = threading.Thread(target=client.detect_faces, kwargs={"Image": shows("ann")})
    waiting.start()
    client.list_collections()
    held_up = not waiting.is_alive()
    waiting.join()

    assert not held_up
    assert time.monotonic() - begun >= 3


def test_a_lost_reply_leaves_the_work_done(server: RekognitionServer, client: Any) -> None:
    server.switches.lose_reply("IndexFaces", times=1)

    with pytest.raises(ConnectionClosedError):
        index(client, "ann")
    kept = [face["FaceId"] for face in client.list_faces(CollectionId="faces")["Faces"]]
    assert index(client, "ann") == kept


def test_an_indexed_face_is_found_only_later_but_known_at_once(server: RekognitionServer, client: Any) -> None:
    (before,) = index(client, "ann")
    server.switches.delay(visible=3600)
    (late,) = index(client, "ann~", user="user-2")

    assert found_by_image(client, "ann") == [before]
    assert found_by_face(client, late) == [before]
    assert found_by_face(client, before) == []
    server.switches.delay(visible=0)
    assert found_by_face(client, before) == [late]


def test_the_delay_of_an_indexed_face_passes(server: RekognitionServer, client: Any) -> None:
    server.switches.delay(visible=0.5)
    index(client, "ann")

    assert found_by_image(client, "ann") == []
    time.sleep(0.55)
    assert len(found_by_image(client, "ann")) == 1


def test_no_face_is_found_before_one_that_was_indexed_earlier(server: RekognitionServer, client: Any) -> None:
    server.switches.delay(visible=3600)
    first = index(client, "ann", user="user-1")
    server.switches.delay(visible=0)
    second = index(client, "ann", user="user-2")
    server.switches.delay(visible=3600)

    assert found_by_image(client, "ann") == first + second


def test_a_deleted_face_may_still_be_found_for_a_while(server: RekognitionServer, client: Any) -> None:
    before, kept = index(client, "ann", user="user-1"), index(client, "ann", user="user-2")
    client.delete_faces(CollectionId="faces", FaceIds=before)
    server.switches.delay(gone=3600)
    client.delete_faces(CollectionId="faces", FaceIds=kept)

    assert found_by_image(client, "ann") == kept
    assert client.list_faces(CollectionId="faces")["Faces"] == []
    server.switches.delay(gone=0)
    assert found_by_image(client, "ann") == []


def test_a_new_face_id_can_be_unknown_to_searches_for_a_while(server: RekognitionServer, client: Any) -> None:
    server.switches.delay(known=3600)
    (face_id,) = index(client, "ann")

    assert error_of(client.search_faces, CollectionId="faces", FaceId=face_id)[0] == "InvalidParameterException"
    server.switches.delay(known=0)
    assert found_by_face(client, face_id) == []


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ({"fail": {"operation": "DetectFace"}}, "DetectFace"),
        ({"fail": {"code": "Throttled"}}, "Throttled"),
        ({"break": {}}, "break"),
        ({"delay": {"seen": 1}}, "seen"),
    ],
)
def test_a_misspelt_switch_is_refused(server: RekognitionServer, switch: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        server.switches.apply(switch)
    with pytest.raises(urllib.error.HTTPError) as refused:
        control(server, switch)
    assert words in json.load(refused.value)["error"]


def test_switches_and_counters_are_reached_over_http(server: RekognitionServer, client: Any) -> None:
    control(server, {"fail": {"operation": "ListCollections", "times": 2}, "delay": {"visible": 5}})
    error_of(client.list_collections)
    told = control(server)
    control(server, {}, "/_control/reset")

    assert told["calls"] == {"ListCollections": 1}
    assert [(rule["operation"], rule["times"]) for rule in told["switches"]["rules"]] == [("ListCollections", 1)]
    assert told["switches"]["delays"] == {"visible": 5, "gone": 0, "known": 0}
    assert client.list_collections()["CollectionIds"] == []
    assert server.calls == {"ListCollections": 1}


def test_a_stopped_endpoint_answers_no_more() -> None:
    with RekognitionServer(ScriptedAnalyser()) as server:
        client = boto3.client("rekognition", endpoint_url=server.url, config=ONCE, **KEYS)
        client.list_collections()

    for error in (ConnectionClosedError, EndpointConnectionError):  # the connection kept alive, then a new one
        with pytest.raises(error):
            client.list_collections()


def test_it_runs_as_a_process_of_its_own() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.rekognition", "--scripted"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            client = boto3.client(
                "rekognition", endpoint_url=present(process.stdout).readline().strip(), config=ONCE, **KEYS
            )
            assert len(client.detect_faces(Image=shows("ann"))["FaceDetails"]) == 1
        finally:
            process.terminate()


def test_every_operation_is_one_of_the_service_model(client: Any) -> None:
    assert set(OPERATIONS) <= set(client.meta.service_model.operation_names)
