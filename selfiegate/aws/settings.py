"""What can be set about AWS; apart from its clients, so that settings load without boto3."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfiegate.setting_types import COMMAS, Address, Group, Name


class AwsSettings(Group):
    """Where things are in AWS. Names left empty are not used."""

    region: Name = Field(None, description="Empty: boto3's own")
    endpoint_url: Address = Field(None, description="Of all services: an S3-compatible store, a test server")
    rekognition_endpoint_url: Address = Field(None, description="Where it differs from endpoint_url")
    credentials_block: Name = Field(None, description="A prefect_aws AwsCredentials block; else boto3's chain")
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

    @model_validator(mode="after")
    def _apart(self) -> Self:
        """Events of the thumbnails' bucket are left out, so that thumbnails do not come round as photos."""
        if self.photo_bucket and self.photo_bucket == self.thumbnail_bucket:
            raise ValueError(
                f"SELFIEGATE_AWS__PHOTO_BUCKET and SELFIEGATE_AWS__THUMBNAIL_BUCKET are both {self.photo_bucket!r}; "
                "photos and thumbnails need buckets of their own"
            )
        return self
