"""The AWS adapters over the wire: moto's server for S3 and DynamoDB, our own endpoint for Rekognition."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any, cast

import boto3
import pytest
from boto3.dynamodb.conditions import Key
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.backends.rekognition import RekognitionBackend
from selfiegate.backends.rekognition_responses import external_id, user_id_from
from selfiegate.backends.scripted import scripted_photo
from selfiegate.clock import now_us
from selfiegate.decoding.decode import Limits
from selfiegate.enrolment.protocol import announce_face, claim_photo, enrol_face, withdraw
from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, PhotoRejected, UserForgotten, WrongInput
from selfiegate.ingestion.messages import Upload as Uploaded
from selfiegate.ingestion.photo_requests import photo_request
from selfiegate.model import Claim, PhotoRef
from selfiegate.policy import Rules, judge
from selfiegate.ports import FaceBackend, PhotoStore, Thresholds, ThumbnailStore
from selfiegate.privacy.erasures import request_erasure
from selfiegate.privacy.export import export_user
from selfiegate.privacy.sequence import forget_user
from selfiegate.privacy.sweeps import sweep
from selfiegate.records import Ledger, Profiles, Records
from selfiegate.runtime import MemoryRuntime, Runtime, memory_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.stores.dynamodb_erasures import DynamoErasures
from selfiegate.stores.dynamodb_gallery import DynamoKnownGallery
from selfiegate.stores.dynamodb_ledger import DynamoLedger
from selfiegate.stores.dynamodb_profiles import DynamoProfiles
from selfiegate.stores.dynamodb_schema import KEY, NUMBER, require_usable
from selfiegate.stores.memory_photos import MemoryPhotos
from selfiegate.stores.s3 import S3Photos, S3Thumbnails
from selfiegate.user_ids import user_id_of
from tests.aws.local import PHOTOS, THUMBNAILS
from tests.contract.faces import AlikeFacesContract, FaceBackendContract
from tests.contract.photos import PhotoStoreContract, ThumbnailStoreContract, Upload
from tests.contract.records import PHOTO, RecordsContract, SharedRecordsContract, Storage, profile, verdict
from tests.present import present
from tests.rekognition.protocol import SERVICE
from tests.runtimes import Failing, Meanwhile, replacing


def put(aws: AwsSettings, key: str, data: bytes, bucket: str = PHOTOS) -> str:
    client("s3", aws).put_object(Bucket=bucket, Key=key, Body=data)
    return f"s3://{bucket}/{key}"


class TestDynamoRecords(RecordsContract, SharedRecordsContract):
    expires_by_itself = True  # by TTL

    @pytest.fixture
    def records(self, aws: AwsSettings) -> Records:
        return Records(DynamoLedger(aws), DynamoProfiles(aws), DynamoErasures(aws), DynamoKnownGallery(aws))

    @pytest.fixture
    def storage(self, aws: AwsSettings) -> Storage:
        return DynamoStorage(aws)

    def test_a_version_before_brings_no_late_look_forward(self, aws: AwsSettings, ledger: Ledger) -> None:
        """Renew the lease as that version does, whose rows' leases say no more than until when they are held."""
        claim = ledger.claim(PHOTO, "ann", "run", lease_s=60)
        ledger.accept(claim)
        due = ledger.decide(claim, verdict(), 5 * 10**15)
        rows = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url).Table(aws.ledger_table)
        rows.update_item(
            Key={"user_id": "ann", "photo_id": PHOTO.id},
            UpdateExpression="SET lease_until = :now",
            ExpressionAttributeValues={":now": now_us()},
        )

        assert list(ledger.to_look_at(now_us() + 1, 10)) == []
        assert list(ledger.to_look_at(5 * 10**15 + 1, 10)) == [due]

    def test_a_row_that_is_opened_anew_does_not_expire(self, aws: AwsSettings, ledger: Ledger) -> None:
        claim = ledger.claim(PHOTO, "ann", "run", 60)
        ledger.decide(claim, verdict("rejected", None))
        rows = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url).Table(aws.ledger_table)
        before = rows.scan()["Items"]
        ledger.reopen(claim, "0000000000000009.0A")

        assert [item.get("expires_at") is None for item in (*before, *rows.scan()["Items"])] == [False, True]

    def test_unfinished_rows_are_spread_over_the_index_and_come_back_in_order(
        self, aws: AwsSettings, ledger: Ledger
    ) -> None:
        photos = [PhotoRef(bucket="photos", key=f"{n}.png", version="v1") for n in range(40)]
        for n, photo in enumerate(photos):
            ledger.claim(photo, f"user {n}", "run", lease_s=-100 - 7 * n % 40)
        rows = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url).Table(aws.ledger_table)
        found = ledger.unfinished(now_us())

        assert len({item["unfinished"] for item in rows.scan()["Items"]}) > 8  # of 16, each of 1,000 writes a second
        assert len(found) == 40
        assert list(found) == sorted(found, key=lambda row: row.lease_until)
        assert ledger.unfinished(now_us(), limit=3) == found[:3]
        assert list(ledger.unfinished(now_us(), limit=3, newest_first=True)) == list(reversed(found))[:3]

    def test_unfinished_rows_of_the_version_before_are_found_and_can_be_finished(
        self, aws: AwsSettings, ledger: Ledger
    ) -> None:
        claims = [ledger.claim(PHOTO, user_id, "run", lease_s=-1) for user_id in ("ann", "bob")]
        rows = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url).Table(aws.ledger_table)
        key = {"user_id": "ann", "photo_id": PHOTO.id}
        rows.update_item(Key=key, UpdateExpression="SET unfinished = :y", ExpressionAttributeValues={":y": "yes"})
        bookmark = json.dumps({"unfinished": "yes", "lease_until": 0, **key})  # of an audit of the version before

        assert {row.user_id for row in ledger.unfinished(now_us())} == {"ann", "bob"}
        assert {user_id for user_id, _ in self.listed(ledger, bookmark)} == {"ann", "bob"}
        ledger.accept(claims[0])
        ledger.decide(claims[0], verdict("accepted", "face"))
        assert [row.user_id for row in ledger.unfinished(now_us())] == ["bob"]

    def listed(self, ledger: Ledger, after: str) -> list[tuple[str, str]]:
        page = ledger.undecided(after, limit=1)
        found = [*page.items]
        while page.next:
            page = ledger.undecided(page.next, limit=1)
            found += page.items
        return found

    def test_a_row_of_the_workshop_is_read_and_can_be_replaced(self, aws: AwsSettings, profiles: Profiles) -> None:
        table = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url).Table(aws.profiles_table)
        seed = {
            "Username": "ann",
            "faceId": "4f0e1b7a-0d6f-4b7e-9d3e-0c8f7a6b5c4d",
            "s3bucket": "rides",
            "s3key": "ann.jpg",
            "thumbnail": {"s3bucket": "thumbs", "s3key": "resized-ann.jpg"},
        }
        table.put_item(Item=seed)
        held = present(profiles.get("ann"))

        assert (held.face_id, held.photo.uri, held.model) == (
            seed["faceId"],
            "s3://rides/ann.jpg",
            "",
        )
        assert held.thumbnails == {"seed": "s3://thumbs/resized-ann.jpg"}
        table.update_item(
            Key={"Username": "ann"}, UpdateExpression="SET car = :car", ExpressionAttributeValues={":car": "red"}
        )
        assert profiles.put(profile(held.revision + 1), replacing=held)
        assert table.get_item(Key={"Username": "ann"})["Item"]["car"] == "red"
        assert not profiles.put(profile(held.revision + 1), replacing=held)

    def test_a_row_has_the_workshops_attributes(self, aws: AwsSettings, profiles: Profiles) -> None:
        profiles.put(profile(thumbnails={"250x250": "s3://thumbs/ann/1.jpg"}), replacing=None)
        key = {"Username": {"S": "ann"}}
        item = client("dynamodb", aws).get_item(TableName=aws.profiles_table, Key=key)["Item"]

        assert {name: item[name] for name in ("Username", "faceId", "s3bucket", "s3key", "thumbnail")} == {
            "Username": {"S": "ann"},
            "faceId": {"S": "face"},
            "s3bucket": {"S": "bucket"},
            "s3key": {"S": "ann/selfie \U0001f600.jpg"},
            "thumbnail": {"M": {"s3bucket": {"S": "thumbs"}, "s3key": {"S": "ann/1.jpg"}}},
        }


