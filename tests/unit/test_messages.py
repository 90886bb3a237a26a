"""Events: every shape that tells of an upload, what tells of none, and what is refused."""

from __future__ import annotations

import copy
import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.ingestion.messages import Upload, read_event, uploads
from selfiegate.key_template import KeyTemplate

VERSION = "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"
ETAG = "b1946ac92492d2347c6235b4d2611184"
SEQUENCER = "0062E99A88DC407460"
TIME = "2026-11-20T14:35:33.250Z"
PINNED = Upload(bucket="wild-rydes", key="ann/selfie.jpg", version=VERSION, etag=ETAG, sequencer=SEQUENCER, time=TIME)


def record(key: str = "ann/selfie.jpg", name: str = "ObjectCreated:Put", **entry: object) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": TIME,
        "eventName": name,
        "userIdentity": {"principalId": "AWS:AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "uploads",
            "bucket": {
                "name": "wild-rydes",
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": "arn:aws:s3:::wild-rydes",
            },
            "object": {
                "key": key,
                "size": 52931,
                "eTag": ETAG,
                "versionId": VERSION,
                "sequencer": SEQUENCER,
                **entry,
            },
        },
    }


def notification(*records: object) -> dict[str, Any]:
    return {"Records": list(records or [record()])}


def eventbridge(kind: str = "Object Created", source: str = "aws.s3", **detail: object) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": source,
        "account": "111122223333",
        "time": TIME,
        "region": "eu-central-1",
        "resources": ["arn:aws:s3:::wild-rydes"],
        "detail": {
            "version": "0",
            "bucket": {"name": "wild-rydes"},
            "object": {
                "key": "ann/selfie.jpg",
                "size": 52931,
                "etag": ETAG,
                "version-id": VERSION,
                "sequencer": SEQUENCER,
            },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.1",
            "reason": "PutObject",
            **detail,
        },
    }


def cloudtrail(name: str = "PutObject", **changes: object) -> dict[str, Any]:
    event = eventbridge("AWS API Call via CloudTrail")
    event["detail"] = {
        "eventVersion": "1.11",
        "userIdentity": {"type": "AssumedRole", "accountId": "111122223333", "invokedBy": "cognito"},
        "eventTime": TIME,
        "eventSource": "s3.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "192.0.2.1",
        "userAgent": "[aws-sdk-js/3.0]",
        "requestParameters": {
            "bucketName": "wild-rydes",
            "Host": "wild-rydes.s3.eu-central-1.amazonaws.com",
            "key": "ann/selfie.jpg",
        },
        "responseElements": {"x-amz-server-side-encryption": "AES256", "x-amz-version-id": VERSION},
        "additionalEventData": {"SignatureVersion": "SigV4", "bytesTransferredIn": 52931.0, "bytesTransferredOut": 0.0},
        "requestID": "CF9748DFDC5FB0A4",
        "eventID": "d5b9e4b8-6a7c-4b9e-9d2f-1f2b3c4d5e6f",
        "readOnly": False,
        "resources": [{"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::wild-rydes/ann/selfie.jpg"}],
        "eventType": "AwsApiCall",
        "managementEvent": False,
        "recipientAccountId": "111122223333",
        "eventCategory": "Data",
        **changes,
    }
    return event


def sns(message: object) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:eu-central-1:111122223333:uploads",
        "Subject": "Amazon S3 Notification",
        "Message": json.dumps(message),
        "Timestamp": "2026-11-20T14:35:33.000Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLEw6JRN",
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-EXAMPLE.pem",
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    }


WORKSHOP = {"userId": "user_a", "s3Bucket": "wild-rydes", "s3Key": "1_happy_face.jpg"}
BATCH = {
    "s3Bucket": "wild-rydes",
    "images": [{"userId": "user_a", "s3Key": "1_happy_face.jpg"}, {"userId": "user_b", "s3Key": "a+b %2F.jpg"}],
}
TEST_EVENT = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-11-20T14:35:33.000Z",
    "Bucket": "wild-rydes",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
}
OWN = {"user_id": "ann", "bucket": "wild-rydes", "key": "a+b %2F.jpg"}
SHAPES = [WORKSHOP, BATCH, OWN, notification(), eventbridge(), cloudtrail(), TEST_EVENT, sns(notification())]


def test_the_workshops_input_names_its_user() -> None:
    assert uploads(WORKSHOP) == [Upload(bucket="wild-rydes", key="1_happy_face.jpg", user_id="user_a")]


