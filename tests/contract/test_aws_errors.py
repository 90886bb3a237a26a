"""AWS's errors by kind: what may pass is tried again, what needs somebody is not, and an outcome is neither."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from selfiegate.advice import reason
from selfiegate.aws.clients import AwsSettings, client
from selfiegate.aws.dynamodb_table import Table
from selfiegate.backends.rekognition import RekognitionBackend
from selfiegate.backends.scripted import scripted_photo
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, PhotoRejected
from selfiegate.model import PhotoRef, ReasonCode, Verdict
from selfiegate.notices.sns import SnsNotices
from selfiegate.stores.s3 import S3Photos
from tests.aws.local import PHOTOS

PHOTO = PhotoRef(bucket="photos", key="ann/1.png", version="1")
VERDICT = Verdict(
    status="rejected", user_id="ann", photo=PHOTO, reasons=(reason(ReasonCode.BLURRED),), model="m", policy="p"
)


class Refusing(BaseHTTPRequestHandler):
    """Answers each call with one error, unless it is signed with the session token `new`."""

    code, message, status = "", "", 400

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_json = "json" in self.headers.get("Content-Type", "")
        if self.headers.get("X-Amz-Security-Token") == "new":
            self._reply(200, "{}")
        elif is_json:
            self._reply(self.status, json.dumps({"__type": f"com.amazonaws#{self.code}", "message": self.message}))
        else:
            error = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
            is_s3 = self.command == "GET"
            self._reply(self.status, error if is_s3 else f"<ErrorResponse>{error}</ErrorResponse>")

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Write no access log."""

    def _reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsSettings]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(Refusing, "status", 400)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield AwsSettings(
            region="eu-west-1",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            topic_arn="arn:aws:sns:eu-west-1:123456789012:notices",
        )
        server.shutdown()


def ask(service: str, settings: AwsSettings) -> None:
    match service:
        case "sns":
            SnsNotices(settings).notify(VERDICT)
        case "s3":
            S3Photos(settings, Limits()).read(PHOTO)
        case _:
            Table(settings, "table").get({"user_id": "ann"})


@pytest.mark.parametrize(
    ("service", "code", "message", "error"),
    [
        ("sns", "KMSThrottling", "Rate exceeded", BackendUnavailable),
        ("sns", "KMSAccessDenied", "", BackendMisconfigured),
        ("sns", "ExpiredToken", "The security token included in the request is expired", BackendUnavailable),
        ("sns", "SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2", BackendUnavailable),
        ("sns", "SignatureDoesNotMatch", "Check your AWS Secret Access Key", BackendMisconfigured),
        ("s3", "RequestTimeTooSkewed", "The difference is too large", BackendUnavailable),
        ("s3", "ExpiredToken", "The provided token has expired.", BackendUnavailable),
        ("s3", "AccessDenied", "Access Denied", BackendMisconfigured),
        ("dynamodb", "ReplicatedWriteConflictException", "", BackendUnavailable),
        ("dynamodb", "ExpiredTokenException", "", BackendUnavailable),
        ("dynamodb", "InvalidSignatureException", "Signature not yet current: 1", BackendUnavailable),
        ("dynamodb", "UnrecognizedClientException", "", BackendMisconfigured),
    ],
)
def test_an_error_is_of_its_kind(
    refusing: AwsSettings,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    code: str,
    message: str,
    error: type[Exception],
) -> None:
    monkeypatch.setattr(Refusing, "code", code)
    monkeypatch.setattr(Refusing, "message", message)

    with pytest.raises(error, match=code):
        ask(service, refusing)


def test_credentials_that_were_renewed_are_taken(
    refusing: AwsSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Refusing, "code", "ExpiredTokenException")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    credentials = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    text = "[default]\naws_access_key_id = test\naws_secret_access_key = test\naws_session_token = "
    credentials.write_text(f"{text}old\n")
    with pytest.raises(BackendUnavailable, match="renew the credentials"):
        ask("dynamodb", refusing)
    credentials.write_text(f"{text}new\n")

    ask("dynamodb", refusing)


def test_credentials_that_come_late_are_taken(
    refusing: AwsSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with pytest.raises(BackendMisconfigured, match="Unable to locate credentials"):
        ask("dynamodb", refusing)
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = test\naws_secret_access_key = test\n")
    monkeypatch.setattr(Refusing, "code", "ExpiredTokenException")

    with pytest.raises(BackendUnavailable, match="renew the credentials"):  # it was asked, and answered so
        ask("dynamodb", refusing)


class TestWrongParameters:
    """Of Rekognition: one code for what the caller did wrong, and for a photo without a face."""

    @pytest.fixture
    def faces(self, aws: AwsSettings) -> RekognitionBackend:
        return RekognitionBackend(aws, S3Photos(aws, Limits()), Limits())

    def upload(self, aws: AwsSettings, *people: str) -> PhotoRef:
        client("s3", aws).put_object(Bucket=PHOTOS, Key="x.png", Body=scripted_photo(*people))
        return S3Photos(aws, Limits()).find(f"s3://{PHOTOS}/x.png")

    def test_those_of_detect_faces_are_not_tried_again(
        self, aws: AwsSettings, faces: RekognitionBackend, scripted_rekognition: Any
    ) -> None:
        scripted_rekognition.switches.fail("DetectFaces", "InvalidParameterException")

        with pytest.raises(BackendMisconfigured, match="rekognition:DetectFaces"):
            faces.detect(self.upload(aws, "ann"))

    @pytest.mark.parametrize("operation", ["SearchFacesByImage", "IndexFaces"])
    def test_those_of_other_calls_are_no_outcome(
        self, aws: AwsSettings, faces: RekognitionBackend, scripted_rekognition: Any, operation: str
    ) -> None:
        scripted_rekognition.switches.fail(operation, "InvalidParameterException")
        photo = self.upload(aws, "ann")
        act = faces.search if operation == "SearchFacesByImage" else faces.enrol

        with pytest.raises(BackendMisconfigured, match=f"rekognition:{operation}"):
            act(photo, "user_a")

    def test_a_photo_without_a_face_is_one(self, aws: AwsSettings, faces: RekognitionBackend) -> None:
        with pytest.raises(PhotoRejected, match="no_face"):
            faces.search(self.upload(aws), "user_a")
