"""Prefixes, inventories and batches in S3, over the wire to moto's server."""

from __future__ import annotations

import json

import pytest

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.backfill.listing import Entry, Fault, Listing
from selfiegate.backfill.sources import entries
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendUnavailable, WrongInput
from selfiegate.settings import Settings
from selfiegate.stores.s3 import S3Photos
from tests.aws.inventories import NAME, Row, csv_file, manifest, parquet_file
from tests.aws.local import PHOTOS, THUMBNAILS

ODD_KEY = "ann/my selfie+é#1?%2F\U0001f600.jpg"


def put(aws: AwsSettings, key: str, data: bytes = b"photo", bucket: str = PHOTOS) -> str:
    made = client("s3", aws).put_object(Bucket=bucket, Key=key, Body=data)
    return str(made.get("VersionId", ""))


def found(aws: AwsSettings, source: str, template: str | None = None, **settings: object) -> list[Entry | Fault]:
    return list(entries(source, Settings.model_validate({"aws": aws, **settings}), template))


def test_the_present_version_of_each_photo_is_listed(aws: AwsSettings) -> None:
    put(aws, "ann/a.jpg", b"older")
    newer = put(aws, "ann/a.jpg", b"newer")
    put(aws, "bob/a.jpg")
    client("s3", aws).delete_object(Bucket=PHOTOS, Key="bob/a.jpg")
    put(aws, "carl/")
    put(aws, "carl/notes.txt")
    (one,) = found(aws, f"s3://{PHOTOS}")

    assert isinstance(one, Entry)
    assert (one.uri, one.user_id, one.version) == (f"s3://{PHOTOS}/ann/a.jpg", "ann", newer)
    head = client("s3", aws).head_object(Bucket=PHOTOS, Key="ann/a.jpg")
    assert one.modified // 1_000_000 == int(head["LastModified"].timestamp())


@pytest.mark.parametrize("bucket", [PHOTOS, THUMBNAILS])
def test_versions_are_those_that_the_store_finds(aws: AwsSettings, bucket: str) -> None:
    put(aws, ODD_KEY, bucket=bucket)
    (one,) = found(aws.model_copy(update={"thumbnail_bucket": None}), f"s3://{bucket}/")

    assert isinstance(one, Entry)
    reference = S3Photos(aws, Limits()).find(one.uri)
    assert (reference.uri, reference.version) == (one.uri, one.version)
    assert one.version.startswith('etag:"') == (bucket == THUMBNAILS)


def test_an_object_from_before_versioning_is_pinned_by_its_etag(aws: AwsSettings) -> None:
    s3 = client("s3", aws)
    put(aws, "ann/a.jpg", bucket=THUMBNAILS)
    s3.put_bucket_versioning(Bucket=THUMBNAILS, VersioningConfiguration={"Status": "Enabled"})
    (one,) = found(aws.model_copy(update={"thumbnail_bucket": None}), f"s3://{THUMBNAILS}")

    assert isinstance(one, Entry)
    assert one.version == f"etag:{s3.head_object(Bucket=THUMBNAILS, Key='ann/a.jpg')['ETag']}"


def test_the_template_is_held_against_the_whole_key(aws: AwsSettings) -> None:
    for key in ("riders/2026/ann.jpg", "riders/2026/bob.jpg", "riders/stray.jpg", "drivers/carl.jpg"):
        put(aws, key)
    listed = found(aws, f"s3://{PHOTOS}/riders/", "*/*/{user_id}.jpg")

    assert [one.user_id for one in listed if isinstance(one, Entry)] == ["ann", "bob"]
    assert [one.where for one in listed if isinstance(one, Fault)] == [f"s3://{PHOTOS}/riders/stray.jpg"]


@pytest.mark.slow
def test_more_than_a_page_is_listed_in_order(aws: AwsSettings) -> None:
    for number in range(1100):
        put(aws, f"ann/{number}.jpg")
    with Listing() as listing:
        listing.add(entries(f"s3://{PHOTOS}", Settings(aws=aws)))
        listed = [one.uri for chunk in listing.chunks(100) for one in chunk]

    assert listed == sorted(f"s3://{PHOTOS}/ann/{number}.jpg" for number in range(1100))


def test_what_is_not_there_is_said(aws: AwsSettings) -> None:
    for source in ("s3://no-such-bucket/ann", f"s3://{PHOTOS}/nowhere/manifest.json", "s3://no-such-bucket/m.json"):
        with pytest.raises(WrongInput, match="there is no"):
            found(aws, source)


@pytest.mark.parametrize("source", ["s3://", "s3:///key", "s3://a b/c", "s3://\udcff"])
def test_what_names_no_bucket_is_said(aws: AwsSettings, source: str) -> None:
    with pytest.raises(WrongInput, match="s3://bucket/prefix"):
        found(aws, source)


def test_our_own_thumbnails_are_no_photos(aws: AwsSettings) -> None:
    with pytest.raises(WrongInput, match="our own thumbnails"):
        found(aws, f"s3://{THUMBNAILS}")


def test_users_in_metadata_need_a_template(aws: AwsSettings) -> None:
    with pytest.raises(WrongInput, match="key template"):
        found(aws, f"s3://{PHOTOS}", user_metadata="user-id")


def test_a_server_that_is_not_there_is_unavailable(aws: AwsSettings) -> None:
    nowhere = aws.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})

    for source in (f"s3://{PHOTOS}", f"s3://{PHOTOS}/manifest.json"):
        with pytest.raises(BackendUnavailable):
            found(nowhere, source)


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
def test_an_inventory_is_read_from_its_destination(aws: AwsSettings, form: str) -> None:
    if form == "Parquet":
        pytest.importorskip("pyarrow")
    data = (csv_file if form == "CSV" else parquet_file)([Row(ODD_KEY, "v1"), Row("ann/old.jpg", "v0", latest=False)])
    put(aws, NAME, data)
    put(aws, "copies/manifest.json", manifest({NAME: data}, form), THUMBNAILS)
    (one,) = found(aws, f"s3://{THUMBNAILS}/copies/manifest.json")

    assert isinstance(one, Entry)
    assert (one.uri, one.version, one.user_id) == (f"s3://rides/{ODD_KEY}", "v1", "ann")


def test_an_inventorys_file_that_was_replaced_is_refused(aws: AwsSettings) -> None:
    put(aws, NAME, csv_file([Row("bob/a.jpg")]))
    put(aws, "manifest.json", manifest({NAME: csv_file([Row("ann/a.jpg")])}))

    with pytest.raises(WrongInput, match="MD5"):
        found(aws, f"s3://{PHOTOS}/manifest.json")


def test_a_batch_is_read_from_s3(aws: AwsSettings) -> None:
    batch = {"s3Bucket": PHOTOS, "images": [{"userId": "user_a", "s3Key": "1_happy_face.jpg"}]}
    put(aws, "batch.json", json.dumps(batch).encode())

    assert found(aws, f"s3://{PHOTOS}/batch.json") == [Entry(uri=f"s3://{PHOTOS}/1_happy_face.jpg", user_id="user_a")]