def test_the_workshops_batch_is_one_upload_per_image() -> None:
    assert [(upload.user_id, upload.key) for upload in uploads(BATCH)] == [
        ("user_a", "1_happy_face.jpg"),
        ("user_b", "a+b %2F.jpg"),
    ]


@pytest.mark.parametrize("event", [notification(), eventbridge()], ids=["s3", "eventbridge"])
def test_an_upload_is_pinned_by_version_and_etag(event: dict[str, Any]) -> None:
    assert uploads(event) == [PINNED]


@pytest.mark.parametrize("call", ["PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"])
def test_cloudtrail_tells_the_version_alone(call: str) -> None:
    assert uploads(cloudtrail(call)) == [PINNED.model_copy(update={"etag": "", "sequencer": ""})]


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("ann/my+selfie.jpg", "ann/my selfie.jpg"),
        ("ann/a%2Bb.jpg", "ann/a+b.jpg"),
        ("ann/a%252Fb.jpg", "ann/a%2Fb.jpg"),
        ("ann%2Fselfie.jpg", "ann/selfie.jpg"),
        ("%E7%94%A8%E6%88%B7/%F0%9F%98%80.jpg", "用户/\U0001f600.jpg"),
        ("ann%40example.com/selfie.jpg", "ann@example.com/selfie.jpg"),
    ],
)
def test_the_keys_of_s3_notifications_are_form_encoded(encoded: str, key: str) -> None:
    assert uploads(notification(record(encoded)))[0].key == key


@pytest.mark.parametrize("key", ["ann/my selfie.jpg", "ann/a+b.jpg", "ann/a%2Fb.jpg", "用户/\U0001f600.jpg"])
def test_the_keys_of_all_other_events_are_taken_as_they_are(key: str) -> None:
    events = [
        eventbridge(object={"key": key}),
        cloudtrail(requestParameters={"bucketName": "wild-rydes", "key": key}),
        {**WORKSHOP, "s3Key": key},
    ]

    assert [uploads(event)[0].key for event in events] == [key] * 3


@pytest.mark.parametrize("missing", ["versionId", "eTag", "sequencer"])
def test_what_a_notification_does_not_tell_is_left_empty(missing: str) -> None:
    event = notification()
    del event["Records"][0]["s3"]["object"][missing]

    assert "" in uploads(event)[0].model_dump().values()


def test_a_null_version_pins_nothing() -> None:
    assert uploads(notification(record(versionId="null")))[0].version == ""
    assert uploads(notification(record(versionId=None)))[0].version == ""


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_envelopes_and_text_change_nothing(shape: dict[str, Any]) -> None:
    plain = uploads(shape)
    lambda_sqs = notification({"messageId": "1", "eventSource": "aws:sqs", "body": json.dumps(shape)})
    lambda_sns = notification({"EventSource": "aws:sns", "Sns": sns(shape)})
    wrapped: list[Any] = [json.dumps(shape), json.dumps(shape).encode(), sns(shape), json.dumps(sns(shape))]

    assert [uploads(message) for message in wrapped] == [plain] * 4
    assert uploads({"MessageId": "1", "ReceiptHandle": "x", "Body": json.dumps(sns(shape))}) == plain
    assert uploads(lambda_sqs) == uploads(lambda_sns) == plain


def test_our_own_line_names_user_bucket_and_key() -> None:
    more = {**OWN, "version": VERSION, "time": TIME}

    assert uploads(OWN) == [Upload(bucket="wild-rydes", key="a+b %2F.jpg", user_id="ann")]
    assert uploads(more) == [Upload(bucket="wild-rydes", key="a+b %2F.jpg", user_id="ann", version=VERSION, time=TIME)]


def test_our_own_line_may_leave_the_user_to_the_key() -> None:
    assert uploads({"bucket": "wild-rydes", "key": "ann/1.jpg"}) == [Upload(bucket="wild-rydes", key="ann/1.jpg")]


def test_minios_webhook_tells_its_key_form_encoded() -> None:
    """As `internal/event/target/webhook.go` sends it; the outer Key is decoded, and not read."""
    created = record("rider+7%2Fph%C3%B6to%2B1.jpg", "s3:ObjectCreated:Put", contentType="image/jpeg")
    body = {"EventName": "s3:ObjectCreated:Put", "Key": "wild-rydes/rider 7/phöto+1.jpg", "Records": [created]}

    (upload,) = uploads({**body, "Records": [{**created, "eventSource": "minio:s3"}]})
    assert upload.key == "rider 7/phöto+1.jpg"


