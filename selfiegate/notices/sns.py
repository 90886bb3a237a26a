"""Notices through an SNS topic: a message for people, attributes for programs and subscription filters."""

from __future__ import annotations

import json
from collections.abc import Collection

from selfiegate.aws.clients import AwsSettings, client, translated
from selfiegate.errors import BackendMisconfigured
from selfiegate.model import Verdict
from selfiegate.untrusted_text import plain

SUBJECT = "Non-compliant photo encountered"
"""The workshop's. SNS takes less than 100 ASCII characters here, so nothing of a stranger's goes in."""

_NEXT = {
    "rejected": "The photo is not used, and nothing of it is enrolled. The user may upload another one at any time.",
    "needs_review": "Somebody has to look at this photo and decide. The user may upload another one meanwhile.",
}
_LONGEST = 1100  # characters: s3://, the longest bucket and the longest key; far below SNS's 256 KB


class SnsNotices:
    """Publishes each notice to one topic (`SELFIEGATE_AWS__TOPIC_ARN`).

    It says which photo of which user and why: no scores, no face ids, no word of the other user.
    """

    way = "sns"

    def __init__(self, settings: AwsSettings) -> None:
        if not settings.topic_arn:
            raise BackendMisconfigured("notices through SNS need a topic: set SELFIEGATE_AWS__TOPIC_ARN")
        self._settings, self._topic = settings, settings.topic_arn

    def notify(self, verdict: Verdict, told: Collection[str] = ()) -> None:
        """Publish the reasons of a verdict; one without reasons has nothing to tell."""
        if not verdict.reasons:
            return
        with translated(f"sns:Publish to {self._topic}"):
            client("sns", self._settings).publish(
                TopicArn=self._topic,
                Subject=SUBJECT,
                Message=message(verdict),
                MessageAttributes=attributes(verdict),
            )


def message(verdict: Verdict) -> str:
    """Return what people read: user and photo, each reason, what to do next."""
    reasons = "\n".join(f"- {reason.message}" for reason in verdict.reasons)
    whose = f"User: {_shown(verdict.user_id)}\nPhoto: {_shown(verdict.photo.uri)}"
    return f"{whose}\n\nWhy:\n{reasons}\n\n{_NEXT[verdict.status]}\n"


def attributes(verdict: Verdict) -> dict[str, dict[str, str]]:
    """Return what programs read: `user_id`, `verdict`, `reasons` (a JSON list of codes) and `photo` (its URI)."""
    texts = {"user_id": _shown(verdict.user_id), "verdict": verdict.status, "photo": _shown(verdict.photo.uri)}
    codes = json.dumps([reason.code for reason in verdict.reasons])
    return {
        **{name: {"DataType": "String", "StringValue": text} for name, text in texts.items()},
        "reasons": {"DataType": "String.Array", "StringValue": codes},
    }


def _shown(text: str) -> str:
    return plain(text)[:_LONGEST]
