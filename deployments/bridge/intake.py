"""`POST /events`: takes what S3-compatible stores' webhooks send, and our own line, into the queue.

An event is answered with success only once it is in the queue. Otherwise the store sends it again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple
from wsgiref.types import WSGIEnvironment

from selfiegate.errors import SelfiegateError
from selfiegate.ingestion.messages import read_event
from selfiegate.untrusted_text import plain

PATIENCE_S = 5.0
"""How long a connection of PostgreSQL, a lock, and a statement are waited for: a store tries again by itself."""
MOST_BYTES = 256 * 1024
"""An event of MinIO or Ceph has some kilobytes. Written anew it grows less than fourfold: a queue takes 1 MiB."""
_DRAINED_BYTES = 8 * MOST_BYTES
"""Of a body that is too large so much is read away, so that its sender hears why."""

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a request is told."""

    status: HTTPStatus
    text: str


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(status, text)
        self.answer = Answer(status, text)


class Intake:
    """Puts events into a queue by `put`, for whoever knows the token; without a token it is off."""

    def __init__(self, put: Callable[[str], None], token: str | None) -> None:
        self._put, self._token = put, token

    def answer(self, request: WSGIEnvironment) -> Answer:
        """Answer one request; never raises a `SelfiegateError`."""
        if self._token is None:
            return Answer(HTTPStatus.NOT_FOUND, "POST /events is off: set SELFIEGATE_BRIDGE__TOKEN")
        try:
            return self._answer(request, self._token)
        except _Refused as refused:
            return refused.answer

    def _answer(self, request: WSGIEnvironment, token: str) -> Answer:
        if request["REQUEST_METHOD"] in ("GET", "HEAD"):  # MinIO looks whether somebody is there
            return Answer(HTTPStatus.OK, "POST events here")
        if request["REQUEST_METHOD"] != "POST":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "POST events here")
        body = _body(request)
        if not hmac.compare_digest(_token_of(request).encode(), token.encode()):
            return Answer(HTTPStatus.UNAUTHORIZED, "send the token: Authorization: Bearer SELFIEGATE_BRIDGE__TOKEN")
        return self._taken(body) if body.strip() else Answer(HTTPStatus.OK, "no event")

    def _taken(self, body: bytes) -> Answer:
        event = read_event(body)
        if event.wrong and not event.uploads:
            why = plain("; ".join(event.wrong))[:1000]
            _log.warning("POST /events: an event is refused: %s", why)
            return Answer(HTTPStatus.BAD_REQUEST, why)
        if not event.uploads:
            return Answer(HTTPStatus.OK, "the event tells of no upload")
        try:
            self._put(json.dumps(json.loads(body), separators=(",", ":")))  # in ASCII: no queue takes every character
        except SelfiegateError as error:
            _log.warning("POST /events: an event is not taken: %s", plain(str(error))[:300])
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "the queue does not answer; send the event again")
        return Answer(HTTPStatus.OK, "taken")


CLOSED = Intake(lambda body: None, None)
"""An intake that is off."""


def _body(request: WSGIEnvironment) -> bytes:
    """Read a request's body, whoever sent it: a sender whose body is left unread may not hear the answer."""
    if request.get("HTTP_TRANSFER_ENCODING"):
        raise _Refused(HTTPStatus.LENGTH_REQUIRED, "send the body with a Content-Length")
    length = request.get("CONTENT_LENGTH") or "0"
    if not re.fullmatch(r"[0-9]{1,12}", length):
        raise _Refused(HTTPStatus.BAD_REQUEST, "the Content-Length is no number of bytes")
    try:
        if int(length) > MOST_BYTES:
            _drain(request, min(int(length), _DRAINED_BYTES))
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an event has at most {MOST_BYTES} bytes")
        body: bytes = request["wsgi.input"].read(int(length))
    except TimeoutError:
        raise _Refused(HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly") from None
    if len(body) < int(length):
        raise _Refused(HTTPStatus.BAD_REQUEST, "the body ends early")
    return body


def _drain(request: WSGIEnvironment, left: int) -> None:
    while left > 0 and (part := request["wsgi.input"].read(min(left, 65_536))):
        left -= len(part)


def _token_of(request: WSGIEnvironment) -> str:
    """Return what a request knows: a bearer token, or a password, which Ceph can send from its endpoint's address."""
    scheme, _, credentials = request.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return credentials.strip() if scheme.lower() == "bearer" else ""