def test_cephs_webhook_tells_its_key_as_it_is() -> None:
    """As RGW's `rgw_notify.cc` sends it: the object's name, and an empty version where there is none."""
    created = record("rider+7/100%25 phöto.jpg", versionId="")
    told = {**created, "eventSource": "ceph:s3", "eventTime": "2026-11-20 14:35:33.408496Z"}

    (upload,) = uploads({"Records": [told]})
    assert (upload.key, upload.version) == ("rider+7/100%25 phöto.jpg", "")


def test_s3_compatible_stores_name_their_events_with_a_prefix() -> None:
    assert uploads(notification(record(name="s3:ObjectCreated:Put", eTag=f'"{ETAG}"'))) == [PINNED]


@pytest.mark.parametrize(
    "event",
    [
        notification(record(name="ObjectRemoved:Delete")),
        notification(record(name="ObjectRemoved:DeleteMarkerCreated")),
        notification(record(name="ObjectRestore:Completed")),
        notification(record(name="s3:ObjectRemoved:Delete")),
        {"Records": []},
        TEST_EVENT,
        eventbridge("Object Deleted", reason="DeleteObject"),
        eventbridge("Object Tags Added"),
        eventbridge(source="aws.ec2", kind="EC2 Instance State-change Notification"),
        cloudtrail("DeleteObject"),
        cloudtrail("UploadPart"),
        cloudtrail(errorCode="AccessDenied", errorMessage="Access Denied", responseElements=None),
        {"Type": "SubscriptionConfirmation", "Token": "2336412f37", "Message": "You have chosen to subscribe ..."},
        {"s3Bucket": "wild-rydes", "images": []},
    ],
)
def test_what_creates_no_object_names_no_photo(event: dict[str, Any]) -> None:
    assert uploads(event) == []


def test_creations_are_taken_from_among_deletions() -> None:
    assert uploads(notification(record(name="ObjectRemoved:Delete"), record())) == [PINNED]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", "not JSON"),
        ("hello", "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        ("9" * 5000, "not JSON"),
        ("[]", "not an object but list"),
        ("{}", "no known shape; known are the workshop's userId"),
        ({"Records": {}}, "Records is not a list"),
        ({"Records": [1]}, "no eventName"),
        ({"s3Bucket": "wild-rydes", "s3Key": "a.jpg"}, "no userId"),
        ({"userId": "ann", "s3Key": "a.jpg"}, "no s3Bucket"),
        ({"userId": "ann", "s3Bucket": "wild-rydes"}, "no s3Key"),
        ({"s3Bucket": "wild-rydes", "images": {"a": 1}}, "images is not a list"),
        ({"s3Bucket": "wild-rydes", "images": [{"s3Key": "a.jpg"}]}, "no userId"),
        ({"user_id": "ann", "key": "a.jpg"}, "no bucket"),
        ({"user_id": "ann", "bucket": "wild-rydes"}, "no key"),
        ({**OWN, "user_id": ""}, "no user_id"),
        ({**OWN, "time": 7}, "time is not text"),
        ({**WORKSHOP, "userId": "a\nb"}, "control or invisible"),
        ({**WORKSHOP, "userId": 7}, "userId is not text"),
        ({**WORKSHOP, "s3Bucket": "/etc"}, "'/etc' is no name of a bucket"),
        ({**WORKSHOP, "s3Key": "ä" * 513}, "longer than S3's 1024 bytes"),
        ({**WORKSHOP, "s3Key": "\ud800"}, "s3Key is not text"),
        (notification(record("%FF.jpg")), "not form-encoded UTF-8"),
        (notification(record(key="")), r"no s3\.object\.key"),
        (notification({**record(), "s3": None}), r"no s3\.object\.key"),
        (notification(record(versionId=5)), r"s3\.object\.versionId is not text"),
        (eventbridge(bucket={}), r"no detail\.bucket\.name"),
        (cloudtrail(requestParameters=None), r"no detail\.requestParameters\.bucketName"),
        (cloudtrail(responseElements={"x-amz-version-id": []}), "x-amz-version-id is not text"),
        ({"Type": "Notification", "Message": {"a": 1}}, "no text in Message"),
        (sns("hello"), "not JSON"),
        ({"Body": None}, "no text in Body"),
    ],
)
def test_a_malformed_event_says_what_is_wrong(message: Any, words: str) -> None:
    with pytest.raises(WrongInput, match=words):
        uploads(message)


