"""The gallery in PostgreSQL, on a real server: its promises, and what may befall its numbers."""

# ruff: noqa: S608  the only text put into statements are the names below

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg.rows import DictRow

from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.galleries.postgres import PostgresGallery
from selfiegate.galleries.postgres_sketches import PostgresSketches
from selfiegate.galleries.sketch import sketch
from selfiegate.galleries.snapshot import _alone, load
from selfiegate.galleries.sql import NewFace
from selfiegate.gallery import Gallery
from selfiegate.postgres_connections import FRESH_S
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.stores.postgres_records import postgres_records
from tests.contract.gallery import D, GalleryContract, SharedGalleryContract, vectors
from tests.full_disk import full_disk
from tests.postgres import PATIENCE_S, PostgresServer
from tests.present import present

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.database("gallery")


@pytest.fixture
def opened() -> Iterator[Callable[[str], PostgresDatabase]]:
    databases = list[PostgresDatabase]()

    def open_one(url: str) -> PostgresDatabase:
        databases.append(PostgresDatabase(url))
        return databases[-1]

    yield open_one
    for database in databases:
        database.close()


Open = Callable[[str], PostgresDatabase]


def bonded(database: PostgresDatabase) -> PostgresGallery:
    return PostgresGallery(database, "model", D, records=postgres_records(database), together=True)


class TestPostgresGallery(GalleryContract, SharedGalleryContract):
    @pytest.fixture
    def gallery(self, url: str, opened: Open) -> Gallery:
        return PostgresGallery(opened(url), "model", D)

    @pytest.fixture
    def another(self, url: str, opened: Open) -> Callable[[str], Gallery]:
        return lambda model: PostgresGallery(opened(url), model, D)


class TestPostgresGalleryBesideItsRecords(GalleryContract, SharedGalleryContract):
    @pytest.fixture
    def gallery(self, url: str, opened: Open) -> Gallery:
        return bonded(opened(url))

    @pytest.fixture
    def another(self, url: str, opened: Open) -> Callable[[str], Gallery]:
        def open_another(model: str) -> Gallery:
            database = opened(url)
            return PostgresGallery(database, model, D, records=postgres_records(database), together=True)

        return open_another


@pytest.mark.promise
def test_a_face_that_is_committed_after_a_later_one_is_found(url: str, opened: Open) -> None:
    """Its number may be drawn first and become visible last; who asks for later numbers alone would never see it."""
    slow, quick, reader = (bonded(opened(url)) for _ in range(3))
    one, other = vectors(2)
    added, enough = threading.Event(), threading.Event()

    def add_slowly() -> None:
        with slow.batch():
            slow.add("first", "ann", one)
            added.set()
            assert enough.wait(PATIENCE_S)

    with ThreadPoolExecutor(2) as pool, psycopg.connect(url, autocommit=True) as watcher:
        first = pool.submit(add_slowly)
        assert added.wait(PATIENCE_S)
        second = pool.submit(quick.add, "second", "bob", other)
        give_up = time.monotonic() + PATIENCE_S
        while not second.done() and watcher.execute(WAITING).fetchone() == (0,):
            assert time.monotonic() < give_up
            time.sleep(0.01)
        seen = {match.face_id for match in reader.search(one)}
        enough.set()
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)

    assert seen <= {"second"}
    assert {match.face_id for match in reader.search(one)} == {"first", "second"}


@pytest.mark.promise
def test_faces_that_two_processes_write_in_bulk_at_once_are_all_there(url: str, opened: Open) -> None:
    """Both begin before either has ended; the second one reads where the numbers stand once the first has."""
    slow, quick = bonded(opened(url)), bonded(opened(url))
    stored = vectors(6)
    begun, enough = threading.Event(), threading.Event()

    def faces(first: int) -> Iterator[NewFace]:
        for n in range(first, first + 3):
            yield f"face {n}", "ann", stored[n]
        if first == 0:
            begun.set()
            assert enough.wait(PATIENCE_S)

    with ThreadPoolExecutor(2) as pool, psycopg.connect(url, autocommit=True) as watcher:
        one = pool.submit(slow.add_all, faces(0))
        assert begun.wait(PATIENCE_S)
        other = pool.submit(quick.add_all, faces(3))
        give_up = time.monotonic() + PATIENCE_S
        while not other.done() and watcher.execute(WAITING).fetchone() == (0,):
            assert time.monotonic() < give_up
            time.sleep(0.01)
        enough.set()
        one.result(PATIENCE_S)
        other.result(PATIENCE_S)

    assert [face.face_id for face in quick.faces()] == [f"face {n}" for n in range(6)]
    assert quick.newest() == 6


