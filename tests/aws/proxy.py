"""A proxy before moto's server: throttles calls, refuses keys, loses the reply to work done, or never ends a reply."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

THROTTLED = {
    "dynamodb": (400, json.dumps({"__type": "com.amazon#ThrottlingException", "message": "Rate exceeded"}).encode()),
    "s3": (503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"),
}
"""Status and body by service."""
KEY_REFUSED = (
    b"<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/x is not authorized to perform: "
    b"kms:Decrypt on resource: arn:aws:kms:eu-west-1:123456789012:key/1 because no identity-based policy allows the "
    b"kms:Decrypt action</Message></Error>"
)
"""S3's answer to who may read an object and not use its key."""
DELAY_S = 8.0
"""Until a delayed call is forwarded: less than a client's patience with a reply."""


class Proxy:
    """Forwards to `upstream`; `fail` names what goes wrong next: throttle, refuse_key, delay, lose_reply, trickle."""

    def __init__(self, upstream: str) -> None:
        self.calls: Counter[str] = Counter()
        self._fault: tuple[str, str, float] = ("", "", 0)
        self._lock = threading.Lock()
        host = urlsplit(upstream).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(handler) -> None:  # noqa: N805  `self` is the proxy here
                body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
                fault = self._take(operation(handler))
                if fault == "throttle":
                    status, text = THROTTLED[operation(handler).split(":")[0]]
                    reply(handler, status, {}, text)
                    return
                if fault == "refuse_key":
                    reply(handler, 403, {}, KEY_REFUSED)
                    return
                if fault == "delay":
                    time.sleep(DELAY_S)
                answer, data = forward(host, handler, body)
                if fault == "trickle":
                    trickle(handler, answer.status, dict(answer.getheaders()), data)
                    return
                if fault == "lose_reply":
                    handler.close_connection = True
                    handler.connection.close()
                    return
                reply(handler, answer.status, dict(answer.getheaders()), data)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do  # noqa: N815

            def log_message(handler, *_: Any) -> None:  # noqa: N805
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, name: str, how: str, times: float) -> None:
        """Let the next calls of an operation ('dynamodb:PutItem') be throttled or lose their reply."""
        with self._lock:
            self._fault = (name, how, times)

    @property
    def left(self) -> float:
        """How many calls are still to go wrong."""
        return self._fault[2]

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _take(self, name: str) -> str | None:
        with self._lock:
            self.calls[name] += 1
            wanted, how, left = self._fault
            if name != wanted or left <= 0:
                return None
            self._fault = (wanted, how, left - 1)
            return how


def operation(handler: BaseHTTPRequestHandler) -> str:
    """Name the call, as IAM does."""
    target = handler.headers.get("X-Amz-Target")
    if target:
        service, name = target.split(".")
        return f"{'sqs' if service == 'AmazonSQS' else 'dynamodb'}:{name}"
    what = "Bucket" if "list-type=2" in handler.path else "Object"
    return f"s3:{ {'HEAD': 'Head', 'GET': 'Get', 'PUT': 'Put', 'DELETE': 'Delete'}.get(handler.command, 'Post') }{what}"


def forward(host: str, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request on and return the answer, read whole."""
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
    answer = connection.getresponse()
    return answer, answer.read()


def reply(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], data: bytes) -> None:
    """Answer, with the length that the body has."""
    length = headers.get("Content-Length", headers.get("content-length")) if handler.command == "HEAD" else len(data)
    dropped = {"content-length", "transfer-encoding", "connection"}
    _begin(
        handler, status, {**{k: v for k, v in headers.items() if k.lower() not in dropped}, "Content-Length": length}
    )
    if handler.command != "HEAD":
        handler.wfile.write(data)


def trickle(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], data: bytes) -> None:
    """Answer with a byte each second: no timeout of a read ever ends it."""
    _begin(handler, status, headers)
    with suppress(OSError):  # whoever asked is gone
        for byte in data:
            handler.wfile.write(bytes([byte]))
            time.sleep(1)


def _begin(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, object]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()
