"""Prefect's database over days of many photos, with and without removal: `python -m benchmarks.prune [PHOTOS]`.

50 photos run through `selfiegate up`: bridge, automation, worker. What these runs left in Prefect's SQLite (runs,
tasks, states, logs, artifacts, events) is then written again by SQL, under new ids and with dates of the past, until a
day has PHOTOS photos (10,000), or a few less. So only the 50 were run. Then, on the same file, each part by a server of
its own (the last line is JSON):

    day 1, day 2   the file's size without removal
    vacuum         Prefect's vacuum removes day 1: seconds, and how long other writes to the server take meanwhile
    day 3          the file's size with removal: it takes the place that day 1 left
    prune          for two minutes the flow's step removes runs of day 2 over the API; events are left to the vacuum
"""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.local.parts import BATCHES, program
from deployments.local.processes import Part, answers, free_port
from flows.prune import OURS
from tasks import run_history
from tests.chaos.traffic import traffic

_RUNS = "SELECT id FROM flow_run WHERE state_type = 'COMPLETED' AND name LIKE '%: %'"
_TASKS = f"SELECT id FROM task_run WHERE flow_run_id IN ({_RUNS})"  # noqa: S608  ours
_EVENTS = f"""
    SELECT id FROM events WHERE event LIKE 'selfiegate.%' OR event LIKE 'prefect.automation.t%'
        OR event LIKE 'prefect.automation.action.%'
    UNION SELECT event_id FROM event_resources WHERE replace(resource_id, 'prefect.flow-run.', '') IN ({_RUNS})"""  # noqa: S608
_LEFT_BY_RUNS = {
    "flow_run": f"id IN ({_RUNS})",
    "flow_run_state": f"flow_run_id IN ({_RUNS})",
    "task_run": f"id IN ({_TASKS})",
    "task_run_state": f"task_run_id IN ({_TASKS})",
    "log": f"flow_run_id IN ({_RUNS})",
    "artifact": f"flow_run_id IN ({_RUNS})",
    "events": f"id IN ({_EVENTS})",
    "event_resources": f"event_id IN ({_EVENTS})",
}
_IDS = {"id", "flow_run_id", "task_run_id", "state_id", "parent_task_run_id", "event_id", "follows"}
_TIMES = {
    *("timestamp", "start_time", "end_time", "expected_start_time", "next_scheduled_start_time"),
    *("created", "updated", "occurred", "received", "recorded"),
}


def main(photos: int = 10_000) -> None:
    """Print sizes and seconds."""
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = _fifty_runs(folder)
        photos -= photos % runs
        with closing(sqlite3.connect(folder / "prefect.db")) as database:
            begin = _size(folder)
            counted = {table: _count(database, table) / runs for table in _picked(database, folder)}
        print("rows a photo    " + ", ".join(f"{table} {rows:.1f}" for table, rows in counted.items()), flush=True)
        without = []
        for day in (1, 2):
            _write_day(folder, day, photos, runs)
            without.append(_size(folder) - begin)
            print(f"without         day {day}: {without[-1] / 1e6:,.0f} MB", flush=True)
        vacuum_s, writes = _vacuumed(folder)
        free = _free(folder)
        print(f"vacuum          day 1 removed in {vacuum_s:.0f} s, {free / 1e6:,.0f} MB free for new rows", flush=True)
        _print_writes(writes)
        _write_day(folder, 3, photos, runs)
        with_it = _size(folder) - begin
        print(f"with            day 3: {with_it / 1e6:,.0f} MB", flush=True)
        prune_s, pruned = _pruned(folder)
        print(f"prune           {pruned.runs} runs, {pruned.artifacts} artifacts in {prune_s:.0f} s: "
              f"{pruned.runs / prune_s:.0f}/s", flush=True)  # fmt: skip
    found = {
        "photos_a_day": photos,
        "kb_a_photo": round(without[0] / photos / 1e3, 1),
        "mb_without": [round(size / 1e6) for size in without],
        "mb_with": [round(without[0] / 1e6), round(without[1] / 1e6), round(with_it / 1e6)],
        "vacuum_s": round(vacuum_s),
        "write_p95_s": round(float(np.percentile([took for took, _ in writes], 95)), 2),
        "writes_refused": sum(status != 201 and status != 200 for _, status in writes),
        "pruned_runs_a_second": round(pruned.runs / prune_s, 1),
    }
    print(json.dumps(found))


def _fifty_runs(folder: Path) -> int:
    """Run photos, keep Prefect's database as it is then, and return how many runs it has."""
    with traffic(folder / "up", SELFIEGATE_BRIDGE__EXPRESS="never") as world:  # a run each
        for each in world.people(50):
            world.upload(*each)
        world.wait(600)
        time.sleep(5)  # events are written after a run's end
    with closing(sqlite3.connect(folder / "up" / "prefect" / "prefect.db")) as database:
        database.execute("VACUUM INTO ?", (str(folder / "prefect.db"),))
    shutil.rmtree(folder / "up")
    with closing(sqlite3.connect(folder / "prefect.db")) as database:
        _picked(database, folder)
        for table, which in _LEFT_BY_RUNS.items():
            database.execute(f"CREATE TABLE picked.{table} AS SELECT * FROM {table} WHERE {which}")  # noqa: S608  ours
        database.commit()
        database.execute("PRAGMA journal_mode = WAL")
        return _count(database, "flow_run")


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM picked.{table}").fetchone()[0])  # noqa: S608  ours


