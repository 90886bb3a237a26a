"""Where each of AWS's services is reached."""

from __future__ import annotations

import pytest

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendUnavailable, WrongSetting
from selfiegate.settings import load_settings
from selfiegate.stores.dynamodb_profiles import DynamoProfiles
from selfiegate.stores.s3 import S3Photos
from tests.aws.local import PHOTOS

NOWHERE = "http://127.0.0.1:9"


def test_a_store_in_the_place_of_s3_moves_no_other_service(aws: AwsSettings) -> None:
    minio = AwsSettings(region=aws.region, s3_endpoint_url=aws.endpoint_url)
    photos = S3Photos(minio, Limits())

    assert photos.read(photos.put(PHOTOS, "ann/1.jpg", b"selfie", {})) == b"selfie"
    for service in ("dynamodb", "sns", "sesv2", "sqs", "rekognition", "sts"):
        assert client(service, minio).meta.endpoint_url.endswith("eu-west-1.amazonaws.com")


def test_a_service_with_its_own_endpoint_leaves_the_common_one(aws: AwsSettings) -> None:
    moved = AwsSettings(region=aws.region, endpoint_url=aws.endpoint_url, dynamodb_endpoint_url=NOWHERE)
    S3Photos(moved, Limits()).put(PHOTOS, "ann/1.jpg", b"selfie", {})

    with pytest.raises(BackendUnavailable, match=NOWHERE):
        DynamoProfiles(moved).get("ann")


@pytest.mark.parametrize(
    "service", ["s3", "rekognition", "dynamodb", "sqs", "sns", "ses", "sesv2", "sts", "cloudformation"]
)
def test_each_service_can_be_moved(service: str) -> None:
    field = f"{service.removesuffix('v2')}_endpoint_url" if service != "cloudformation" else "endpoint_url"
    moved = AwsSettings.model_validate({"region": "eu-west-1", field: NOWHERE})

    assert client(service, moved).meta.endpoint_url == NOWHERE


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("CREDENTIALS_BLOCK", "minio-credentials/riders", "SELFIEGATE_AWS__S3_BLOCK is for S3 alone"),
        ("CREDENTIALS_BLOCK", "aws-credentials/", "aws-credentials/NAME"),
        ("S3_BLOCK", "riders", "minio-credentials/NAME"),
        ("S3_BLOCK", "slack-webhook/riders", "s3-bucket/NAME"),
    ],
)
def test_a_block_of_another_kind_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, mend: str
) -> None:
    monkeypatch.setenv(f"SELFIEGATE_AWS__{name}", value)

    with pytest.raises(WrongSetting, match=f"SELFIEGATE_AWS__{name}.*{mend}"):
        load_settings()