@pytest.mark.parametrize(("oldest", "refused"), [(NUMBER, False), (NUMBER + 1, True)])
def test_tables_of_a_newer_schema_are_refused_unless_it_lets_this_one_work(
    aws: AwsSettings, oldest: int, refused: bool
) -> None:
    table = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url).Table(aws.ledger_table)
    table.put_item(Item={**KEY, "number": 7, "oldest_program": oldest})
    require_usable.cache_clear()
    stores = DynamoLedger(aws), DynamoProfiles(aws), DynamoErasures(aws)

    for store in stores:
        with pytest.raises(BackendMisconfigured, match="this one knows 1") if refused else nullcontext():
            store.get(PHOTO, "ann") if isinstance(store, DynamoLedger) else store.get("ann")


class DynamoStorage:
    """Writes to the tables of records behind the program's back."""

    def __init__(self, aws: AwsSettings) -> None:
        dynamodb = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url)
        self._rows, self._profiles = dynamodb.Table(aws.ledger_table), dynamodb.Table(aws.profiles_table)

    def add_fields(self, user_id: str) -> None:
        for item in self._items(user_id):
            for name in ("verdict", "erasure"):
                if item.get(name):
                    item[name] = json.dumps({**json.loads(item[name]), "later": 1})
            if "photo" in item:
                item["photo"]["later"] = "1"
                item["contests"] = [json.dumps({**json.loads(text), "later": 1}) for text in item["contests"]]
            self._rows.put_item(Item={**item, "later": "1"})
        if profile := self._profile(user_id):
            self._profiles.put_item(Item={**profile, "later": "1"})

    def has_field(self, kind: str, user_id: str) -> bool:
        if kind == "profile":
            return "later" in self._profile(user_id)
        return any("later" in json.loads(item["erasure"]) for item in self._items(user_id) if "erasure" in item)

    def damage(self, kind: str, user_id: str) -> None:
        if kind == "profile":
            self._profiles.put_item(Item={**self._profile(user_id), "enrolledAt": "yesterday"})
        for item in self._items(user_id):
            if kind == "erasure" and kind in item:
                self._rows.put_item(Item={**item, "erasure": item["erasure"][1:]})
            if kind == "claim" and "status" in item:
                self._rows.put_item(Item={**item, "status": "paused", "attempt": "often"})

    def _items(self, user_id: str) -> list[Any]:
        found: list[Any] = self._rows.query(KeyConditionExpression=Key("user_id").eq(user_id))["Items"]
        return found

    def _profile(self, user_id: str) -> Any:
        return self._profiles.get_item(Key={"Username": user_id}).get("Item")


