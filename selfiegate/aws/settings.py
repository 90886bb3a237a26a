"""What can be set about AWS; apart from its clients, so that settings load without boto3."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from selfiegate.setting_types import COMMAS, Address, Group, Name

_S3_BLOCKS = ("s3-bucket", "minio-credentials", "aws-credentials")


def _credentials_block(given: str | None) -> str | None:
    kind, _, name = (given or "").rpartition("/")
    if given and (kind not in ("", "aws-credentials") or not name):
        raise ValueError(
            "it is no block of all services: write aws-credentials/NAME; SELFIEGATE_AWS__S3_BLOCK is for S3 alone"
        )
    return f"aws-credentials/{name}" if given else None


def _s3_block(given: str | None) -> str | None:
    kind, _, name = (given or "").rpartition("/")
    if given and (kind not in _S3_BLOCKS or not name):
        raise ValueError(f"it is no block of S3: write {', '.join(f'{one}/NAME' for one in _S3_BLOCKS)}")
    return given


class AwsSettings(Group):
    """Where things are in AWS. Names left empty are not used."""

    region: Name = Field(None, description="Empty: boto3's own")
    endpoint_url: Address = Field(
        None, description="Of all services that have none of their own: a test server; empty: AWS's"
    )
    s3_endpoint_url: Address = Field(None, description="Of S3 alone: MinIO, or another S3-compatible store")
    rekognition_endpoint_url: Address = Field(None, description="Of Rekognition alone")
    dynamodb_endpoint_url: Address = Field(None, description="Of DynamoDB alone")
    sqs_endpoint_url: Address = Field(None, description="Of SQS alone")
    sns_endpoint_url: Address = Field(None, description="Of SNS alone")
    ses_endpoint_url: Address = Field(None, description="Of SES alone")
    sts_endpoint_url: Address = Field(None, description="Of STS alone, which `aws check` asks who we are")
    credentials_block: Annotated[Name, AfterValidator(_credentials_block)] = Field(
        None, description="A Prefect block: aws-credentials/NAME, or NAME; else boto3's chain"
    )
    s3_block: Annotated[Name, AfterValidator(_s3_block)] = Field(
        None,
        description="A Prefect block for S3 alone: s3-bucket/NAME, minio-credentials/NAME or aws-credentials/NAME",
    )
    collection: str = Field("selfiegate", min_length=1, description="Rekognition's gallery")
    compare_s: float = Field(
        60.0, ge=0, le=600, description="Seconds for which it is known that the collection belongs to the records"
    )
    quality_filter: Literal["NONE", "AUTO", "LOW", "MEDIUM", "HIGH"] = Field(
        "AUTO", description="Of Rekognition's IndexFaces"
    )
    rate_limits: bool = Field(
        False, description="Wait for Prefect's concurrency limits rekognition-DetectFaces and so on, where they exist"
    )
    settle_s: float = Field(1.0, ge=0, le=30, description="Seconds until an indexed face is surely found by a search")
    thumbnail_bucket: Name = Field(None, description="Empty: thumbnails lie below SELFIEGATE_HOME")
    photo_bucket: Name = Field(None, description="Where `selfiegate upload` puts photos")
    event_buckets: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], COMMAS] = Field(
        (), description="Events of other buckets are refused; empty: all are taken"
    )
    ledger_table: str = Field(
        "selfiegate-ledger", min_length=1, description="DynamoDB table, where records is dynamodb"
    )
    profiles_table: str = Field(
        "selfiegate-profiles",
        min_length=1,
        description="DynamoDB table, where records is dynamodb; the workshop's can be used as it is",
    )
    queue_url: Address = Field(None, description="SQS queue of photo events, for the bridge")
    dead_queue_url: Address = Field(
        None, description="Where the bridge puts events that it cannot read; empty: the queue's own redrive policy"
    )
    topic_arn: Name = Field(None, description="SNS topic for notices to the operator")
    sender: Name = Field(None, description="SES address that mails to users come from")
    email_template: Name = Field(None, description="A user's address, e.g. {user_id}@riders.example")

    def endpoint_of(self, service: str) -> str | None:
        """Return what is set for one of boto3's services alone."""
        own: str | None = getattr(self, f"{service.removesuffix('v2')}_endpoint_url", None)
        return own

    @model_validator(mode="after")
    def _apart(self) -> Self:
        """Events of the thumbnails' bucket are left out, so that thumbnails do not come round as photos."""
        if self.photo_bucket and self.photo_bucket == self.thumbnail_bucket:
            raise ValueError(
                f"SELFIEGATE_AWS__PHOTO_BUCKET and SELFIEGATE_AWS__THUMBNAIL_BUCKET are both {self.photo_bucket!r}; "
                "photos and thumbnails need buckets of their own"
            )
        return self
