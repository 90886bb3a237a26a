"""Notices over the wire, to moto's server: what arrives, what never leaves, what a failure says."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from traceback import format_exception
from typing import Any

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from selfiegate.advice import reason
from selfiegate.aws.clients import AwsSettings
from selfiegate.enrolment.verdicts import notify_user
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, PartlyTold
from selfiegate.model import Check, Claim, PhotoRef, ReasonCode, Verdict
from selfiegate.notices.memory import MemoryNotices
from selfiegate.notices.ses import SesNotices, content, looks_like_one_address
from selfiegate.notices.several import SeveralNotices
from selfiegate.notices.sns import SnsNotices
from selfiegate.runtime import MemoryRuntime
from tests.present import present
from tests.runtimes import Failing, replacing

REGION = "eu-central-1"
SECRETS = ["face-of-user_b", "somebody-else", "0.987", "0.4321", "policy-digest", "model-name", "sharpness"]
HOSTILE = "a\r\nBcc: x@evil.example\u202e\x00<script>alert(1)</script>"


def connect(service: str, endpoint: str | None) -> Any:
    """Return a client of the test's own, whatever other tests left in boto3's default session."""
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106
    )


@pytest.fixture
def endpoint(moto: str) -> str:
    return moto


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def settings(endpoint: str) -> AwsSettings:
    connect("sesv2", endpoint).create_email_identity(EmailIdentity="riders.example")
    ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages.clear()
    return AwsSettings(
        region=REGION,
        endpoint_url=endpoint,
        topic_arn=connect("sns", endpoint).create_topic(Name="notices")["TopicArn"],
        sender="Selfies <selfies@riders.example>",
        email_template="{user_id}@riders.example",
    )


@pytest.fixture
def queue(settings: AwsSettings) -> Iterator[str]:
    """An SQS queue that gets the topic's messages in their envelope."""
    sqs = connect("sqs", settings.endpoint_url)
    url = sqs.create_queue(QueueName="notices")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns = connect("sns", settings.endpoint_url)
    subscription = sns.subscribe(TopicArn=settings.topic_arn, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    yield url
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


def refused(status: str = "rejected", user_id: str = "user_b", key: str = "user_b/2_sunglass_face.jpg") -> Verdict:
    """A verdict with all that must not be told to anybody."""
    return Verdict.model_validate(
        {
            "status": status,
            "user_id": user_id,
            "photo": PhotoRef(bucket="wild-rydes", key=key, version="v1"),
            "reasons": (reason(ReasonCode.SUNGLASSES), reason(ReasonCode.FACE_ALREADY_ENROLLED)),
            "checks": (Check(name="sharpness", value=0.4321, limit=">= 1", passed=False),),
            "face_id": "face-of-user_b",
            "matched_user_id": "somebody-else",
            "score": 0.987,
            "model": "model-name",
            "policy": "policy-digest",
        }
    )


def published(settings: AwsSettings, url: str, verdict: Verdict) -> dict[str, Any]:
    """Publish a verdict, and return the envelope that the queue got."""
    SnsNotices(settings).notify(verdict)
    sqs = connect("sqs", settings.endpoint_url)
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2)["Messages"]
    envelope: dict[str, Any] = json.loads(message["Body"])
    return envelope


def mailed(settings: AwsSettings, verdict: Verdict) -> Any:
    SesNotices(settings).notify(verdict)
    (message,) = ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages
    return message


def test_a_message_says_which_photo_of_whom_and_every_reason(settings: AwsSettings, queue: str) -> None:
    envelope = published(settings, queue, refused())

    assert envelope["Subject"] == "Non-compliant photo encountered"
    assert "user_b" in envelope["Message"]
    assert "s3://wild-rydes/user_b/2_sunglass_face.jpg" in envelope["Message"]
    assert [line for line in envelope["Message"].splitlines() if line.startswith("- ")] == [
        "- The face wears sunglasses. Take them off, so that your eyes can be seen.",
        "- This face belongs to another account. Each person can have one account.",
    ]


def test_programs_read_the_attributes(settings: AwsSettings, queue: str) -> None:
    attributes = published(settings, queue, refused())["MessageAttributes"]

    assert {name: attribute["Value"] for name, attribute in attributes.items()} == {
        "user_id": "user_b",
        "verdict": "rejected",
        "photo": "s3://wild-rydes/user_b/2_sunglass_face.jpg",
        "reasons": '["sunglasses", "face_already_enrolled"]',
    }
    assert attributes["reasons"]["Type"] == "String.Array"


def test_a_subscription_can_ask_for_one_reason_alone(settings: AwsSettings, queue: str) -> None:
    sns = connect("sns", settings.endpoint_url)
    (subscription,) = sns.list_subscriptions_by_topic(TopicArn=settings.topic_arn)["Subscriptions"]
    sns.set_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"],
        AttributeName="FilterPolicy",
        AttributeValue=json.dumps({"reasons": ["no_face"]}),
    )
    SnsNotices(settings).notify(refused())
    other = refused().model_copy(update={"reasons": (reason(ReasonCode.NO_FACE, faces=0),)})

    assert published(settings, queue, other)["MessageAttributes"]["reasons"]["Value"] == '["no_face"]'


