"""`POST /events` over the wire, into a queue on a real PostgreSQL: what is taken, what is refused, and every bound."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from deployments.bridge.health import Meters, served
from deployments.bridge.http_server import MOST
from deployments.bridge.intake import MOST_BYTES, Intake
from selfiegate.ingestion.messages import read_event
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.setting_groups import BridgeSettings
from selfiegate.stores.postgres_queue import PostgresQueue
from tests.postgres import PATIENCE_S, PostgresServer
from tests.system.test_bridge import upload_of

pytestmark = pytest.mark.system

TOKEN = "a-token-of-32-letters-or-so-1234"  # noqa: S105  of nothing
POST = f"POST /events HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Site:
    """The bridge's server with its intake, and the database behind it."""

    def __init__(self, postgres: PostgresServer, token: str | None = TOKEN) -> None:
        self.server, self.url = postgres, postgres.database("intake")
        self.database = PostgresDatabase(self.url, patience_s=1)
        self.queue, self.meters = PostgresQueue(self.database), Meters(BridgeSettings())
        self.served = served("127.0.0.1", 0, self.meters, lambda: {"healthy": True}, Intake(self.queue.put, token))
        self.port = 0

    def ask(self, body: object = b"", method: str = "POST", **headers: str) -> tuple[int, str]:
        """Send one request, with the token unless it is told another; bytes go as they are, all else as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, "/events", sent, {**BEARER, **headers})
        with connection.getresponse() as answer:
            return answer.status, answer.read().decode()

    def queued(self) -> list[Any]:
        """Return the bodies of all rows, parsed."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT body FROM photo_events ORDER BY id").fetchall()
        return [json.loads(body) for (body,) in rows]


def open_site(postgres: PostgresServer, token: str | None = TOKEN) -> Iterator[Site]:
    site = Site(postgres, token)
    with site.served as site.port:
        yield site
    site.database.close()


@pytest.fixture
def site(postgres: PostgresServer) -> Iterator[Site]:
    yield from open_site(postgres)


@pytest.fixture
def closed(postgres: PostgresServer) -> Iterator[Site]:
    yield from open_site(postgres, None)


@pytest.mark.parametrize(
    "event",
    [
        {"EventName": "s3:ObjectCreated:Put", "Key": "photos/7/é 😀.jpg", **upload_of("7%2F%C3%A9+%F0%9F%98%80.jpg")},
        {"Records": [{**upload_of("7/a+b.jpg")["Records"][0], "eventSource": "ceph:s3"}]},
        {"user_id": "ann", "bucket": "photos", "key": "é😀\uffff.jpg"},
    ],
    ids=["MinIO", "Ceph", "our own"],
)
def test_what_a_store_sends_is_in_the_queue_once_it_is_answered(site: Site, event: Any) -> None:
    told = site.ask(event)

    assert told == (200, "taken\n")
    assert site.queued() == [event]


def test_a_password_does_as_the_token_does(site: Site) -> None:
    """Ceph can send no header of its own, but the password in its endpoint's address."""
    password = base64.b64encode(f"events:{TOKEN}".encode()).decode()

    assert site.ask(upload_of("7/a.jpg"), Authorization=f"Basic {password}") == (200, "taken\n")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Token {TOKEN}",
        "Basic é",
        f"Basic {base64.b64encode(TOKEN.encode()).decode()}",
        TOKEN,
    ],
)
def test_who_does_not_know_the_token_puts_nothing_in(site: Site, given: str) -> None:
    status, text = site.ask(upload_of("7/a.jpg"), Authorization=given)

    assert (status, site.queued()) == (401, [])
    assert TOKEN not in text


