"""Every permission that the flow needs in AWS, each with a call that proves it and leaves nothing behind.

Writes are conditional and fail, what is deleted or searched for has a random name, the picture shows nobody.
AWS looks at permissions before conditions and names, so each of these failures proves a permission. The same
list is granted by deployments/aws/template.yaml; tests hold the two together.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from deployments.aws.probes import Missing, Permission, Where, call, camel, key_of, list_one, nothing, unproven
from deployments.aws.queue_permissions import queue_permissions
from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.scripted import scripted_photo

_STACK = "deploy deployments/aws/template.yaml"


def permissions(settings: AwsSettings, photo_bucket: str | None, where: Where) -> list[Permission]:
    """List what the flow needs; `photo_bucket` may carry the prefix that photos have: 'bucket/selfies/'."""
    return [
        *_faces(settings.collection, where),
        *_photos(photo_bucket, where),
        *_thumbnails(settings.thumbnail_bucket, where),
        *_profiles(settings.profiles_table, where),
        *_ledger(settings.ledger_table, where),
        *_topic(settings.topic_arn),
        *_mail(settings.sender, where),
        *queue_permissions(settings, where),
    ]


_NEWEST_MODEL = 7.0
"""The newest version of the face model that AWS's documents named when this was written."""
_OLDER = (
    f"; {_NEWEST_MODEL} is there. A collection keeps its version: to move, name a new collection in "
    "SELFIEGATE_AWS__COLLECTION and run `selfiegate gallery rebuild`"
)


def _faces(collection: str, where: Where) -> list[Permission]:
    arn, nobody = where.arn("rekognition", f"collection/{collection}"), {"Bytes": scripted_photo(size=(96, 96))}
    absent = f"there is no collection {collection}: `selfiegate gallery create`, or set SELFIEGATE_AWS__COLLECTION"

    def on_collection(operation: str, *proves: str, **arguments: object) -> Permission:
        probe = call(operation, CollectionId=collection, **arguments)
        return Permission(f"rekognition:{camel(operation)}", arn, probe, absent, frozenset(proves))

    def model(rekognition: Any) -> str:
        found = rekognition.describe_collection(CollectionId=collection)
        told = f"{found['FaceCount']} faces of model version {found['FaceModelVersion']}"
        return told + (_OLDER if float(found["FaceModelVersion"]) < _NEWEST_MODEL else "")

    describe = Permission("rekognition:DescribeCollection", arn, model, absent)
    create = call("create_collection", CollectionId=collection)
    exists, gone = frozenset({"ResourceAlreadyExistsException"}), "ResourceNotFoundException"
    disassociate = on_collection("disassociate_faces", gone, UserId=nothing(), FaceIds=[str(uuid.uuid4())])
    return [
        Permission("rekognition:DetectFaces", "*", call("detect_faces", Image=nobody)),
        describe,
        on_collection("search_faces_by_image", "InvalidParameterException", Image=nobody),
        on_collection("index_faces", Image=nobody, MaxFaces=1),
        on_collection("search_faces", "InvalidParameterException", FaceId=str(uuid.uuid4())),
        on_collection("list_faces", MaxResults=1),
        on_collection("delete_faces", FaceIds=[str(uuid.uuid4())]),
        replace(disassociate, after=describe),  # without the collection AWS answers the same
        Permission("rekognition:CreateCollection", "*", create, proves=exists, after=describe, is_operators=True),
    ]