class _S3Photos(PhotoStoreContract):
    @pytest.fixture
    def photos(self, aws: AwsSettings) -> PhotoStore:
        return S3Photos(aws, Limits(max_bytes=1000))

    def test_what_names_no_object_is_said(self, photos: PhotoStore) -> None:
        for uri in ("s3://", "s3://bucket", "s3://bucket/", "nowhere.jpg"):
            with pytest.raises(WrongInput, match="s3://bucket/key"):
                photos.find(uri)

    def test_a_photo_that_is_not_there_is_named(self, photos: PhotoStore) -> None:
        with pytest.raises(WrongInput, match=r"nowhere\.jpg"):
            photos.find(f"s3://{PHOTOS}/nowhere.jpg")

    def test_a_photo_above_the_limit_is_refused_before_it_is_read(self, photos: PhotoStore, upload: Upload) -> None:
        with pytest.raises(Exception, match="photo_too_large"):
            photos.read(photos.find(upload(b"x" * 1001)))


class TestVersionedS3Photos(_S3Photos):
    @pytest.fixture
    def upload(self, aws: AwsSettings) -> Upload:
        return lambda data: put(aws, "ann/my selfie+é#1?.jpg", data)

    def test_a_photo_that_changed_after_it_was_found_is_not_read(self, photos: PhotoStore, upload: Upload) -> None:
        reference = photos.find(upload(b"selfie"))
        upload(b"another")

        assert photos.read(reference) == b"selfie"  # its version is kept

    def test_a_deleted_version_is_unreadable(self, aws: AwsSettings, photos: PhotoStore, upload: Upload) -> None:
        reference = photos.find(upload(b"selfie"))
        client("s3", aws).delete_object(Bucket=PHOTOS, Key=reference.key, VersionId=reference.version)

        with pytest.raises(Exception, match="unreadable_photo"):
            photos.read(reference)


class TestPlainS3Photos(_S3Photos):
    @pytest.fixture
    def upload(self, aws: AwsSettings) -> Upload:
        return lambda data: put(aws, "ann/my selfie+é#1?.jpg", data, THUMBNAILS)