def test_without_a_token_in_the_settings_nobody_may(closed: Site) -> None:
    answers = [closed.ask(upload_of("7/a.jpg"), method) for method in ("POST", "GET")]

    assert answers == [(404, "POST /events is off: set SELFIEGATE_BRIDGE__TOKEN\n")] * 2
    assert closed.queued() == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"hello", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "not an object but list"),
        (b'{"unknown": "\x1b[31m"}', "not JSON"),
        (b'{"unknown": 1}', "no known shape; known are"),
        (b'{"user_id": "ann", "bucket": "photos"}', "no key"),
        (b'{"user_id": "a\\u001b[31mnn", "bucket": "photos", "key": "a.jpg"}', "control or invisible"),
        (b'{"bucket": "photos", "key": "a\\u0000.jpg"}', "holds NUL"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(site: Site, body: bytes, words: str) -> None:
    status, text = site.ask(body)

    assert status == 400
    assert words in text
    assert "\x1b" not in text
    assert site.queued() == []


def test_a_wrong_record_keeps_back_no_other(site: Site) -> None:
    event = {"Records": [*upload_of("7/a.jpg")["Records"], {"eventName": 7}]}

    assert site.ask(event)[0] == 200
    assert site.queued() == [event]


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("HEAD", b""),
        ("GET", b""),
        ("POST", b""),
        ("POST", b" \r\n"),
        ("POST", b'{"Records": []}'),
        ("POST", json.dumps(upload_of("7/a.jpg", name="s3:ObjectRemoved:Delete")).encode()),
    ],
)
def test_what_carries_no_upload_is_fine_and_stored_nowhere(site: Site, method: str, body: bytes) -> None:
    assert site.ask(body, method)[0] == 200
    assert site.queued() == []


def test_other_methods_are_refused(site: Site) -> None:
    assert site.ask(upload_of("7/a.jpg"), "PUT")[0] == 405
    assert site.queued() == []


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 3 * MOST_BYTES])
def test_a_body_that_is_too_large_is_refused_and_its_sender_hears_it(site: Site, size: int) -> None:
    assert site.ask(b" " * size) == (413, f"an event has at most {MOST_BYTES} bytes\n")