def test_a_photo_in_review_is_not_called_unused(settings: AwsSettings, queue: str) -> None:
    text = published(settings, queue, refused("needs_review"))["Message"]

    assert "has to look at this photo" in text
    assert "not used" not in text


@pytest.mark.parametrize("status", ["rejected", "needs_review"])
def test_no_notice_tells_of_faces_scores_or_other_users(settings: AwsSettings, queue: str, status: str) -> None:
    told = json.dumps(published(settings, queue, refused(status))) + str(vars(mailed(settings, refused(status))))

    assert [secret for secret in SECRETS if secret in told] == []


def test_names_from_strangers_cannot_forge_lines_of_a_message(settings: AwsSettings, queue: str) -> None:
    envelope = published(settings, queue, refused(user_id=HOSTILE, key=HOSTILE))
    lines = envelope["Message"].splitlines()

    assert not any(line.startswith("Bcc") for line in lines)
    assert all(line.isprintable() for line in lines)
    assert all(attribute["Value"].isprintable() for attribute in envelope["MessageAttributes"].values())


def test_the_longest_names_fit(settings: AwsSettings, queue: str) -> None:
    envelope = published(settings, queue, refused(user_id="\U0001f600" * 255, key="\U0001f600" * 5000))

    assert len(json.dumps(envelope, ensure_ascii=False).encode()) < 256 * 1024


def test_an_e_mail_goes_to_its_user_with_every_reason(settings: AwsSettings) -> None:
    message = mailed(settings, refused())

    assert message.destinations["ToAddresses"] == ["user_b@riders.example"]
    assert message.source == "Selfies <selfies@riders.example>"
    assert message.subject == "Your photo could not be used"
    assert "“2_sunglass_face.jpg”" in str(message.body)
    assert all(reason.message in str(message.body) for reason in refused().reasons)


def test_the_plain_text_has_a_line_for_every_reason() -> None:
    text = content(refused())["Body"]["Text"]["Data"]

    assert [line for line in text.splitlines() if line.startswith("- ")] == [
        f"- {reason.message}" for reason in refused().reasons
    ]


def test_an_e_mail_about_a_review_does_not_say_refused(settings: AwsSettings) -> None:
    message = mailed(settings, refused("needs_review"))

    assert message.subject == "Your photo is being looked at"
    assert "could not" not in str(message.body)


def test_the_html_holds_nothing_of_a_strangers_markup() -> None:
    html = content(refused(key="<script>alert(1)<b>.jpg"))["Body"]["Html"]["Data"]

    assert set(re.findall(r"<(\w+)", html)) == {"p", "ul", "li"}


@pytest.mark.parametrize(
    "user_id",
    [HOSTILE, "a b", "a,b@evil.example", "<a", "a@b", "a;b", "a%evil.example", '"a"', "ä", "a" * 65, ".a", "a..b", ""],
)
def test_a_user_id_that_makes_no_single_address_gets_no_mail(
    settings: AwsSettings, user_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "selfiegate")
    SesNotices(settings).notify(refused(user_id=user_id))

    assert ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages == []
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "riders.example" not in caplog.text


def test_a_profile_may_supply_the_address(settings: AwsSettings) -> None:
    without = settings.model_copy(update={"email_template": None})
    SesNotices(without, {"user_b": "ann@elsewhere.example"}.get).notify(refused())
    SesNotices(without, {"user_b": "ann@elsewhere.example"}.get).notify(refused(user_id="unknown"))

    (message,) = ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages
    assert message.destinations["ToAddresses"] == ["ann@elsewhere.example"]


def test_user_ids_may_be_addresses_themselves(settings: AwsSettings) -> None:
    themselves = settings.model_copy(update={"email_template": "{user_id}"})

    assert mailed(themselves, refused(user_id="ann@a.example")).destinations["ToAddresses"] == ["ann@a.example"]


@pytest.mark.parametrize("text", ["ann@a.example", "a.b+c_d'e=f@sub.a-b.example", "A@B.example"])
def test_plain_addresses_are_addresses(text: str) -> None:
    assert looks_like_one_address(text)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sender": None}, "SENDER"),
        ({"email_template": None}, "EMAIL_TEMPLATE"),
        ({"email_template": "ann@riders.example"}, "EMAIL_TEMPLATE"),
        ({"email_template": "{user_id}{user_id}@a.example"}, "EMAIL_TEMPLATE"),
        ({"email_template": "{user_id}@a.example, b@c.example"}, "EMAIL_TEMPLATE"),
        ({"topic_arn": None}, "TOPIC_ARN"),
    ],
)
def test_what_is_missing_is_named_at_the_start(settings: AwsSettings, change: dict[str, object], word: str) -> None:
    changed = settings.model_copy(update=change)

    with pytest.raises(BackendMisconfigured, match=f"SELFIEGATE_AWS__{word}"):
        (SnsNotices(changed), SesNotices(changed))