class TestS3Thumbnails(ThumbnailStoreContract):
    @pytest.fixture
    def thumbnails(self, aws: AwsSettings) -> ThumbnailStore:
        return S3Thumbnails(aws)

    def test_browsers_are_told_type_and_age(self, aws: AwsSettings, thumbnails: ThumbnailStore) -> None:
        thumbnails.put("ann/photo/250x250.jpg", b"small", "image/jpeg")
        head = client("s3", aws).head_object(Bucket=THUMBNAILS, Key="ann/photo/250x250.jpg")

        assert (head["ContentType"], "immutable" in head["CacheControl"]) == ("image/jpeg", True)


class TestRekognition(FaceBackendContract, AlikeFacesContract):
    @pytest.fixture
    def faces(self, aws: AwsSettings) -> FaceBackend:
        return RekognitionBackend(aws, S3Photos(aws, Limits()), Limits())

    def upload(self, aws: AwsSettings, key: str, data: bytes) -> PhotoRef:
        return S3Photos(aws, Limits()).find(put(aws, key, data))

    @pytest.fixture
    def ann(self, aws: AwsSettings) -> PhotoRef:
        return self.upload(aws, "ann.png", scripted_photo("ann"))

    @pytest.fixture
    def ann_again(self, aws: AwsSettings) -> PhotoRef:
        return self.upload(aws, "ann2.png", scripted_photo("ann~"))

    @pytest.fixture
    def alike(self, aws: AwsSettings) -> PhotoRef:
        return self.upload(aws, "alike.png", scripted_photo("ann~~~~~"))

    @pytest.fixture
    def bob(self, aws: AwsSettings) -> PhotoRef:
        return self.upload(aws, "bob.png", scripted_photo("bob"))

    @pytest.fixture
    def group(self, aws: AwsSettings) -> PhotoRef:
        return self.upload(aws, "group.png", scripted_photo("ann", "bob"))

    @pytest.fixture
    def nobody(self, aws: AwsSettings) -> PhotoRef:
        return self.upload(aws, "nobody.png", scripted_photo())

    @pytest.fixture
    def damaged(self, aws: AwsSettings) -> PhotoRef:
        return self.upload(aws, "damaged.png", b"no photo")

    @pytest.fixture(autouse=True)
    def _no_violations(self, scripted_rekognition: Any) -> Any:
        yield
        assert scripted_rekognition.violations == []

    def test_neither_age_nor_gender_nor_emotions_are_asked_for(
        self, faces: FaceBackend, ann: PhotoRef, scripted_rekognition: Any
    ) -> None:
        faces.detect(ann)
        (asked,) = scripted_rekognition.detections

        assert asked["image"] == "S3Object"
        assert set(asked["attributes"]) == {"DEFAULT", "SUNGLASSES", "EYEGLASSES", "EYES_OPEN", "FACE_OCCLUDED"}

    def test_faces_carry_the_attributes_of_the_policy(self, faces: FaceBackend, aws: AwsSettings) -> None:
        photo = self.upload(
            aws, "x.png", scripted_photo("ann", sunglasses=0.9, yaw=20.0, sharpness=70.0, eye_distance=50.0)
        )
        face = faces.detect(photo).faces[0]

        assert present(face.sunglasses) > 0.5
        assert (face.yaw, face.sharpness) == pytest.approx((20, 70))
        assert face.eye_distance == pytest.approx(50, abs=1)

    @pytest.mark.parametrize(
        ("seen", "code"),
        [
            ({"sunglasses": 0.9}, "sunglasses"),
            ({"covered": 0.95}, "face_covered"),
            ({"eyes_open": 0.1}, "eyes_closed"),
            ({"sharpness": 5.0}, "blurred"),
            ({"brightness": 5.0}, "too_dark"),
        ],
    )
    def test_a_photo_has_the_code_that_it_has_elsewhere(
        self, faces: FaceBackend, aws: AwsSettings, seen: dict[str, Any], code: str
    ) -> None:
        photo = self.upload(aws, "x.png", scripted_photo("ann", **seen))

        assert [reason.code for reason in judge(faces.detect(photo), Rules()).reasons] == [code]

    @pytest.mark.parametrize("user_id", ["a b/ü", "::odd", "eu-west-1:0d6f-4b7e", "用户"])
    def test_any_user_id_comes_back_from_the_collection(self, faces: FaceBackend, ann: PhotoRef, user_id: str) -> None:
        faces.enrol(ann, user_id)

        assert [match.user_id for match in faces.search(ann, "another")] == [user_id]

    def test_equal_photos_of_one_user_are_two_faces(self, faces: FaceBackend, ann: PhotoRef, aws: AwsSettings) -> None:
        copy = self.upload(aws, "copy.png", scripted_photo("ann"))
        face_id = faces.enrol(ann, "user_a")
        faces.enrol(copy, "user_a")
        faces.discard(copy, "user_a")

        assert faces.stats().faces == 1
        assert faces.holds(face_id)

    def test_a_face_is_discarded_without_listing_the_collection(
        self, faces: FaceBackend, ann: PhotoRef, bob: PhotoRef, scripted_rekognition: Any
    ) -> None:
        discarded, kept = faces.enrol(ann, "user_a"), faces.enrol(bob, "user_b")
        scripted_rekognition.switches.delay(visible=3600)  # nor is it searched: searches lag behind
        scripted_rekognition.calls.clear()
        faces.discard(ann, "user_a")
        calls = dict(scripted_rekognition.calls)

        assert calls == {"IndexFaces": 1, "DeleteFaces": 1}
        assert (faces.holds(discarded), faces.holds(kept)) == (False, True)

    def test_a_face_whose_photo_is_gone_is_left_to_the_audit(
        self, faces: FaceBackend, ann: PhotoRef, aws: AwsSettings, caplog: pytest.LogCaptureFixture
    ) -> None:
        faces.enrol(ann, "user_a")
        client("s3", aws).delete_object(Bucket=PHOTOS, Key=ann.key, VersionId=ann.version)
        faces.discard(ann, "user_a")

        assert "selfiegate reconcile --repair" in caplog.text

    def test_no_number_of_own_faces_hides_a_rival(self, faces: FaceBackend, aws: AwsSettings) -> None:
        rival = self.upload(aws, "rival.png", scripted_photo("ann~~~"))
        theirs = faces.enrol(rival, "user_b")
        for n in range(60):
            ours = faces.enrol(self.upload(aws, f"{n}.png", scripted_photo("ann", size=(320, 240 + n))), "user_a")

        assert [match.face_id for match in faces.rivals(ours, "user_a")] == [theirs]

    def test_a_photo_that_is_gone_is_an_outcome_though_it_was_seen_before(
        self, faces: FaceBackend, ann: PhotoRef, aws: AwsSettings
    ) -> None:
        faces.detect(ann)
        client("s3", aws).delete_object(Bucket=PHOTOS, Key=ann.key, VersionId=ann.version)

        with pytest.raises(PhotoRejected, match="unreadable_photo"):
            faces.search(ann, "user_a")

    def test_what_rekognition_would_see_otherwise_is_sent_as_a_plain_jpeg(
        self, faces: RekognitionBackend, aws: AwsSettings
    ) -> None:
        out = io.BytesIO()
        Image.new("RGBA", (200, 200)).save(out, "PNG")
        image, size = faces._images.of(self.upload(aws, "transparent.png", out.getvalue()))

        assert image["Bytes"].startswith(b"\xff\xd8\xff")
        assert size == (200, 200)

    def test_an_erasure_lists_the_collection_once_and_whoever_takes_over_goes_on(
        self, faces: FaceBackend, aws: AwsSettings, scripted_rekognition: Any
    ) -> None:
        for n in range(5):
            faces.enrol(
                self.upload(aws, f"{n}.png", scripted_photo(f"person {n}")), "ann" if n in (0, 4) else f"user {n}"
            )
        scripted_rekognition.switches.list_most(2)
        scripted_rekognition.journal.clear()
        rt = replace(memory_runtime(), faces=faces)
        dying = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0}))
        erasure = sweep(rt, request_erasure(dying, "ann", "a run that dies"))
        listed = [scripted_rekognition.calls["ListFaces"]]
        for run in ("a run that dies", "reconcile", "another reconcile"):
            if run != "a run that dies":
                erasure = request_erasure(dying, "ann", run, carry_on=erasure.asked_at)
            erasure = sweep(rt, erasure, seconds=0)
            listed.append(scripted_rekognition.calls["ListFaces"])

        assert (listed, erasure.sweeps, erasure.removed) == ([0, 1, 2, 3], 2, {"face": 2})
        assert faces.faces_of("ann") == []
        assert faces.stats().faces == 3

    def test_a_page_that_rekognition_no_longer_knows_is_the_first(
        self, faces: FaceBackend, aws: AwsSettings, ann: PhotoRef, scripted_rekognition: Any
    ) -> None:
        mine = faces.enrol(ann, "user_a")
        faces.enrol(self.upload(aws, "bob.png", scripted_photo("bob")), "user_b")
        scripted_rekognition.switches.list_most(1)
        second = faces.page_of("user_a").next
        scripted_rekognition.switches.fail("ListFaces", "InvalidPaginationTokenException", times=1)

        assert faces.page_of("user_a", second).items == [mine]

    @pytest.mark.parametrize(
        "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "InternalServerError"]
    )
    def test_what_may_pass_is_unavailable(
        self, faces: FaceBackend, ann: PhotoRef, scripted_rekognition: Any, code: str
    ) -> None:
        scripted_rekognition.switches.fail("DetectFaces", code)

        with pytest.raises(BackendUnavailable, match="rekognition:DetectFaces"):
            faces.detect(ann)

    @pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
    def test_what_needs_somebody_is_misconfigured(
        self, faces: FaceBackend, ann: PhotoRef, scripted_rekognition: Any, code: str
    ) -> None:
        scripted_rekognition.switches.fail("SearchFacesByImage", code)

        with pytest.raises(BackendMisconfigured, match=f"rekognition:SearchFacesByImage.*{code}"):
            faces.search(ann, "user_a")

    def test_a_face_that_is_not_known_yet_is_asked_for_again(
        self, faces: FaceBackend, ann: PhotoRef, scripted_rekognition: Any
    ) -> None:
        scripted_rekognition.switches.delay(known=3600)
        face_id = faces.enrol(ann, "user_a")

        with pytest.raises(BackendUnavailable):
            faces.rivals(face_id, "user_a")

    def test_a_face_that_cannot_be_indexed_has_its_reason(self, aws: AwsSettings) -> None:
        strict = RekognitionBackend(
            aws.model_copy(update={"quality_filter": "HIGH"}), S3Photos(aws, Limits()), Limits()
        )
        photo = self.upload(aws, "x.png", scripted_photo("ann", sharpness=1.0))

        with pytest.raises(Exception, match="blurred"):
            strict.enrol(photo, "user_a")

    def test_faces_are_counted_without_listing_them(
        self, faces: FaceBackend, ann: PhotoRef, scripted_rekognition: Any
    ) -> None:
        faces.enrol(ann, "user_a")
        scripted_rekognition.journal.clear()
        found = faces.stats()

        assert (found.faces, found.users) == (1, None)
        assert set(scripted_rekognition.calls) == {"DescribeCollection"}

    def test_the_collection_is_created_once(self, aws: AwsSettings) -> None:
        other = RekognitionBackend(aws.model_copy(update={"collection": "new"}), S3Photos(aws, Limits()), Limits())

        assert other.create() == other.create() == "rekognition/new@7.0"

    def test_a_doubtful_other_is_reported_where_that_is_set(
        self, aws: AwsSettings, ann: PhotoRef, ann_again: PhotoRef
    ) -> None:
        backend = RekognitionBackend(aws, S3Photos(aws, Limits()), Limits(), Thresholds(99.9, 80, 90, 80))
        backend.enrol(ann, "user_a")

        assert [match.user_id for match in backend.search(ann_again, "user_b")] == ["user_a"]