def test_a_batch_that_fails_leaves_neither_faces_nor_numbers(url: str, opened: Open) -> None:
    gallery, other = bonded(opened(url)), bonded(opened(url))
    one, two = vectors(2)

    def fail() -> None:
        with gallery.batch():
            gallery.add("lost", "ann", one)
            list(gallery.search(one))  # which promises nothing here, and must not harm what comes later
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert gallery.newest() == 0
    other.add("kept", "bob", two)

    assert [match.face_id for match in gallery.search(one)] == ["kept"]


@pytest.mark.parametrize("later", [1, 5], ids=["as many faces", "more faces"])
def test_numbers_that_a_takeover_gives_to_other_faces_are_read_again(tmp_path: Path, opened: Open, later: int) -> None:
    """A server that takes over may lack the last commits: here it is the same server with the data of before."""
    server = PostgresServer()
    try:
        url = server.database("gallery")
        database = opened(url)
        gallery, (lost, *others) = bonded(database), vectors(6)
        gallery.add_all(
            (f"filler {n}", "ann", one) for n, one in enumerate(vectors(2000, seed=1))
        )  # not all are scored
        server.copy_data(tmp_path / "standby")
        time.sleep(1.1 * FRESH_S)  # else connections of before are used, and fail
        gallery.add("lost", "bob", lost)
        mark = gallery.newest()
        assert gallery.search(lost)[0].face_id == "lost"
        server.put_back(tmp_path / "standby")
        time.sleep(1.1 * FRESH_S)
        writer = bonded(opened(url))
        for n in range(later):
            writer.add(f"other {n}", "carl", others[n])

        since = [gallery.search(others[n], limit=1, above=mark)[0].face_id for n in range(later)]
        found = [gallery.search(others[n], limit=1)[0].face_id for n in range(later)]
        assert found == since == [f"other {n}" for n in range(later)]
        assert "lost" not in {match.face_id for match in gallery.search(lost, limit=3000)}
    finally:
        server.stop()


def test_a_mark_that_a_takeover_lost_before_any_search_leaves_nothing_out(url: str, opened: Open) -> None:
    """The mark is asked for before the server dies, the search comes after it; others are enrolled below the mark."""
    gallery, other, (kept, lost, *later) = PostgresGallery(opened(url), "model", D), opened(url), vectors(4)
    gallery.add("kept", "ann", kept)
    gallery.search(kept)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA before")
        for name in GALLERY_TABLES:
            connection.execute(f"CREATE TABLE before.{name} AS SELECT * FROM {name}".encode())
    gallery.add("lost", "bob", lost)
    mark = gallery.newest()
    with psycopg.connect(url) as connection:
        for statement in as_before(GALLERY_TABLES):
            connection.execute(statement.encode())
    gallery.search(kept)
    PostgresGallery(other, "model", D).add("later", "carl", later[0])

    assert [match.face_id for match in gallery.search(later[0], limit=1, above=mark)] == ["later"]


def test_a_search_within_a_transaction_costs_other_threads_no_face(url: str, opened: Open) -> None:
    """What is not committed must not reach the sketches of the process: another thread would find no face for it."""
    gallery, (one, other) = bonded(opened(url)), vectors(2)
    gallery.add("old", "ann", other)
    searched, enough = threading.Event(), threading.Event()

    class Probes(list[NDArray[np.float32]]):
        def __getitem__(self, part: Any) -> Any:
            if part.start:  # after the sketches were brought up to date, before the last are compared
                writing.append(pool.submit(add_and_search))
                assert searched.wait(PATIENCE_S)
            return super().__getitem__(part)

    def add_and_search() -> None:
        with gallery.batch():
            gallery.add("new", "bob", one)
            gallery.search(one)
            searched.set()
            assert enough.wait(PATIENCE_S)

    writing = list[Future[None]]()
    with ThreadPoolExecutor(1) as pool:
        gallery.search_many(Probes([one] * 21))
        enough.set()
        writing[0].result(PATIENCE_S)

    assert gallery.search(one, limit=1)[0].face_id == "new"


