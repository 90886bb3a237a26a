"""Where each of AWS's services is reached."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongSetting
from selfiegate.settings import load_settings
from selfiegate.stores.dynamodb_profiles import DynamoProfiles
from selfiegate.stores.s3 import S3Photos, S3Thumbnails
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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An S3-compatible store (moto's server) behind TLS, with a certificate of its own CA; gives address and CA."""
    folder = tmp_path_factory.mktemp("tls")
    ca = write_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "store.pem")
    server = make_server(
        "127.0.0.1",
        0,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=MotoRequestHandler,
        ssl_context=context,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", ca
    server.shutdown()
    server.server_close()


def write_certificates(folder: Path) -> Path:
    """Make a CA, and a certificate for 127.0.0.1; return the CA's file."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("our own CA", "store")]
    now = datetime.now(UTC)
    ca, store = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(names[0])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name is names[0], path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(keys[0], hashes.SHA256())
        for name, key in zip(names, keys, strict=True)
    )
    key = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "store.pem").write_bytes(key + store.public_bytes(Encoding.PEM))
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    return folder / "ca.pem"


def test_a_store_with_a_ca_of_its_own_holds_photos_and_thumbnails_without_an_account(
    store: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/operations.md says under Without AWS; with no region either."""
    address, ca = store
    monkeypatch.setenv("AWS_CA_BUNDLE", str(ca))
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    mine = AwsSettings(s3_endpoint_url=address, thumbnail_bucket="small-ones")
    for bucket in ("selfies", "small-ones"):
        client("s3", mine).create_bucket(Bucket=bucket)
    photos, thumbnails = S3Photos(mine, Limits()), S3Thumbnails(mine)
    photo = photos.put("selfies", "ann/ö +1.jpg", b"selfie", {})
    uri = thumbnails.put("ann/1/250.jpg", b"small", "image/jpeg")

    assert photos.read(photo) == b"selfie"
    assert photos.find("s3://selfies/ann/ö +1.jpg") == photo
    assert (uri, thumbnails.read("ann/1/250.jpg")) == ("s3://small-ones/ann/1/250.jpg", b"small")
    thumbnails.remove("ann/1")
    assert thumbnails.keys() == []


def test_a_certificate_of_an_unknown_ca_is_refused_and_the_setting_named(store: tuple[str, Path]) -> None:
    mine = AwsSettings(region="eu-west-1", s3_endpoint_url=store[0])

    with pytest.raises(BackendMisconfigured, match=r"CERTIFICATE_VERIFY_FAILED.*AWS_CA_BUNDLE"):
        S3Photos(mine, Limits()).find("s3://photos/ann/1.jpg")


def test_a_line_that_is_cut_in_the_handshake_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang_up, args=(listener,), daemon=True).start()
        mine = AwsSettings(region="eu-west-1", s3_endpoint_url=f"https://127.0.0.1:{listener.getsockname()[1]}")

        with pytest.raises(BackendUnavailable):
            S3Photos(mine, Limits()).find("s3://photos/ann/1.jpg")


def hang_up(listener: socket.socket) -> None:
    """End every connection after its first words."""
    with suppress(OSError):
        while True:
            with listener.accept()[0] as line:
                line.recv(10)
                line.shutdown(socket.SHUT_RDWR)


def test_buckets_are_named_in_the_path_unless_boto3s_own_file_says_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def address(endpoint: str) -> str:
        mine = AwsSettings(region="us-east-1", s3_endpoint_url=endpoint)
        found: str = client("s3", mine).generate_presigned_url("get_object", {"Bucket": "photos", "Key": "a.jpg"})
        return found.partition("?")[0]

    by_path = address("https://minio.example:9000")
    (tmp_path / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    assert by_path == "https://minio.example:9000/photos/a.jpg"
    assert address("https://s3.example") == "https://photos.s3.example/a.jpg"


def test_boto3s_own_endpoint_and_checksums_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", NOWHERE)
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    mine = client("s3", AwsSettings(region="eu-north-1"))

    assert mine.meta.endpoint_url == NOWHERE
    assert mine.meta.config.request_checksum_calculation == "when_required"


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