@pytest.mark.parametrize("notices", [SnsNotices, SesNotices])
def test_nothing_is_sent_about_an_accepted_photo(settings: AwsSettings, notices: Any) -> None:
    silent = settings.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})

    notices(silent).notify(refused("accepted").model_copy(update={"reasons": ()}))


def test_a_topic_that_is_not_there_is_named(settings: AwsSettings) -> None:
    gone = settings.model_copy(update={"topic_arn": f"{settings.topic_arn}-gone"})

    with pytest.raises(BackendMisconfigured, match="notices-gone"):
        SnsNotices(gone).notify(refused())


def test_a_sender_that_is_not_verified_is_an_error(settings: AwsSettings) -> None:
    stranger = settings.model_copy(update={"sender": "selfies@unverified.example"})

    with pytest.raises(BackendMisconfigured, match="ses:SendEmail"):
        SesNotices(stranger).notify(refused())


@pytest.mark.parametrize("notices", [SnsNotices, SesNotices])
def test_a_service_that_does_not_answer_is_tried_again(settings: AwsSettings, notices: Any) -> None:
    silent = settings.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})

    with pytest.raises(BackendUnavailable):
        notices(silent).notify(refused())


@pytest.fixture
def sandbox() -> Iterator[str]:
    """What SES answers in its sandbox; moto sends to everybody."""
    server = HTTPServer(("127.0.0.1", 0), Sandbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Sandbox(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        (address,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["Destination"]["ToAddresses"]
        answer = json.dumps({"message": f"Email address is not verified: {address}"}).encode()
        self.send_response(400)
        self.send_header("x-amzn-ErrorType", "MessageRejected")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def test_an_address_that_ses_refuses_is_not_repeated(settings: AwsSettings, sandbox: str) -> None:
    with pytest.raises(BackendMisconfigured, match="MessageRejected: Email address is not verified") as error:
        SesNotices(settings.model_copy(update={"endpoint_url": sandbox})).notify(refused())
    assert "user_b@" not in "".join(format_exception(error.value))


def failing(times: float = 1, error: Exception | None = None, way: str = "flaky") -> Any:
    return Failing(MemoryNotices(way), "notify", times, after=False, error=error)


def test_one_way_that_fails_keeps_no_other_from_sending() -> None:
    before, after = MemoryNotices("before"), MemoryNotices("after")
    several = SeveralNotices([before, failing(), after])

    with pytest.raises(PartlyTold, match="does not answer") as partly:
        several.notify(refused())
    assert before.sent == after.sent == [refused()]
    assert partly.value.told == ("before", "after")


def test_ways_that_have_told_are_left_out() -> None:
    done, left = MemoryNotices("done"), MemoryNotices("left")
    SeveralNotices([done, left]).notify(refused(), told=("done", "gone"))

    assert (done.sent, left.sent) == ([], [refused()])


@pytest.fixture
def claim(rt: MemoryRuntime) -> Claim:
    """A photo that is refused, and its user not told yet."""
    held = rt.ledger.claim(refused().photo, "user_b", "run", lease_s=60)
    return rt.ledger.decide(held, refused())


def test_a_way_that_refuses_for_good_does_not_repeat_another_one(
    settings: AwsSettings, queue: str, rt: MemoryRuntime, claim: Claim
) -> None:
    stranger = settings.model_copy(update={"sender": "selfies@unverified.example"})
    for _ in range(3):  # processes
        ways = SeveralNotices([SnsNotices(settings), SesNotices(stranger)])
        with pytest.raises(BackendMisconfigured, match="ses:SendEmail"):
            notify_user(replacing(rt, "notifier", ways), claim)
    sqs = connect("sqs", settings.endpoint_url)
    waiting = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])

    assert waiting["Attributes"] == {"ApproximateNumberOfMessages": "1"}


def test_what_failed_is_sent_once_it_is_mended(rt: MemoryRuntime, claim: Claim) -> None:
    fine, flaky = MemoryNotices("fine"), failing(times=2)
    for works in (False, False, True):
        several = replacing(rt, "notifier", SeveralNotices([fine, flaky]))
        with nullcontext() if works else pytest.raises(BackendUnavailable):
            notify_user(several, claim)

    assert fine.sent == flaky.sent == [refused()]
    assert present(rt.ledger.get(claim.photo, "user_b")).notice == "sent"


def test_an_error_that_may_pass_goes_before_one_that_will_not() -> None:
    several = SeveralNotices([failing(error=BackendMisconfigured("no topic")), failing()])

    with pytest.raises(PartlyTold) as partly:
        several.notify(refused())
    assert isinstance(partly.value.error, BackendUnavailable)