def test_a_search_ends_though_others_add_faces_without_end(url: str) -> None:
    class Busy(PostgresDatabase):
        looks = 0

        def read_binary(self, sql: str, *parameters: Any) -> list[DictRow]:
            rows = super().read_binary(sql, *parameters)
            if self.looks < 20:
                self.looks += 1
                other.add(f"face {self.looks}", "ann", one)
            return rows

    (one,) = vectors(1)
    with closing(PostgresDatabase(url)) as elsewhere, closing(Busy(url)) as busy:
        other, gallery = PostgresGallery(elsewhere, "model", D), PostgresGallery(busy, "model", D)
        other.add("face 0", "ann", one)
        gallery.search(one)

        assert busy.looks < 20


def test_a_server_that_hangs_ends_a_search_and_an_enrolment_and_spoils_neither() -> None:
    server = PostgresServer()
    rescue = threading.Timer(PATIENCE_S, server.resume)
    try:
        database = PostgresDatabase(server.database("hangs"), patience_s=1)
        gallery, (one, other) = bonded(database), vectors(2)
        gallery.add("face", "ann", one)
        server.pause()
        rescue.start()
        for use in (lambda: gallery.search(one), lambda: gallery.add("other", "bob", other), gallery.newest):
            with pytest.raises(BackendUnavailable):
                use()
        server.resume()
        gallery.add("other", "bob", other)

        assert {match.face_id for match in gallery.search(one)} == {"face", "other"}
        database.close()
    finally:
        rescue.cancel()
        server.resume()
        server.stop()


class Started(NamedTuple):
    """A process's sketches after a start, and what they hold."""

    sketches: PostgresSketches
    numbers: list[int]


