"""The endpoint itself: HTTP on 127.0.0.1, a thread a connection."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from selfiegate.backends.embedding import Analyser
from tests.rekognition.collections import Collections
from tests.rekognition.images import Images
from tests.rekognition.operations import ACCOUNT, Operations
from tests.rekognition.policy import require_allowed
from tests.rekognition.protocol import HOME, AwsError, broken_constraints, operation_of, read_request, region_of
from tests.rekognition.switches import Journal, Switches

Reply = tuple[int, bytes]


class RekognitionServer(ThreadingHTTPServer):
    """Serves from its own thread within `with`; `s3_url` is where it reads S3Objects (moto's server).

    Each region has collections of its own; a request's signature names its region.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, analyser: Analyser, s3_url: str | None = None, port: int = 0, account: str = ACCOUNT) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.switches, self.journal = Switches(), Journal()
        self.is_serving = True
        self._images, self._account = Images(analyser, s3_url), account
        self._lock, self._regions = threading.Lock(), dict[str, Operations]()

    @property
    def calls(self) -> Counter[str]:
        """How often each operation was called, whatever became of it."""
        return self.journal.calls

    @property
    def detections(self) -> list[dict[str, Any]]:
        """What each DetectFaces asked for: `image` ("Bytes" or "S3Object") and `attributes`."""
        return self.journal.detections

    @property
    def violations(self) -> list[str]:
        """Answers that broke the service model, and crashes: faults of this endpoint, never of its client."""
        return self.journal.violations

    def reset(self) -> None:
        """Forget collections, switches and counters; analysed images stay known."""
        self.switches.clear()
        with self._lock:
            self._regions.clear()
        self.journal.clear()

    def answer(self, target: str, body: bytes, region: str = HOME) -> Reply | None:
        """Return status and body of the answer to one call, or None where the reply is to be lost."""
        name = target.rpartition(".")[2]
        try:
            result = self._work(name, target, body, region)
        except AwsError as error:
            return error.status, error.body(name)
        except Exception:
            self.violations.append(f"{name}: {traceback.format_exc()}")
            fault = AwsError("InternalServerError")
            return fault.status, fault.body(name)
        return None if self.switches.take("lose_reply", name) else (200, json.dumps(result).encode())

    def control(self, method: str, path: str, body: bytes) -> Reply:
        """Answer a test in another process: GET tells all, POST switches, POST /_control/reset forgets."""
        try:
            if path == "/_control/reset":
                self.reset()
            elif method == "POST":
                self.switches.apply(json.loads(body))
        except (ValueError, TypeError, AttributeError) as error:
            return 400, json.dumps({"error": str(error)}).encode()
        return 200, json.dumps({**self.journal.state(), "switches": self.switches.state()}).encode()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep silent about clients that hang up; they do so when they time out."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def _work(self, name: str, target: str, body: bytes, region: str) -> dict[str, Any]:
        operation = operation_of(target)
        self.journal.count(name)
        time.sleep(self.switches.take("slow", name) or 0)
        if code := self.switches.take("fail", name):
            raise AwsError(code)
        asked = read_request(operation, body)
        require_allowed(self.switches.statements, name, asked, region, self._account)
        result = self._operations_of(region)(name, asked)
        if broken := broken_constraints(operation.output_shape, result):
            raise ValueError(f"the answer breaks the service model: {'; '.join(broken)}")
        return result

    def _operations_of(self, region: str) -> Operations:
        with self._lock:
            if region not in self._regions:
                collections = Collections(self.switches)
                self._regions[region] = Operations(collections, self._images, self.journal, self._account, region)
            return self._regions[region]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_serving = False  # kept-alive connections outlive the listening socket
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: RekognitionServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: 40 ms a call otherwise

    def do_GET(self) -> None:
        self._reply(self.server.control("GET", self.path, b"") if self._is_control() else (404, b"{}"))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.server.is_serving:
            self.close_connection = True
        elif self._is_control():
            self._reply(self.server.control("POST", self.path, body))
        elif reply := self.server.answer(self.headers.get("X-Amz-Target", ""), body, self._region()):
            self._reply(reply)
        else:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Write no access log."""

    def _region(self) -> str:
        return region_of(self.headers.get("Authorization", ""))

    def _is_control(self) -> bool:
        return self.path in ("/_control", "/_control/reset")

    def _reply(self, reply: Reply) -> None:
        status, body = reply
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