def test_an_event_of_the_largest_size_is_taken_whatever_it_holds(site: Site) -> None:
    line = {"bucket": "photos", "key": "7/a.jpg", "more": ""}
    room = MOST_BYTES - len(json.dumps(line))
    event = {**line, "more": "é" * (room // 2)}

    assert site.ask(json.dumps(event, ensure_ascii=False).encode())[0] == 200
    assert site.queued() == [event]


@pytest.mark.parametrize("grows", [b"1e15", '"é"'.encode(), b"[]", b"1e999"])
def test_an_event_that_grows_when_it_is_written_anew_can_still_be_read(site: Site, grows: bytes) -> None:
    """A number of four letters becomes one of eighteen, `1000000000000000.0`; more than 1 MiB is never read."""
    begins, ends = b'{"bucket": "photos", "key": "7/a.jpg", "more": [', b"]}"
    count = (MOST_BYTES - len(begins) - len(ends)) // (len(grows) + 1)
    told = site.ask(begins + b",".join([grows] * count) + ends)
    (message,) = site.queue.receive(10, 0, 60)

    assert told == (200, "taken\n")
    assert [upload.key for upload in read_event(message.body).uploads] == ["7/a.jpg"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: 999999999999", 413),
        (f"Content-Length: {'9' * 5000}", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: ²", 400),
        ("Content-Length: 7", 400),  # and sends five
        ("Transfer-Encoding: chunked", 411),
    ],
)
def test_a_length_that_is_not_true_is_refused(site: Site, headers: str, status: int) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_S) as line:
        line.sendall(
            f"POST /events HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\r\n\r\nhello".encode("latin-1")
        )
        line.shutdown(socket.SHUT_WR)
        answer = line.recv(4096)

    assert answer.startswith(f"HTTP/1.0 {status} ".encode())
    assert site.queued() == []


def test_who_waits_to_be_asked_for_the_body_is_asked(site: Site) -> None:
    """As libcurl does, and so Ceph."""
    body = json.dumps(upload_of("7/a.jpg")).encode()
    head = f"{POST}Content-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_S) as line:
        line.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        asked = line.recv(4096)
        line.sendall(body)
        answer = line.recv(4096)

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.0 200 ")


def test_no_answer_before_the_row_is_committed(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool, psycopg.connect(site.url) as other:
        other.execute("LOCK TABLE photo_events IN EXCLUSIVE MODE")
        asking = pool.submit(site.ask, upload_of("7/a.jpg"))
        time.sleep(0.3)
        early = asking.done()
        other.rollback()
        told = asking.result()

    assert (early, told) == (False, (200, "taken\n"))
    assert len(site.queued()) == 1


def test_a_database_that_does_not_answer_in_time_is_503_and_nothing_is_stored(site: Site) -> None:
    with psycopg.connect(site.url) as other:
        other.execute("LOCK TABLE photo_events IN EXCLUSIVE MODE")
        locked = site.ask(upload_of("7/a.jpg"))[0]
        other.rollback()
    site.server.kill()
    try:
        gone, alive = site.ask(upload_of("7/a.jpg"))[0], site.ask(method="GET")[0]
    finally:
        site.server.start()

    assert (locked, gone, alive) == (503, 503, 200)
    assert site.queued() == []
    assert site.ask(upload_of("7/a.jpg"))[0] == 200


@pytest.mark.slow
def test_slow_clients_are_cut_off_and_many_keep_others_out_for_no_longer(site: Site) -> None:
    """Fill every place with clients that drip a byte now and then, in the head or in the body."""
    starts = (
        b"POST /ev",
        f"POST /events HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99\r\n\r\n{{".encode(),
    )
    over = threading.Event()
    lines = [socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_S) for _ in range(MOST)]
    for number, line in enumerate(lines):
        line.sendall(starts[number % 2])

    def drip() -> None:
        while not over.wait(0.2):
            for line in lines:
                try:
                    line.sendall(b" ")
                except OSError:
                    continue

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        full = asked_raw(site.port)
        end = time.monotonic() + PATIENCE_S
        while (answer := asked_raw(site.port)) != b"HTTP/1.0 200 OK":
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        over.set()
        dripping.join()
        ends = [ended(line) for line in lines]

    assert full in (b"HTTP/1.0 503 Service Unavailable", b"")  # it may be reset
    assert answer == b"HTTP/1.0 200 OK"
    assert {bytes(end[:12]) for end in ends} <= {b"", b"HTTP/1.0 408"}
    assert site.queued() == []


def asked_raw(port: int) -> bytes:
    """Return the first line of what `/health` answers, or nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as line:
        try:
            line.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            return line.recv(4096).partition(b"\r\n")[0]
        except ConnectionError:
            return b""


def ended(line: socket.socket) -> bytes:
    """Return what a connection was told before the server closed it."""
    with line:
        try:
            return line.recv(4096)
        except ConnectionError:
            return b""


def test_two_hundred_events_at_once_are_all_taken_though_some_try_again(site: Site) -> None:
    """As a store does: what is not answered with success is sent again."""

    def send(number: int) -> int:
        tries, end = 0, time.monotonic() + PATIENCE_S
        while True:
            tries += 1
            try:
                if site.ask(upload_of(f"{number}/a.jpg"))[0] == 200:
                    return tries
            except (ConnectionError, http.client.HTTPException):
                pass
            assert time.monotonic() < end
            time.sleep(0.05)

    with ThreadPoolExecutor(200) as pool:
        tries = list(pool.map(send, range(200)))

    keys = [event["Records"][0]["s3"]["object"]["key"] for event in site.queued()]
    assert set(keys) == {f"{number}/a.jpg" for number in range(200)}
    assert len(keys) <= sum(tries)


def test_requests_are_counted_by_their_answer(site: Site) -> None:
    site.ask(upload_of("7/a.jpg"))
    site.ask(b"hello")
    site.ask(b"", Authorization="Bearer wrong")
    counted = {
        status: site.meters.registry.get_sample_value("selfiegate_bridge_asked_total", {"status": status})
        for status in ("200", "400", "401")
    }

    assert counted == {"200": 1, "400": 1, "401": 1}