@pytest.fixture
def start(url: str, opened: Open, tmp_path: Path) -> Callable[[], Started]:
    def started() -> Started:
        """Start as a process does, which keeps a copy from ten sketches on, and none that holds what was removed."""
        sketches = PostgresSketches(opened(url), D // 8, "gallery", tmp_path / "copy", worth_keeping=10, removed_s=0)
        numbers = [int(n) for ids, _ in sketches.current().blocks(1000) for n in ids]
        sketches.close()
        return Started(sketches, numbers)

    return started


def filled(gallery: PostgresGallery) -> PostgresGallery:
    """Enrol twelve faces, of the numbers 1 to 12."""
    for n, vector in enumerate(vectors(12)):
        gallery.add(f"face {n}", "ann", vector)
    return gallery


def kept(path: Path) -> list[int]:
    _, index = present(load(path, "gallery", D // 8))
    return [int(n) for ids, _ in index.blocks(1000) for n in ids]


def test_a_start_goes_on_from_the_copy_on_disk(
    url: str, opened: Open, start: Callable[[], Started], tmp_path: Path
) -> None:
    gallery = filled(PostgresGallery(opened(url), "model", D))
    assert start().numbers == kept(tmp_path / "copy") == [*range(1, 13)]
    gallery.add("later", "ann", vectors(1)[0])
    with psycopg.connect(url) as connection:  # what comes from the copy is not fetched
        connection.execute("DELETE FROM sketches WHERE id < 12")

    assert start().numbers == [*range(1, 14)]


def test_what_was_removed_is_wiped_from_memory_and_from_the_copy(
    url: str, opened: Open, start: Callable[[], Started], tmp_path: Path
) -> None:
    gallery = filled(PostgresGallery(opened(url), "model", D))
    running, copied = start().sketches, (tmp_path / "copy").read_bytes()
    gallery.remove("face 4")
    index = running.current()
    running.close()

    assert [int(n) for ids, _ in index.blocks(1000) for n in ids] == [1, 2, 3, 4, *range(6, 13)]
    assert sketch(vectors(12)[4]) in copied
    assert sketch(vectors(12)[4]) not in (tmp_path / "copy").read_bytes()
    assert sketch(vectors(12)[4]) not in index._rows.sketches.tobytes()


def test_a_copy_of_a_time_that_the_database_does_not_know_is_not_used(
    url: str, opened: Open, start: Callable[[], Started], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(PostgresGallery(opened(url), "model", D))
    start()
    with psycopg.connect(url) as connection:  # as after a restore, and other uploads
        connection.execute("UPDATE sketches SET token = gen_random_uuid() WHERE id > 5")
        connection.execute("DELETE FROM sketches WHERE id = 3")

    assert start().numbers == kept(tmp_path / "copy") == [1, 2, *range(4, 13)]
    assert "all sketches are read again" in caplog.text


def test_a_copy_whose_faces_another_process_writes_down_loses_what_was_removed_later(
    url: str, opened: Open, start: Callable[[], Started], tmp_path: Path
) -> None:
    gallery, removed = filled(PostgresGallery(opened(url), "model", D)), sketch(vectors(12)[4])
    running, copy = start().sketches, tmp_path / "copy"
    gallery.remove("face 4")

    with _alone(tmp_path / "copy.part") as file:  # as a process does that began before the removal
        assert file
        running.current()
        running.close()
        assert removed in copy.read_bytes()
    running.current()
    running.close()
    assert removed not in copy.read_bytes()


def test_a_process_without_a_copy_wipes_what_was_removed_from_the_one_of_another_process(
    url: str, opened: Open, start: Callable[[], Started], tmp_path: Path
) -> None:
    gallery = PostgresGallery(opened(url), "model", D)
    running = start().sketches
    filled(gallery)
    start()
    for n in range(4):
        gallery.remove(f"face {n}")
    running.current()
    running.close()

    assert kept(tmp_path / "copy") == [*range(5, 13)]


def test_a_copy_that_cannot_be_written_anew_is_removed(
    url: str, opened: Open, start: Callable[[], Started], tmp_path: Path
) -> None:
    gallery = filled(PostgresGallery(opened(url), "model", D))
    running = start().sketches
    gallery.remove("face 4")

    with full_disk(room=100):
        running.current()
        running.close()
    assert list(tmp_path.iterdir()) == []


GALLERY_TABLES, RECORD_TABLES = ("gallery_notes", "faces", "sketches"), ("claims", "profiles", "erasures", "gallery")


def lost(tables: tuple[str, ...], part: str) -> list[str]:
    return [f"DROP TABLE {', '.join(tables)}", f"DELETE FROM selfiegate_schema WHERE part = '{part}'"]


def as_before(tables: tuple[str, ...]) -> list[str]:
    return [line for name in tables for line in (f"TRUNCATE {name}", f"INSERT INTO {name} SELECT * FROM before.{name}")]


WRONG = {
    "the gallery is lost": (lost(GALLERY_TABLES, "gallery"), "is not the gallery that the records rely on"),
    "the records are lost": (lost((*RECORD_TABLES, "audit_bookmark"), "records"), "belongs to other records"),
    "the gallery is older": (as_before(GALLERY_TABLES), "is older than the records: it ends with face number 1"),
    "the records are older": (as_before(RECORD_TABLES), "the records are older than"),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_tables_that_do_not_belong_together_are_refused(url: str, opened: Open, change: list[str], said: str) -> None:
    gallery, (one, two) = bonded(opened(url)), vectors(2)
    gallery.add("first", "ann", one)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA before")
        for name in (*GALLERY_TABLES, *RECORD_TABLES):
            connection.execute(f"CREATE TABLE before.{name} AS SELECT * FROM {name}".encode())
    gallery.add("second", "bob", two)
    with psycopg.connect(url) as connection:
        for statement in change:
            connection.execute(statement.encode())

    for _ in range(2):  # nor does the refusal create what makes the next start succeed
        with pytest.raises(BackendMisconfigured, match=said):
            bonded(opened(url))
    if "DROP" not in change[0]:
        for use in (lambda: gallery.search(one), lambda: gallery.add("third", "carl", one)):
            with pytest.raises(BackendMisconfigured, match=said):
                use()