class TestClaimsOnRekognition:
    """The protocol over the wire: what was indexed is noted before and after, so the collection is not listed."""

    @pytest.fixture
    def rt(self, aws: AwsSettings) -> MemoryRuntime:
        photos = S3Photos(aws, Limits())
        return replace(
            memory_runtime(Settings(backend="rekognition", aws=aws)),
            photos=cast(MemoryPhotos, photos),
            faces=RekognitionBackend(aws, photos, Limits()),
            ledger=DynamoLedger(aws),
            profiles=DynamoProfiles(aws),
            erasures=DynamoErasures(aws),
        )

    @pytest.fixture
    def ann(self, rt: Runtime, aws: AwsSettings) -> PhotoRef:
        return rt.photos.find(put(aws, "ann.png", scripted_photo("ann")))

    def again(self, rt: Runtime, claim: Claim, calls: Any) -> Claim:
        rt.ledger.renew(claim, -1)
        calls.clear()
        return claim_photo(rt, claim.photo, claim.user_id, "run-2")

    def test_a_photo_that_was_never_indexed_is_withdrawn_without_a_call(
        self, rt: Runtime, ann: PhotoRef, scripted_rekognition: Any
    ) -> None:
        claim = self.again(rt, claim_photo(rt, ann, "user_a", "run-1"), scripted_rekognition.calls)
        withdraw(rt, claim)

        assert scripted_rekognition.calls == {}

    @pytest.mark.parametrize("died", [False, True])
    def test_a_face_that_is_not_indexed_is_looked_for_only_where_an_earlier_run_may_have_indexed_it(
        self, rt: MemoryRuntime, aws: AwsSettings, scripted_rekognition: Any, died: bool
    ) -> None:
        strict = aws.model_copy(update={"quality_filter": "HIGH"})
        rt = replace(rt, faces=RekognitionBackend(strict, rt.photos, Limits()))
        photo = rt.photos.find(put(aws, "soft.png", scripted_photo("ann", sharpness=35.0)))
        if died:
            announce_face(rt, claim_photo(rt, photo, "user_a", "run-1"))
        scripted_rekognition.journal.clear()
        decided = asyncio.run(process_photo(rt, inline(rt, attempts=1), photo, "user_a", "run-1"))
        calls = {name: count for name, count in scripted_rekognition.calls.items() if name != "DescribeCollection"}

        assert [reason.code for reason in present(decided.verdict).reasons] == ["blurred"]
        assert calls == {"DetectFaces": 1, "SearchFacesByImage": 1, "IndexFaces": 3 if died else 1}

    def test_an_export_lists_only_the_faces_that_the_records_name(
        self, rt: Runtime, aws: AwsSettings, scripted_rekognition: Any
    ) -> None:
        for n in range(5):
            photo = rt.photos.find(put(aws, f"{n}.png", scripted_photo(f"person {n}")))
            asyncio.run(process_photo(rt, inline(rt, attempts=1), photo, f"user {n}", "run-1"))
        scripted_rekognition.switches.list_most(1)
        scripted_rekognition.journal.clear()
        exported = export_user(rt, "user 3")

        assert [face["face_id"] for face in exported["faces"]] == [present(rt.profiles.get("user 3")).face_id]
        assert scripted_rekognition.calls["ListFaces"] == 1

    def test_a_face_whose_run_died_before_it_was_noted_is_withdrawn(
        self, rt: Runtime, ann: PhotoRef, scripted_rekognition: Any
    ) -> None:
        claim = claim_photo(rt, ann, "user_a", "run-1")
        with pytest.raises(BackendUnavailable):
            enrol_face(replacing(rt, "faces", Failing(rt.faces, "enrol", times=1, after=True)), claim)
        claim = self.again(rt, claim, scripted_rekognition.calls)
        withdraw(rt, claim)
        withdraw(rt, claim)
        calls = scripted_rekognition.calls.copy()

        assert calls["ListFaces"] == 0
        assert rt.faces.stats().faces == 0

    def test_a_face_indexed_after_its_user_was_forgotten_is_taken_back_by_its_id(
        self, rt: Runtime, ann: PhotoRef, scripted_rekognition: Any
    ) -> None:
        claim = claim_photo(rt, ann, "user_a", "run-1")

        def forget() -> None:
            asyncio.run(forget_user(rt, inline(rt), "user_a", "run-2", sleep=lambda _: asyncio.sleep(0)))
            scripted_rekognition.calls.clear()

        slept = Meanwhile(rt.faces, "enrol", after=False, what=forget)
        with pytest.raises(UserForgotten):
            enrol_face(replacing(rt, "faces", slept), claim)
        calls = scripted_rekognition.calls.copy()

        assert calls == {"IndexFaces": 1, "DeleteFaces": 1}
        assert rt.faces.stats().faces == 0

    @pytest.mark.parametrize("user_id", ["用" * 60, "x" * 222])
    def test_a_user_id_that_cannot_be_stored_is_refused_before_anything_is_written(
        self, rt: Runtime, ann: PhotoRef, aws: AwsSettings, user_id: str
    ) -> None:
        with pytest.raises(WrongInput, match="164 bytes"):
            claim_photo(rt, ann, user_id, "run-1")
        upload = Uploaded(bucket=PHOTOS, key=f"{user_id}/ann.png", version=ann.version)
        with pytest.raises(WrongInput, match="164 bytes"):
            photo_request(rt.settings, rt.photos, upload)

        assert rt.ledger.get(ann, user_id) is None

    def test_a_claim_that_an_earlier_version_left_of_such_a_user_ends(self, rt: Runtime, ann: PhotoRef) -> None:
        rt.ledger.claim(ann, "用" * 60, "run-1", lease_s=-1)
        with pytest.raises(WrongInput):
            claim_photo(rt, ann, "用" * 60, "run-2")

        assert rt.ledger.unfinished(before=2**62) == []
        assert list(rt.faces.faces()) == []


