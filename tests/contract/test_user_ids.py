"""The longest user ids, through every door: they are taken or refused there, never later."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.backends.rekognition import RekognitionBackend
from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.listing import Fault
from selfiegate.backfill.sources import entries
from selfiegate.decoding.decode import Limits
from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import WrongInput
from selfiegate.ingestion.messages import Upload
from selfiegate.ingestion.photo_requests import photo_request
from selfiegate.model import Claim, PhotoRef
from selfiegate.privacy.export import export_user
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import MemoryRuntime, Runtime, memory_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.stores.dynamodb_erasures import DynamoErasures
from selfiegate.stores.dynamodb_ledger import DynamoLedger
from selfiegate.stores.dynamodb_profiles import DynamoProfiles
from selfiegate.stores.memory_photos import MemoryPhotos, MemoryThumbnails
from selfiegate.stores.s3 import S3Photos, S3Thumbnails
from tests.aws.local import PHOTOS
from tests.present import present
from tests.runtimes import scripted_runtime

FITTING = ["x" * 221, "用" * 54, "\U0001f600" * 41]
TOO_LONG = ["x" * 222, "x" * 255, "用" * 55, "用" * 255, "\U0001f600" * 42, "\U0001f600" * 255]
"""For Rekognition: more than 221 of its own letters, or than 164 bytes of UTF-8."""


@pytest.fixture
def remote(aws: AwsSettings) -> MemoryRuntime:
    """Rekognition, S3 and DynamoDB."""
    photos = S3Photos(aws, Limits())
    return replace(
        memory_runtime(Settings(backend="rekognition", aws=aws, user_metadata="User-Id")),
        photos=cast(MemoryPhotos, photos),
        faces=RekognitionBackend(aws, photos, Limits()),
        ledger=DynamoLedger(aws),
        profiles=DynamoProfiles(aws),
        erasures=DynamoErasures(aws),
        thumbnails=cast(MemoryThumbnails, S3Thumbnails(aws)),
    )


def upload(rt: Runtime, **metadata: str) -> PhotoRef:
    data = scripted_photo("ann")
    client("s3", rt.settings.aws).put_object(Bucket=PHOTOS, Key="selfie.png", Body=data, Metadata=metadata)
    return rt.photos.find(f"s3://{PHOTOS}/selfie.png")


def process(rt: Runtime, photo: PhotoRef, user_id: str) -> Claim:
    return asyncio.run(process_photo(rt, inline(rt, attempts=1), photo, user_id, "run"))


def assert_enrolled_and_forgotten(rt: Runtime, photo: PhotoRef, user_id: str) -> None:
    decided = process(rt, photo, user_id)
    (match,) = rt.faces.search(photo, "somebody else")
    exported = export_user(rt, user_id)
    asyncio.run(forget_user(rt, inline(rt, attempts=1), user_id, "run", sleep=lambda _: asyncio.sleep(0)))

    assert (decided.status, match.user_id, len(exported["faces"])) == ("accepted", user_id, 1)
    assert present(rt.erasures.get(user_id)).removed == {"face": 1, "ledger row": 1, "profile": 1, "thumbnail": 1}
    assert list(rt.faces.faces()) == []


@pytest.mark.parametrize("user_id", FITTING)
def test_an_id_that_rekognition_can_store_is_taken(remote: MemoryRuntime, user_id: str) -> None:
    assert_enrolled_and_forgotten(remote, upload(remote), user_id)


@pytest.mark.parametrize("user_id", [*FITTING, *TOO_LONG])
def test_the_embedded_stores_take_any(tmp_path: Path, user_id: str) -> None:
    rt = scripted_runtime(tmp_path / "home")
    (tmp_path / "selfie.png").write_bytes(scripted_photo("ann"))

    assert_enrolled_and_forgotten(rt, rt.photos.find(str(tmp_path / "selfie.png")), user_id)


@pytest.mark.parametrize("user_id", TOO_LONG)
def test_an_id_that_rekognition_cannot_store_passes_no_door(
    remote: MemoryRuntime, tmp_path: Path, user_id: str
) -> None:
    photo, settings = upload(remote), remote.settings
    by_key = settings.model_copy(update={"user_metadata": None, "key_template": "{user_id}/{name}"})
    batch = tmp_path / "batch.json"
    batch.write_text(json.dumps({"s3Bucket": PHOTOS, "images": [{"userId": user_id, "s3Key": "selfie.png"}]}))
    event = Upload(bucket=PHOTOS, key="selfie.png", version=photo.version)
    with pytest.raises(WrongInput, match="too long for Rekognition"):
        process(remote, photo, user_id)
    with pytest.raises(WrongInput, match="too long for Rekognition"):
        photo_request(settings, remote.photos, event.model_copy(update={"user_id": user_id}))
    with pytest.raises(WrongInput, match="too long for Rekognition"):
        photo_request(by_key, remote.photos, event.model_copy(update={"key": f"{user_id}/selfie.png"}))
    (fault,) = entries(str(batch), settings)

    assert isinstance(fault, Fault)
    assert "too long for Rekognition" in fault.why
    assert remote.ledger.claims_of(user_id) == []
    assert list(remote.faces.faces()) == []


def test_neither_does_one_of_metadata(remote: MemoryRuntime) -> None:
    photo = upload(remote, **{"user-id": "x" * 222})
    with pytest.raises(WrongInput, match="too long for Rekognition"):
        photo_request(remote.settings, remote.photos, Upload(bucket=PHOTOS, key=photo.key, version=photo.version))