def _photos(photos: str | None, where: Where) -> list[Permission]:
    bucket, _, prefix = (photos or "BUCKET").partition("/")
    name = {"Bucket": bucket, "Key": prefix + nothing()}
    absent = f"there is no bucket {bucket}: {_STACK}, or name another with --photo-bucket"
    listing = Permission("s3:ListBucket", where.bucket(bucket), list_one(bucket), absent)
    objects, gone = where.bucket(f"{bucket}/{prefix}*"), frozenset({"NoSuchKey", "NoSuchVersion"})
    readable = gone | {"InvalidObjectState", "InvalidRange"}  # it is archived, or empty

    def read(s3: Any) -> str:  # a photo, where there is one: only then is its key used
        found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents", ())
        answer = s3.get_object(**{**name, "Key": found[0]["Key"]} if found else name, Range="bytes=0-0")
        answer["Body"].close()
        return key_of(answer)

    version = call("get_object", **name, VersionId="null")
    versions = call("list_object_versions", Bucket=bucket, MaxKeys=1)
    erase = call("delete_object", **name, VersionId="null")  # leaves no delete marker, as it names a version
    found = [
        listing,
        Permission("s3:GetObject", objects, read, absent, readable, after=listing),
        Permission("s3:GetObjectVersion", objects, version, absent, gone, after=listing),
        Permission("s3:ListBucketVersions", where.bucket(bucket), versions, absent),
        Permission("s3:DeleteObjectVersion", objects, erase, absent, after=listing, is_operators=True),
    ]
    return found if photos else unproven(found, "name the bucket of the photos with --photo-bucket")


_NO_KEY = frozenset({"NoSuchKey"})


def _thumbnails(bucket: str | None, where: Where) -> list[Permission]:
    name = {"Bucket": bucket or "BUCKET", "Key": nothing()}
    absent = f"there is no bucket {bucket}: {_STACK}, or set SELFIEGATE_AWS__THUMBNAIL_BUCKET"
    here, objects = where.bucket(name["Bucket"]), where.bucket(f"{name['Bucket']}/*")

    def upload(s3: Any) -> str:  # begun and given up: needs PutObject, stores nothing, notifies nobody
        begun = s3.create_multipart_upload(**name)
        s3.abort_multipart_upload(**name, UploadId=begun["UploadId"])
        return key_of(begun)

    def unversioned(s3: Any) -> None:
        if s3.get_bucket_versioning(Bucket=name["Bucket"]).get("Status"):
            raise Missing(f"{bucket} keeps versions, so removed thumbnails would live on; take a bucket without")

    give_up = call("abort_multipart_upload", **name, UploadId=nothing())
    giving_up = Permission("s3:AbortMultipartUpload", objects, give_up, absent, frozenset({"NoSuchUpload"}))
    versioning = Permission("s3:GetBucketVersioning", here, unversioned, absent, is_operators=True)
    found = [
        Permission("s3:ListBucket", here, list_one(name["Bucket"]), absent),
        giving_up,
        Permission("s3:PutObject", objects, upload, absent, after=giving_up),
        versioning,
        Permission("s3:GetObject", objects, call("get_object", **name), absent, _NO_KEY, is_operators=True),
        # Where versions are kept, deleting nothing leaves a delete marker.
        Permission("s3:DeleteObject", objects, call("delete_object", **name), absent, after=versioning),
    ]
    why = "SELFIEGATE_AWS__THUMBNAIL_BUCKET is not set: thumbnails lie below SELFIEGATE_HOME"
    return found if bucket else unproven(found, why)


def _profiles(table: str, where: Where) -> list[Permission]:
    arn, key = where.arn("dynamodb", f"table/{table}"), {"Username": {"S": nothing()}}
    absent = f"there is no table {table} with the key Username (S): {_STACK}, or set SELFIEGATE_AWS__PROFILES_TABLE"
    there = {"TableName": table, "ConditionExpression": "attribute_exists(Username)"}
    change = {"UpdateExpression": "SET revision = :none", "ExpressionAttributeValues": {":none": {"N": "0"}}}
    return [
        Permission("dynamodb:GetItem", arn, call("get_item", TableName=table, Key=key), absent),
        Permission("dynamodb:PutItem", arn, call("put_item", **there, Item=key), absent, _UNMET),
        Permission("dynamodb:UpdateItem", arn, call("update_item", **there, **change, Key=key), absent, _UNMET),
        Permission("dynamodb:DeleteItem", arn, call("delete_item", **there, Key=key), absent, _UNMET),
        Permission("dynamodb:Scan", arn, call("scan", TableName=table, Limit=1), absent),
        Permission("dynamodb:BatchGetItem", arn, call("batch_get_item", RequestItems={table: {"Keys": [key]}}), absent),
    ]