def test_an_event_wrapped_again_and_again_is_refused() -> None:
    message = json.dumps(WORKSHOP)
    for _ in range(6):
        message = json.dumps(message)

    with pytest.raises(WrongInput, match="wrapped more than 5 times"):
        uploads(message)


@pytest.mark.parametrize("deep", ["[" * 200_000, '{"Records":' * 80_000, '{"Body":' * 100_000])
def test_deep_nesting_is_refused(deep: str) -> None:
    with pytest.raises(WrongInput, match=r"deeply|not JSON"):
        uploads(deep)


def test_more_than_a_queue_can_carry_is_refused() -> None:
    with pytest.raises(WrongInput, match="larger than 1048576 bytes"):
        uploads(json.dumps({**WORKSHOP, "comment": "x" * (1 << 20)}))


# The names that mean something, so that random JSON reaches deep into the shapes.
NAMES = st.sampled_from(
    sorted(set(re.findall(r'"([\w-]+)":', json.dumps([*SHAPES, {"Body": "", "body": "", "Sns": {}}]))))
)
TEXTS = st.text() | st.sampled_from(
    [
        "aws.s3",
        "Object Created",
        "ObjectCreated:Put",
        "s3.amazonaws.com",
        "PutObject",
        "Notification",
        "wild-rydes",
        "{}",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(NAMES | st.text(), children),
    max_leaves=20,
)


@given(JSON)
def test_any_json_gives_uploads_or_wrong_input(value: Any) -> None:
    for message in (value, json.dumps(value), sns(value)):
        with suppress(WrongInput):
            assert all(isinstance(upload, Upload) for upload in uploads(message))


@given(st.lists(JSON, max_size=4), st.data())
def test_the_good_records_are_found_among_any_others(others: list[Any], data: st.DataObject) -> None:
    good = [record(f"ann/{number}.jpg") for number in range(3)]
    records = data.draw(st.permutations([*good, *others]))
    event = read_event({"Records": records})

    assert {one["s3"]["object"]["key"] for one in good} <= {upload.key for upload in event.uploads}
    assert all(re.match(r"Records\[\d+\]: ", wrong) for wrong in event.wrong)


def test_a_wrong_record_is_named_by_its_place() -> None:
    found = read_event(notification(record("ann/a.jpg"), {"eventName": 7}, record("ann/b.jpg")))

    assert [upload.key for upload in found.uploads] == ["ann/a.jpg", "ann/b.jpg"]
    assert found.wrong == ["Records[1]: the event's eventName is not text of at most 4096 characters"]


@given(st.text() | st.binary())
def test_any_bytes_give_uploads_or_wrong_input(message: str | bytes) -> None:
    with suppress(WrongInput):
        uploads(message)


def places(value: object) -> list[tuple[Any, Any]]:
    """Return every container of a JSON value with each of its keys or indices."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, name) for name, _ in items] + [place for _, child in items for place in places(child)]


@given(st.sampled_from(SHAPES), st.data())
def test_an_event_spoiled_anywhere_gives_uploads_or_wrong_input(shape: dict[str, Any], data: st.DataObject) -> None:
    spoiled = copy.deepcopy(shape)
    container, name = data.draw(st.sampled_from(places(spoiled)))
    container[name] = data.draw(JSON)

    with suppress(WrongInput):
        uploads(spoiled)


@pytest.mark.parametrize(
    ("template", "key", "user_id"),
    [
        ("{user_id}/{name}", "ann/selfie.jpg", "ann"),
        ("{user_id}/{name}", "ann/2026/11/selfie.jpg", "ann"),
        ("{user_id}/{name}", "ann@example.com/my selfie.jpg", "ann@example.com"),
        ("*/{user_id}.jpg", "uploads/ann.jpg", "ann"),
        ("*/{user_id}.jpg", "uploads/ann.jpg.jpg", "ann.jpg"),
        ("photos/{user_id}/*", "photos/用户/selfie.jpg", "用户"),
        ("{user_id}", "ann", "ann"),
        ("{user_id}.*", "ann.jpg", "ann"),
        ("in-*-{user_id}/{name}.jpg", "in-7-ann/selfie.jpg", "ann"),
        ("a*c/{user_id}/{name}", "abcc/ann/x", "ann"),
        ("{user_id}/(.+)[a]{name}", "ann/(.+)[a]b", "ann"),
    ],
)
def test_a_key_names_its_user(template: str, key: str, user_id: str) -> None:
    assert KeyTemplate(template).user_of(key) == user_id


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("{user_id}/{name}", "selfie.jpg"),
        ("{user_id}/{name}", "/selfie.jpg"),
        ("{user_id}/{name}", "ann/"),
        ("{user_id}/{name}", "ann/folder/"),
        ("{user_id}/{name}", ""),
        ("{user_id}/*", "ann/2026/selfie.jpg"),
        ("*/{user_id}.jpg", "uploads/.jpg"),
        ("*/{user_id}.jpg", "uploads/ann.JPG"),
        ("*/{user_id}.jpg", "a/b/ann.jpg"),
        ("*/{user_id}.jpg", "/ann.jpg"),
        ("photos/{user_id}/*", "Photos/ann/selfie.jpg"),
        ("photos/{user_id}/*", "my/photos/ann/selfie.jpg"),
        ("ab{user_id}bc", "abc"),
        ("a*a/{user_id}", "aa/ann"),
        ("{user_id}/{name}", "x" * 1025 + "/a"),
    ],
)
def test_a_key_that_does_not_match_is_named_with_its_template(template: str, key: str) -> None:
    with pytest.raises(WrongInput, match="does not match") as error:
        KeyTemplate(template).user_of(key)
    assert repr(key[:1024]) in str(error.value)
    assert repr(template) in str(error.value)


@pytest.mark.parametrize(
    ("template", "key"),
    [("{user_id}-*.jpg", "ann-b-1.jpg"), ("*-{user_id}/{name}", "a-b-c/x"), ("{user_id}.*", "ann@example.com.jpg")],
)
def test_a_key_that_could_name_two_users_is_refused(template: str, key: str) -> None:
    with pytest.raises(WrongInput, match="more than one user"):
        KeyTemplate(template).user_of(key)


@pytest.mark.parametrize("key", ["a\nb/selfie.jpg", "a\u202eb/selfie.jpg", "x" * 256 + "/selfie.jpg"])
def test_a_key_with_an_id_that_can_name_nobody_is_refused(key: str) -> None:
    with pytest.raises(WrongInput, match=r"under the template .*user id") as error:
        KeyTemplate().user_of(key)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "needs {user_id} once"),
        ("photos/*", "needs {user_id} once"),
        ("{user_id}/{user_id}", "needs {user_id} once"),
        ("{user_id}{name}", "nothing tells"),
        ("*{user_id}/a", "nothing tells"),
        ("{user}/{user_id}", "no other braces"),
        ("{{user_id}}/a", "no other braces"),
        ("{user_id/{user_id}", "no other braces"),
    ],
)
def test_a_wrong_template_says_how_to_mend_it(template: str, words: str) -> None:
    with pytest.raises(BackendMisconfigured, match=words):
        KeyTemplate(template)


TEMPLATES = [
    KeyTemplate(text)
    for text in (
        "{user_id}/{name}",
        "*/{user_id}.jpg",
        "photos/{user_id}/*",
        "{user_id}-*.jpg",
        "*a*a*-{user_id}-*a*a*/{name}",
    )
]


@given(st.sampled_from(TEMPLATES), st.text("ab-./", min_size=1, max_size=20), st.lists(st.text("a-.j", min_size=1)))
def test_no_key_made_for_one_user_is_read_as_anothers(template: KeyTemplate, user_id: str, fill: list[str]) -> None:
    user_id = user_id.replace("/", "") or "ann"
    key = template.text.replace("{user_id}", user_id)
    for wild in ("*", "{name}"):
        while wild in key:
            key = key.replace(wild, fill.pop() if fill else "x", 1)

    try:
        assert template.user_of(key) == user_id
    except WrongInput as error:
        assert "more than one user" in str(error)  # noqa: PT017


@given(st.sampled_from(TEMPLATES), st.text("a-/.jpg\n\U0001f600", max_size=1024) | st.text(max_size=1024))
def test_any_key_names_a_user_or_is_refused(template: KeyTemplate, key: str) -> None:
    with suppress(WrongInput):
        assert template.user_of(key) in key


@pytest.mark.parametrize("key", ["a" * 1024, "-" * 1024, "a-" * 512, "/" * 1024, "a" * 1000 + "-x-" + "a" * 20])
def test_keys_that_blow_regular_expressions_up_are_answered(key: str) -> None:
    with pytest.raises(WrongInput):
        KeyTemplate("*a" * 40 + "-{user_id}-" + "a*" * 40 + "a").user_of(key)


def test_a_key_that_no_database_can_keep_is_wrong_input() -> None:
    with pytest.raises(WrongInput, match="NUL"):
        uploads({"Records": [record("ann/x%00.jpg")]})