def _picked(database: sqlite3.Connection, folder: Path) -> Sequence[str]:
    """Open the rows that the runs left beside the database; return their tables."""
    database.execute("ATTACH ? AS picked", (str(folder / "picked.db"),))
    return list(_LEFT_BY_RUNS)


def _write_day(folder: Path, day: int, photos: int, runs: int) -> None:
    """Write the rows of so many photos; day 3 ended now, day 1 two days ago."""
    with closing(sqlite3.connect(folder / "prefect.db")) as database:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1500000"):  # a day is much to write
            database.execute(f"PRAGMA {pragma}")
        tables = _picked(database, folder)
        for copy in range(photos // runs):
            for table in tables:
                columns = [row[1] for row in database.execute(f"PRAGMA main.table_info({table})")]
                values = ", ".join(_value(column) for column in columns)
                sql = f"INSERT INTO main.{table} ({', '.join(columns)}) SELECT {values} FROM picked.{table}"  # noqa: S608
                database.execute(sql, {"new": f"{day}{copy:07x}", "shift": f"-{3 - day} days"})
        database.commit()
        database.execute("PRAGMA journal_mode = WAL")


def _value(column: str) -> str:
    if column in _IDS:
        return f":new || substr({column}, 9)"
    if column in _TIMES:
        return f"date({column}, :shift) || substr({column}, 11)"
    return f"{column} || :new" if column == "idempotency_key" else column


def _size(folder: Path) -> int:
    return (folder / "prefect.db").stat().st_size


def _free(folder: Path) -> int:
    """Return how many bytes of the file are free for new rows."""
    with closing(sqlite3.connect(folder / "prefect.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(database.execute("PRAGMA freelist_count").fetchone()[0]) * 4096


@contextmanager
def _server(folder: Path, **settings: str) -> Iterator[str]:
    """Start Prefect's server without what makes rows of its own, and give its address."""
    port = free_port()
    env = {
        **BATCHES,
        **settings,
        "PATH": "",
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    }
    command = [program("prefect"), "server", "start", "--no-ui", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    part = Part("prefect", command, env, folder / "server.log", lambda: answers(f"{url}/health"))
    part.start()
    try:
        part.wait_until_ready()
        yield url
    finally:
        part.stop()


def _vacuumed(folder: Path) -> tuple[float, list[tuple[float, int]]]:
    """Let Prefect's vacuum remove what is older than a day and a half; return its seconds, and others' writes."""
    kept = "P1DT12H"
    settings = {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": kept,
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": kept,
    }
    began, writes, ended = time.monotonic(), list[tuple[float, int]](), threading.Event()
    with _server(folder, **settings) as url:
        probe = threading.Thread(target=_probe, args=(url, writes, ended))
        probe.start()
        while left := _older(folder):
            assert time.monotonic() - began < 3600, left
            time.sleep(1)
        took = time.monotonic() - began
        ended.set()
        probe.join()
    return took, writes


def _probe(url: str, writes: list[tuple[float, int]], ended: threading.Event) -> None:
    """Write to the server twice a second, as a run's client does."""
    while not ended.wait(0.5):
        began = time.monotonic()
        try:
            body = {"name": f"probe {len(writes)}"}
            status = httpx.post(f"{url}/flows/", json=body, timeout=120).status_code
        except httpx.HTTPError:
            status = 0
        writes.append((time.monotonic() - began, status))


def _older(folder: Path) -> list[str]:
    """Name the tables that hold a row of day 1 still."""
    runs = {"flow_run": "id", "log": "flow_run_id", "artifact": "flow_run_id"}
    about = runs | {"events": "id", "event_resources": "event_id"}
    with closing(sqlite3.connect(folder / "prefect.db", timeout=60)) as database:
        look = "SELECT 1 FROM {} WHERE {} BETWEEN '1000' AND '1001' LIMIT 1"
        return [one for one in about if database.execute(look.format(one, about[one])).fetchone()]


def _pruned(folder: Path) -> tuple[float, run_history.Pruned]:
    """Remove the runs of day 2 over the API."""
    off = {"PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events", "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P9D"}
    with _server(folder, **off) as url, temporary_settings({PREFECT_API_URL: url}):
        began = time.monotonic()
        done = run_history.prune(OURS, 0.5, seconds=120)
        return time.monotonic() - began, done


def _print_writes(writes: Sequence[tuple[float, int]]) -> None:
    p50, p95 = np.percentile([took for took, _ in writes], [50, 95])
    refused = sum(status not in (200, 201) for _, status in writes)
    print(
        f"                {len(writes)} writes meanwhile: p50 {p50:.2f} s, p95 {p95:.2f} s, {refused} refused",
        flush=True,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