def test_all_versions_of_an_erased_photo_go_and_its_neighbours_stay(aws: AwsSettings) -> None:
    s3, photos = client("s3", aws), S3Photos(aws, Limits())
    for key in ("ann/selfie.jpg", "ann/selfie.jpg", "ann/selfie.jpg.bak"):
        put(aws, key, b"photo")
    reference = photos.find(f"s3://{PHOTOS}/ann/selfie.jpg")
    s3.delete_object(Bucket=PHOTOS, Key=reference.key)  # leaves a marker
    photos.erase(reference, time.time_ns() // 1000)
    left = s3.list_object_versions(Bucket=PHOTOS)

    assert [version["Key"] for version in left["Versions"]] == ["ann/selfie.jpg.bak"]
    assert "DeleteMarkers" not in left


@given(st.text(min_size=1, max_size=255) | st.sampled_from(["a.b-c_d:e", "x" * 221, "::", "ü" * 80, "\U0001f600"]))
def test_external_ids_are_what_rekognition_takes_and_are_read_back(user_id: str) -> None:
    photo, limits = PhotoRef(bucket="b", key="k", version="1"), SERVICE.shape_for("ExternalImageId").metadata
    with suppress(WrongInput):
        user_id_of(user_id, "rekognition")
        external = external_id(user_id, photo)

        assert len(external) <= limits["max"]
        assert re.fullmatch(limits["pattern"], external)
        assert user_id_from(external) == user_id


def test_the_id_that_an_older_system_gave_a_face_is_its_user() -> None:
    assert user_id_from("a:b") == "a:b"


def test_a_server_that_is_not_there_is_unavailable(aws: AwsSettings) -> None:
    nowhere = aws.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})

    with pytest.raises(BackendUnavailable):
        DynamoProfiles(nowhere).get("ann")


