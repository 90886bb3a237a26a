"""Where the things lie that settings name, held against the region that is set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from selfiegate.aws.clients import client, regions_of
from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.rekognition_calls import described
from selfiegate.errors import SelfiegateError

SETTING = "SELFIEGATE_AWS__REGION"


class Place(NamedTuple):
    """Something that settings name, and its region."""

    name: str
    region: str


def unknown(settings: AwsSettings, region: str) -> str:
    """Say what is wrong with a region that boto3 knows no Rekognition in; '' where settings name their own endpoint."""
    known = regions_of("rekognition")
    if region in known or settings.endpoint_url or settings.rekognition_endpoint_url:
        return ""
    near = get_close_matches(region, known, n=1)
    meant = f"did you mean {near[0]}?" if near else f"it knows {', '.join(sorted(known))}"
    return f"this version of boto3 knows no Rekognition in {region}; {meant} Set {SETTING}, or take a newer boto3"


def compare(settings: AwsSettings, photo_bucket: str | None, region: str) -> tuple[str, str]:
    """Say what lies where this process does not look for it, and what lies elsewhere and works; each may be ''."""
    named = [place for place in _named(settings) if place.region != region]
    photos = (photo_bucket or "").partition("/")[0]
    buckets = [place for place in _buckets(settings, photos) if place.region != region]
    if collection := _other_place(settings, [*buckets, *named], region):
        return collection, ""
    todo = [f"{place.name} is in {place.region}: set {SETTING}={place.region}, or name another" for place in named]
    why = {_bucket(photos): ", where Rekognition cannot read, so its photos are sent as bytes"}
    note = [f"{place.name} is in {place.region}{why.get(place.name, '')}" for place in buckets]
    return "; ".join(todo), "; ".join(note)


def _other_place(settings: AwsSettings, places: Sequence[Place], region: str) -> str:
    """Say where the collection is, if it is not here and lies beside something else that settings name."""
    if not places or not _lacks_collection(settings, region):
        return ""
    found = next((place for place in places if _has_collection(settings, place.region)), None)
    if found is None:
        return ""
    return (
        f"the collection {settings.collection} is in {found.region}, as {found.name} is, and not in {region}: "
        f"set {SETTING}={found.region}"
    )


def _named(settings: AwsSettings) -> Iterator[Place]:
    if settings.topic_arn and len(parts := settings.topic_arn.split(":")) > 3:
        yield Place("SELFIEGATE_AWS__TOPIC_ARN", parts[3])
    for name in ("queue_url", "dead_queue_url"):
        found = re.match(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.", getattr(settings, name) or "")
        if found:
            yield Place(f"SELFIEGATE_AWS__{name.upper()}", found[1])


def _bucket(name: str) -> str:
    return f"the bucket {name}"


def _buckets(settings: AwsSettings, photos: str) -> Iterator[Place]:
    for bucket in filter(None, (photos, settings.thumbnail_bucket)):
        if region := _bucket_region(settings, bucket):
            yield Place(_bucket(bucket), region)


def _bucket_region(settings: AwsSettings, bucket: str) -> str:
    """Return a bucket's region; '' where the store does not tell. S3 tells it also to those whom it refuses."""
    try:
        answer = client("s3", settings).head_bucket(Bucket=bucket)
    except SelfiegateError:
        raise
    except Exception as error:  # botocore's, which only the adapters import
        answer = getattr(error, "response", None) or {}
    return str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))


def _lacks_collection(settings: AwsSettings, region: str) -> bool:
    try:
        return described(_in(settings, region)) is None
    except SelfiegateError:  # told by the permission's own row
        return False


def _has_collection(settings: AwsSettings, region: str) -> bool:
    try:
        return described(_in(settings, region)) is not None
    except SelfiegateError:  # who may not look there, or a region without Rekognition
        return False


def _in(settings: AwsSettings, region: str) -> AwsSettings:
    return settings.model_copy(update={"region": region})
