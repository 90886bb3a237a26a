"""A backfill keeps the promises of the single photo: same rules, one account a face, nothing lost by any stop."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.backfill import backfill
from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.errors import BackendUnavailable
from selfiegate.runtime import Runtime, using
from tests.flowruns import LOOP
from tests.present import present
from tests.runtimes import Failing, ScriptedRuntime, assert_consistent, replacing, scripted_runtime

TEMPLATE = "*/{user_id}.png"


@pytest.fixture
def rt(tmp_path: Path) -> ScriptedRuntime:
    return scripted_runtime(tmp_path / "stores")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five people, two of them twice, two unusable photos."""
    people = {"a1": "ann", "a2": "ann~", "b1": "bob", "b2": "bob~", "c1": "cid", "d1": "dan", "e1": "eve"}
    folder = tmp_path / "photos" / "all"
    folder.mkdir(parents=True)
    for name, person in people.items():
        (folder / f"{name}.png").write_bytes(scripted_photo(person))
    (folder / "nobody.png").write_bytes(scripted_photo())
    (folder / "broken.png").write_bytes(b"no picture")
    return folder.parent


def run(rt: Runtime, source: Path, **parameters: Any) -> dict[str, Any]:
    async def once() -> Any:
        state = await backfill(str(source), TEMPLATE, return_state=True, **parameters)
        await asyncio.sleep(0.3)  # see tests.flowruns
        return await state.aresult(raise_on_failure=False)

    with using(rt):
        return LOOP.run(once())


def photos(rt: Runtime, source: Path) -> list[tuple[Any, str]]:
    return [(rt.photos.find(str(path)), path.stem) for path in sorted(source.glob("*/*.png"))]


def accepted(rt: Runtime, source: Path) -> set[str]:
    rows = [rt.ledger.get(photo, user_id) for photo, user_id in photos(rt, source)]
    return {row.user_id for row in rows if row and row.status == "accepted"}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_of_two_photos_with_one_face_the_first_wins_whatever_the_chunks(
    rt: ScriptedRuntime, source: Path, chunk: int
) -> None:
    found = run(rt, source, chunk=chunk, workers=3)

    assert accepted(rt, source) == {"a1", "b1", "c1", "d1", "e1"}
    assert (found["photos"], found["accepted"], found["rejected"], found["failed"]) == (9, 5, 4, 0)
    assert found["reasons"] == {"face_already_enrolled": 2, "no_face": 1, "unsupported_format": 1}
    assert rt.notifier.sent == []
    assert list(rt.ledger.unfinished(before=2**62)) == []
    assert_consistent(rt, *photos(rt, source))


@pytest.mark.usefixtures("prefect_api")
def test_the_order_may_be_that_of_the_files_times(rt: ScriptedRuntime, source: Path) -> None:
    for n, path in enumerate(sorted(source.glob("*/*.png"), reverse=True)):
        os.utime(path, (n, n))
    run(rt, source, order="modified", chunk=2)

    assert accepted(rt, source) == {"a2", "b2", "c1", "d1", "e1"}


@pytest.mark.usefixtures("prefect_api")
def test_a_second_backfill_skips_what_has_a_verdict_and_writes_a_report(
    rt: ScriptedRuntime, source: Path, tmp_path: Path
) -> None:
    report, sheet = tmp_path / "report.jsonl", tmp_path / "sheet.html"
    run(rt, source, report=str(report), html=str(sheet))
    again = run(rt, source)

    assert (again["skipped"], again["photos"]) == (9, 9)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["status"] for line in lines} == {"accepted", "rejected"}
    assert "nobody.png" in sheet.read_text()


@pytest.mark.usefixtures("prefect_api")
def test_a_dry_run_writes_nothing_and_tells_what_would_change(
    rt: ScriptedRuntime, source: Path, tmp_path: Path
) -> None:
    run(rt, source)
    (source / "all" / "f1.png").write_bytes(scripted_photo("fay"))
    report, before = tmp_path / "report.jsonl", list(rt.faces.faces())
    found = run(rt, source, dry_run=True, report=str(report))

    assert list(rt.faces.faces()) == before
    assert rt.profiles.get("f1") is None
    assert found["accepted"] == 6
    lines = {line["user_id"]: line for line in map(json.loads, report.read_text().splitlines())}
    assert (lines["f1"]["status"], lines["f1"]["before"]) == ("accepted", "")
    assert (lines["a1"]["status"], lines["a1"]["before"]) == ("accepted", "accepted")


@pytest.mark.usefixtures("prefect_api")
def test_too_many_failures_end_red_and_the_others_are_done(rt: ScriptedRuntime, source: Path) -> None:
    class Breaking:
        def __getattr__(self, name: str) -> Any:
            return getattr(rt.faces, name)

        def detect(self, photo: Any) -> Any:
            if photo.key == "c1.png":
                raise RuntimeError("the library does not like this photo")
            return rt.faces.detect(photo)

    found = run(replace(rt, faces=Breaking()), source)

    assert (found["failed"], found["accepted"]) == (1, 4)