def test_a_table_that_is_not_there_is_misconfigured(aws: AwsSettings) -> None:
    with pytest.raises(BackendMisconfigured, match="no-such-table"):
        DynamoProfiles(aws.model_copy(update={"profiles_table": "no-such-table"})).get("ann")


def test_the_metadata_of_exactly_this_version_is_read(aws: AwsSettings) -> None:
    put, photos = client("s3", aws).put_object, S3Photos(aws, Limits())
    for user_id in ("ann", "bob"):
        put(Bucket=PHOTOS, Key="selfie.jpg", Body=user_id.encode(), Metadata={"User-Id": user_id})
    present = photos.find(f"s3://{PHOTOS}/selfie.jpg")
    versions = client("s3", aws).list_object_versions(Bucket=PHOTOS)["Versions"]
    (older,) = [version["VersionId"] for version in versions if not version["IsLatest"]]

    put(Bucket=PHOTOS, Key="odd.jpg", Body=b"", Metadata={"user-id": "=?bogus?B?eA==?="})
    assert photos.metadata(photos.find(f"s3://{PHOTOS}/odd.jpg")) == {"user-id": "=?bogus?B?eA==?="}
    assert photos.metadata(present) == {"user-id": "bob"}
    assert photos.metadata(present.model_copy(update={"version": older})) == {"user-id": "ann"}
    with pytest.raises(WrongInput, match="there is no photo"):
        photos.metadata(present.model_copy(update={"key": "another.jpg"}))


def test_doubtful_faces_are_rivals_too(aws: AwsSettings, scripted_rekognition: Any) -> None:
    thresholds, photos = Thresholds(match=99.9, verify=50, review=60, unclear=60), S3Photos(aws, Limits())
    faces = RekognitionBackend(aws, photos, Limits(), thresholds)
    ann, alike = (photos.find(put(aws, f"{who}.png", scripted_photo(who))) for who in ("ann", "ann~"))
    theirs, ours = faces.enrol(ann, "user_a"), faces.enrol(alike, "user_b")
    (rival,) = faces.rivals(ours, "user_b")

    assert rival.face_id == theirs
    assert rival.score < faces.thresholds.match
