"""AWS on 127.0.0.1: moto's server, the Rekognition endpoint, and the settings that lead to them."""

from __future__ import annotations

import boto3

from selfiegate.aws.clients import AwsSettings

REGION = "eu-west-1"
PHOTOS, THUMBNAILS = "photos", "thumbnails"


def settings(endpoint: str, rekognition: str | None = None, **changes: object) -> AwsSettings:
    """Return settings that lead to these servers."""
    values = {
        "region": REGION,
        "endpoint_url": endpoint,
        "rekognition_endpoint_url": rekognition,
        "thumbnail_bucket": THUMBNAILS,
        "settle_s": 0,
    }
    return AwsSettings.model_validate({**values, **changes})


def create(aws: AwsSettings) -> None:
    """Make empty buckets and tables, as deployments/aws/template.yaml does."""
    s3, dynamodb = (
        boto3.client(service, endpoint_url=aws.endpoint_url, region_name=REGION) for service in ("s3", "dynamodb")
    )
    for bucket in (PHOTOS, THUMBNAILS):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=PHOTOS, VersioningConfiguration={"Status": "Enabled"})
    dynamodb.create_table(
        TableName=aws.profiles_table,
        AttributeDefinitions=[{"AttributeName": "Username", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "Username", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    kinds = {"user_id": "S", "photo_id": "S", "unfinished": "S", "lease_until": "N"}
    dynamodb.create_table(
        TableName=aws.ledger_table,
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()],
        KeySchema=[
            {"AttributeName": "user_id", "KeyType": "HASH"},
            {"AttributeName": "photo_id", "KeyType": "RANGE"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "unfinished",
                "KeySchema": [
                    {"AttributeName": "unfinished", "KeyType": "HASH"},
                    {"AttributeName": "lease_until", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