@pytest.mark.usefixtures("prefect_api")
def test_a_store_that_does_not_answer_for_a_while_costs_no_photo(rt: ScriptedRuntime, source: Path) -> None:
    broken = replace(rt, photos=Failing(rt.photos, "find", 3, after=False))
    found = run(broken, source)

    assert (found["failed"], found["accepted"]) == (0, 5)
    assert_consistent(rt, *photos(rt, source))


def entries(source: Path) -> list[Entry]:
    return [Entry(uri=str(path), user_id=path.stem) for path in sorted(source.glob("*/*.png"))]


def chunk(rt: Runtime, owner: str = "test", **more: Any) -> Chunk:
    return Chunk(rt, owner, ThreadPoolExecutor(2), ThreadPoolExecutor(4), **more)


def test_a_users_second_photo_in_a_chunk_is_held_against_the_first(rt: ScriptedRuntime, source: Path) -> None:
    files = [source / "all" / name for name in ("a1.png", "a2.png", "b1.png")]
    chunk(rt).run([Entry(uri=str(file), user_id="ann", modified=n) for n, file in enumerate(files, 1)])
    rows = [present(rt.ledger.get(rt.photos.find(str(file)), "ann")) for file in files]

    assert [row.status for row in rows] == ["accepted", "accepted", "rejected"]
    assert [reason.code for reason in present(rows[2].verdict).reasons] == ["different_person"]
    assert present(rt.profiles.get("ann")).photo.key == "a2.png"
    assert rt.faces.stats().faces == 1


@pytest.mark.parametrize(
    ("part", "method"),
    [("faces", "enrol"), ("faces", "rivals"), ("thumbnails", "put"), ("profiles", "put"), ("ledger", "accept")],
)
def test_a_step_that_fails_leaves_no_trace_and_the_photo_for_later(
    rt: ScriptedRuntime, source: Path, part: str, method: str
) -> None:
    broken = replacing(rt, part, Failing(getattr(rt, part), method, 1, after=True))
    outcomes, again = chunk(broken).run(entries(source))
    assert len(again) == 1
    assert len(outcomes) == 8
    assert rt.faces.stats().faces == len(list(rt.profiles.all()))

    late, rest = chunk(rt).run([entry for entry, _ in again])
    assert (len(late), rest) == (1, [])
    assert_consistent(rt, *photos(rt, source))
    assert len(accepted(rt, source)) == 5


def test_another_runs_photo_is_left_to_it(rt: ScriptedRuntime, source: Path) -> None:
    first = entries(source)[0]
    rt = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.2}))
    claim = claim_photo(rt, rt.photos.find(first.uri), first.user_id, "another run")
    rt.ledger.renew(claim, 60)
    outcomes, again = chunk(rt).run([first])

    assert outcomes == []
    assert [why for _, why in again] == ["another run is working on a1.png of a1"]


def test_users_are_told_where_that_is_asked(rt: ScriptedRuntime, source: Path) -> None:
    chunk(rt, notify=True).run(entries(source))

    assert sorted(told.user_id for told in rt.notifier.sent) == ["a2", "b2", "broken", "nobody"]
    assert list(rt.ledger.unfinished(before=2**62)) == []


def test_what_died_half_way_is_taken_to_the_same_end(rt: ScriptedRuntime, source: Path) -> None:
    for entry in entries(source):
        claim = claim_photo(rt, rt.photos.find(entry.uri), entry.user_id, "a run that died")
        rt.ledger.renew(claim, -1)
    outcomes, again = chunk(rt).run(entries(source))

    assert (len(outcomes), again) == (9, [])
    assert_consistent(rt, *photos(rt, source))
    assert accepted(rt, source) == {"a1", "b1", "c1", "d1", "e1"}


def test_finishing_raises_and_takes_back_where_a_step_fails_for_good(rt: ScriptedRuntime, source: Path) -> None:
    first = entries(source)[0]
    claim = claim_photo(rt, rt.photos.find(first.uri), first.user_id, "test")
    with pytest.raises(BackendUnavailable):
        finish(replace(rt, thumbnails=Failing(rt.thumbnails, "put", 1, after=True)), claim)

    assert rt.faces.stats().faces == len(rt.thumbnails.keys()) == 0


def test_a_photo_of_a_run_that_just_died_keeps_its_place(rt: ScriptedRuntime, source: Path) -> None:
    rt = replace(rt, settings=rt.settings.model_copy(update={"lease_s": 0.4}))
    first, double, *_ = entries(source)
    claim_photo(rt, rt.photos.find(first.uri), first.user_id, "a run that died")  # its lease lasts a little longer
    for entry in (first, double):
        chunk(rt).run([entry])

    assert accepted(rt, source) == {"a1"}