_FORGET = "aws dynamodb update-time-to-live --time-to-live-specification Enabled=true,AttributeName=expires_at"


def _ledger(table: str, where: Where) -> list[Permission]:
    arn, key = where.arn("dynamodb", f"table/{table}"), {"user_id": {"S": nothing()}, "photo_id": {"S": "none"}}
    mend = f"{_STACK}, or set SELFIEGATE_AWS__LEDGER_TABLE"
    absent = f"there is no table {table} with the keys user_id (S) and photo_id (S): {mend}"
    there = {"TableName": table, "ConditionExpression": "attribute_exists(user_id)"}
    change = {"UpdateExpression": "SET notice = :none", "ExpressionAttributeValues": {":none": {"S": "none"}}}
    rows = {"KeyConditionExpression": "user_id = :id", "ExpressionAttributeValues": {":id": key["user_id"]}}
    waiting = {
        "KeyConditionExpression": "unfinished = :yes AND lease_until < :long_ago",
        "ExpressionAttributeValues": {":yes": {"S": "yes"}, ":long_ago": {"N": "0"}},
    }
    index = f"{table} has no index `unfinished` with the keys unfinished (S) and lease_until (N): {mend}"

    def query(resource: str, lacking: str, **arguments: object) -> Permission:
        return Permission("dynamodb:Query", resource, call("query", TableName=table, **arguments), lacking)

    def forgets(dynamodb: Any) -> None:
        found = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if found["TimeToLiveStatus"] not in ("ENABLED", "ENABLING") or found["AttributeName"] != "expires_at":
            raise Missing(f"refused photos stay for ever: {_FORGET} --table-name {table}")

    return [
        Permission("dynamodb:GetItem", arn, call("get_item", TableName=table, Key=key), absent),
        Permission("dynamodb:PutItem", arn, call("put_item", **there, Item=key), absent, _UNMET),
        Permission("dynamodb:UpdateItem", arn, call("update_item", **there, **change, Key=key), absent, _UNMET),
        Permission("dynamodb:DeleteItem", arn, call("delete_item", **there, Key=key), absent, _UNMET),
        query(arn, absent, **rows),
        query(f"{arn}/index/unfinished", index, **waiting, IndexName="unfinished"),
        Permission("dynamodb:DescribeTimeToLive", arn, forgets, absent, is_operators=True),
    ]


def _topic(arn: str | None) -> list[Permission]:
    absent = f"there is no topic {arn}: {_STACK}, or set SELFIEGATE_AWS__TOPIC_ARN"
    attributes = call("get_topic_attributes", TopicArn=arn)
    why = "publishing would tell the subscribers; the first notice shows whether it works"
    found = [
        Permission("sns:GetTopicAttributes", arn or "TOPIC", attributes, absent, is_operators=True),
        Permission("sns:Publish", arn or "TOPIC", None, unproven=why),
    ]
    return found if arn else unproven(found, "SELFIEGATE_AWS__TOPIC_ARN is not set: nothing is published")


def _mail(sender: str | None, where: Where) -> list[Permission]:
    def verified(ses: Any) -> None:
        names = [sender, (sender or "").partition("@")[2]]
        found = ses.get_identity_verification_attributes(Identities=names)["VerificationAttributes"]
        if not any(identity["VerificationStatus"] == "Success" for identity in found.values()):
            raise Missing(f"SES does not know {sender}: aws ses verify-email-identity --email-address {sender}")

    identity = where.arn("ses", f"identity/{sender or 'SENDER'}")
    found = [
        Permission("ses:GetIdentityVerificationAttributes", "*", verified, is_operators=True),
        Permission(
            "ses:SendEmail",
            identity,
            None,
            unproven="sending would mail somebody; the first notice shows whether it works",
        ),
    ]
    return found if sender else unproven(found, "SELFIEGATE_AWS__SENDER is not set: no mail is sent")


_UNMET = frozenset({"ConditionalCheckFailedException"})
