"""What one run of `process-photo` costs Prefect's server and the worker: `python -m benchmarks.run_cost [RUNS]`.

Photos are put one after the other into `make up`. A relay stands between the worker and the server: it counts the
requests of the worker, and the events that the worker sends. What both do while no photo comes is measured first, and
taken off by the second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from deployments.local.processes import Part
from tests.chaos.traffic import Traffic, lfw, traffic

IDLE_S = 10.0
SETTLE_S = 4.0
"""The server writes events up to a second later, and the worker sends its log every two seconds."""

_HEAD = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) /api(\S*) HTTP/1\.1\r\n")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
EVENT = "event sent"
"""What the relay calls an event among the requests."""


class Relay:
    """Passes a worker's connections on to a server, and counts requests and events by method and path.

    A connection that asks for `refuse` is closed.
    """

    def __init__(self, api: str, refuse: str | None = None) -> None:
        self._refuse = refuse
        self._host, self._port = str(urlsplit(api).hostname), int(urlsplit(api).port or 80)
        self.counts = Counter[str]()
        self.url = ""
        self._ready = threading.Event()
        threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api"
        self._ready.set()
        await server.serve_forever()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection(self._host, self._port)
            await asyncio.gather(self._pump(reader, back, _Reader(self.counts)), self._pump(there, writer))

    async def _pump(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, read: _Reader | None = None) -> None:
        with suppress(OSError):
            while found := await source.read(1 << 16):
                if read and read(found) == self._refuse:
                    break
                to.write(found)
                await to.drain()
        to.close()


class _Reader:
    """Reads what a client sends over one connection. No client sends a request before the last was answered."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts, self._socket, self._left = counts, "", b""

    def __call__(self, sent: bytes) -> str:
        """Count what is sent; return the path of a request, and nothing for what follows it."""
        path = ""
        if self._socket:
            self._frames(sent)
        elif head := _HEAD.match(sent):
            path = _ID.sub("{id}", head[2].decode().partition("?")[0])
            is_socket = b"upgrade: websocket" in sent.lower()
            self._socket = path if is_socket else ""
            self._counts[f"{head[1].decode()} {path}{' (websocket)' * is_socket}"] += 1
        return path

    def _frames(self, sent: bytes) -> None:
        """Count the text frames to `/events/in`, RFC 6455; the first is the credentials."""
        self._left += sent
        while len(self._left) >= 14:
            short = self._left[1] & 127
            width = {126: 2, 127: 8}.get(short, 0)
            long = int.from_bytes(self._left[2 : 2 + width], "big") if width else short
            size = 2 + width + 4 + long  # head, length, mask, data
            if len(self._left) < size:
                return
            if self._left[0] & 15 == 1 and self._socket == "/events/in":
                self._counts[EVENT] += 1
            self._left = self._left[size:]


class Spent(NamedTuple):
    """What was spent until now."""

    at: float
    counts: Counter[str]
    server_s: float
    worker_s: float


def main(runs: int) -> None:
    """Print requests by path, and the costs of one run."""
    with tempfile.TemporaryDirectory() as folder, traffic(Path(folder)) as world:
        _pause_schedules(world)
        relay, files = Relay(world.local.env["PREFECT_API_URL"]), lfw(runs + 2)
        worker = world.local.parts["worker"]
        worker.stop()
        worker.env = {**worker.env, "PREFECT_API_URL": relay.url}
        worker.start()
        worker.wait_until_ready()
        _put(world, files[:2])  # the models' first run
        before = _spent(world, relay)
        time.sleep(IDLE_S)
        idle = _spent(world, relay)
        _put(world, files[2:])
        _print(runs, before, idle, _spent(world, relay))


def _pause_schedules(world: Traffic) -> None:
    with httpx.Client(base_url=world.local.env["PREFECT_API_URL"], timeout=60) as api:
        for deployment in api.post("/deployments/filter", json={}).raise_for_status().json():
            for schedule in deployment["schedules"]:
                where = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
                api.patch(where, json={"active": False}).raise_for_status()


def _put(world: Traffic, files: Sequence[tuple[Path, str]]) -> None:
    for each in files:
        world.upload(*each)
        world.wait(120, every_s=0.05)
    time.sleep(SETTLE_S)


def _spent(world: Traffic, relay: Relay) -> Spent:
    server, worker = world.local.parts["prefect"], world.local.parts["worker"]
    return Spent(time.monotonic(), Counter(relay.counts), _cpu_s(server), _cpu_s(worker))


def _cpu_s(part: Part) -> float:
    """Return the seconds that a process and its ended children have computed, from /proc: utime to cstime."""
    assert part.process
    fields = Path(f"/proc/{part.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _print(runs: int, before: Spent, idle: Spent, after: Spent) -> None:
    idle_s, took_s = idle.at - before.at, after.at - idle.at
    share = took_s / idle_s
    each = {
        what: (after.counts[what] - idle.counts[what] - share * (idle.counts[what] - before.counts[what])) / runs
        for what in after.counts
    }
    for what, count in sorted(each.items(), key=lambda pair: -pair[1]):
        print(f"{count:7.2f}  {what}   (idle: {(idle.counts[what] - before.counts[what]) / idle_s:.2f} a second)")
    events = each.pop(EVENT, 0.0)
    server_s = after.server_s - idle.server_s - share * (idle.server_s - before.server_s)
    worker_s = after.worker_s - idle.worker_s - share * (idle.worker_s - before.worker_s)
    idle_ms = 1000 * (idle.server_s - before.server_s) / idle_s
    print(f"{runs} runs in {took_s:.0f} s; idle, a second costs the server {idle_ms:.0f} ms")
    found = {
        "runs": runs,
        "requests_per_run": round(sum(each.values()), 1),
        "events_per_run": round(events, 1),
        "server_cpu_ms": round(1000 * server_s / runs),
        "worker_cpu_ms": round(1000 * worker_s / runs),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
