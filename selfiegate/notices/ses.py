"""Notices by e-mail to the user, through SES (the `sesv2` API)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from html import escape
from typing import Any

from selfiegate.aws.clients import AwsSettings, client, translated
from selfiegate.errors import BackendMisconfigured, SelfiegateError
from selfiegate.model import Verdict
from selfiegate.untrusted_text import plain

_log = logging.getLogger(__name__)

AddressOf = Callable[[str], str | None]
"""Gives the e-mail address of a user id, or None."""

# Narrower than RFC 5321 on purpose: one address, plain ASCII (SES takes no other), nothing that a relay or a
# header could read as more than one, such as % ! , ; < > quotes and spaces.
_ADDRESS = re.compile(r"[\w+'=-]+(\.[\w+'=-]+)*@[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII | re.IGNORECASE)

_WORDS = {
    "rejected": (
        "Your photo could not be used",
        "We could not use it:",
        "Please upload another photo. It is checked at once, and you hear from us only if something is wrong with it.",
    ),
    "needs_review": (
        "Your photo is being looked at",
        "Before we can use it, somebody will look at it. The first check said:",
        "You need not do anything now. You may also upload another photo.",
    ),
}


class SesNotices:
    """Mails each notice to the user it is about, from `SELFIEGATE_AWS__SENDER`.

    The address comes from `address_of`, or else from `SELFIEGATE_AWS__EMAIL_TEMPLATE`. Where there is none,
    or what there is does not look like exactly one address, nothing is sent, and the log says so without it.
    """

    way = "ses"

    def __init__(self, settings: AwsSettings, address_of: AddressOf | None = None) -> None:
        if not settings.sender:
            raise BackendMisconfigured("notices by e-mail need a verified sender: set SELFIEGATE_AWS__SENDER")
        self._settings, self._sender = settings, settings.sender
        self._address_of = address_of or from_template(settings.email_template or "")

    def notify(self, verdict: Verdict, told: Collection[str] = ()) -> None:
        """Mail the reasons of a verdict to its user; one without reasons has nothing to tell."""
        if not verdict.reasons:
            return
        address = self._address_of(verdict.user_id)
        if address is None or not looks_like_one_address(address):
            _log.info("no e-mail to %s about photo %s: no usable address", plain(verdict.user_id), verdict.photo.id)
            return
        try:
            with translated("ses:SendEmail"):
                client("sesv2", self._settings).send_email(
                    FromEmailAddress=self._sender,
                    Destination={"ToAddresses": [address]},
                    Content={"Simple": content(verdict)},
                )
        except SelfiegateError as error:  # SES names the addresses that it refuses; ours go into logs
            raise type(error)(str(error).replace(address, "(the user's address)")) from None


def from_template(template: str) -> AddressOf:
    """Return a function that puts the user id into a template such as '{user_id}@riders.example'."""
    examples = [template.replace("{user_id}", user_id) for user_id in ("ann", "ann@riders.example")]
    if template.count("{user_id}") != 1 or not any(map(looks_like_one_address, examples)):
        raise BackendMisconfigured(
            f"e-mail addresses cannot be made of {template!r}: set SELFIEGATE_AWS__EMAIL_TEMPLATE to the like of "
            "{user_id}@riders.example, or to {user_id} where user ids are addresses"
        )
    return lambda user_id: template.replace("{user_id}", user_id)


def looks_like_one_address(text: str) -> bool:
    """Tell whether mail to this text reaches one mailbox and nothing else."""
    return len(text) <= 254 and len(text.partition("@")[0]) <= 64 and _ADDRESS.fullmatch(text) is not None


def content(verdict: Verdict) -> dict[str, Any]:
    """Return subject and body, as plain text and as HTML, in the shape of SES's `Simple` content."""
    subject, lead, end = _WORDS[verdict.status]
    name = plain(verdict.photo.key.rpartition("/")[2])[-60:]
    thanks = f"thank you for your photo “{name}”. {lead}"
    reasons = [reason.message for reason in verdict.reasons]
    text = "\n\n".join(["Hello,", thanks, "\n".join(f"- {reason}" for reason in reasons), end]) + "\n"
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    html = f"<p>Hello,</p>\n<p>{escape(thanks)}</p>\n<ul>{items}</ul>\n<p>{escape(end)}</p>\n"
    return {"Subject": _utf8(subject), "Body": {"Text": _utf8(text), "Html": _utf8(html)}}


def _utf8(data: str) -> dict[str, str]:
    return {"Data": data, "Charset": "UTF-8"}
