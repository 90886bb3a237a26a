"""S3 Inventories and batches on disk: what they list, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from selfiegate.backfill.listing import Entry, Fault
from selfiegate.backfill.sources import entries
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.settings import Settings
from tests.aws.inventories import COLUMNS, NAME, Row, csv_file, manifest, parquet_file, write

ETAG = "b1946ac92492d2347c6235b4d2611184"
MODIFIED = 1_767_323_045_000_000
ODD_KEYS = ["ann/my selfie+é%2F#1?.jpg", "ann/a&b=c,d.jpg", 'ann/"quoted".jpg', "用户/\U0001f600.jpg"]

needs_pyarrow = pytest.mark.usefixtures("_pyarrow")


@pytest.fixture
def _pyarrow() -> None:
    pytest.importorskip("pyarrow")


def listed(source: str | Path) -> list[Entry | Fault]:
    return list(entries(str(source), Settings()))


def of_csv(folder: Path, *rows: Row, columns: list[str] = COLUMNS, **changes: Any) -> str:
    files = {NAME: csv_file(rows, columns)}
    return write(folder, manifest(files, columns=columns, **changes), files)


def of_file(folder: Path, data: bytes, form: str = "CSV") -> str:
    files = {NAME: data}
    return write(folder, manifest(files, form), files)


def of_parquet(folder: Path, data: bytes) -> str:
    return of_file(folder, data, "Parquet")


def test_a_row_is_an_entry_pinned_by_its_version(tmp_path: Path) -> None:
    assert listed(of_csv(tmp_path, Row("ann/a.jpg", "v1"))) == [
        Entry(uri="s3://rides/ann/a.jpg", user_id="ann", version="v1", modified=MODIFIED)
    ]


@pytest.mark.parametrize("version", ["", "null"])
def test_an_object_without_a_version_is_pinned_by_its_etag(tmp_path: Path, version: str) -> None:
    (found,) = listed(of_csv(tmp_path, Row("ann/a.jpg", version)))

    assert isinstance(found, Entry)
    assert found.version == f'etag:"{ETAG}"'


def test_columns_may_be_few(tmp_path: Path) -> None:
    by_etag = of_csv(tmp_path, Row("ann/a.jpg"), columns=["Bucket", "Key", "ETag"])
    bare = of_csv(tmp_path / "bare", Row("ann/a.jpg"), columns=["Bucket", "Key"])

    assert listed(by_etag) == [Entry(uri="s3://rides/ann/a.jpg", user_id="ann", version=f'etag:"{ETAG}"')]
    assert listed(bare) == [Entry(uri="s3://rides/ann/a.jpg", user_id="ann")]


ROWS = [
    Row("ann/a.jpg", "v1", latest=False),
    Row("ann/a.jpg", "v2"),
    Row("bob/a.jpg", "v3", deleted=True),
    Row("bob/a.jpg", "v4", latest=False),
    Row("bob/", "v5"),
    Row("bob/notes.txt", "v6"),
]


def test_older_versions_deleted_objects_and_other_files_are_left_out(tmp_path: Path) -> None:
    assert [found.version for found in listed(of_csv(tmp_path, *ROWS)) if isinstance(found, Entry)] == ["v2"]


def test_encoded_keys_are_decoded(tmp_path: Path) -> None:
    found = listed(of_csv(tmp_path, *map(Row, ODD_KEYS)))

    assert [one.uri for one in found if isinstance(one, Entry)] == [f"s3://rides/{key}" for key in ODD_KEYS]


HOSTILE = ["stray.jpg", "ann/\0.jpg", "ann/../a.jpg", "./a.jpg", f"{'x' * 256}/a.jpg", f"ann/{'y' * 1017}.jpg"]


def test_keys_that_cannot_be_taken_are_faults_beside_good_ones(tmp_path: Path) -> None:
    longest = f"ann/{'y' * 1016}.jpg"
    found = listed(of_csv(tmp_path, *map(Row, [*HOSTILE, "ann/\udcff.jpg", longest])))

    assert [one.uri for one in found if isinstance(one, Entry)] == [f"s3://rides/{longest}"]
    assert [one.where[:40] for one in found if isinstance(one, Fault)][-1] == f"{NAME}, row 7"[:40]
    assert len(found) == 8


def test_rows_that_cannot_be_read_are_faults_beside_good_ones(tmp_path: Path) -> None:
    good = gzip.decompress(csv_file([Row("ann/a.jpg")]))
    odd = [
        b'"rides","ann/b.jpg"\n',
        b"\n",
        good.replace(b"rides", b"other"),
        good.replace(b"ann/a", b"ann/\xff"),
        good.replace(b"ann/a.jpg", b""),
        good.replace(b"2026-01-02", b"yesterday"),
    ]
    found = listed(of_file(tmp_path, gzip.compress(b"".join(odd) + good)))

    assert [type(one) for one in found] == [Fault] * 6 + [Entry]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no gzip", "cannot be read as CSV in gzip"),
        (csv_file([Row("ann/a.jpg")] * 99)[:-20], "cannot be read as CSV in gzip"),
        (gzip.compress(b"x" * 100_000), "a line of more than"),
        (gzip.compress(b'"' + b"x\n" * 100_000), "field larger than"),
    ],
)
def test_a_damaged_file_is_wrong_input(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(WrongInput, match=words):
        listed(of_file(tmp_path, data))


def test_a_file_that_its_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    source = of_csv(tmp_path, Row("ann/a.jpg"))
    (tmp_path / Path(NAME).name).write_bytes(csv_file([Row("bob/a.jpg")]))

    with pytest.raises(WrongInput, match="MD5"):
        listed(source)


def test_all_files_of_an_inventory_are_read(tmp_path: Path) -> None:
    files = {f"data/{name}.csv.gz": csv_file([Row(f"{name}/a.jpg")]) for name in ("ann", "bob")}

    found = listed(write(tmp_path, manifest(files), files))
    assert [one.user_id for one in found if isinstance(one, Entry)] == ["ann", "bob"]


@pytest.mark.parametrize("place", ["2026-01-02T01-00Z/data", "data", "2026-01-02T01-00Z/inventory/rides/daily/data"])
def test_files_are_found_where_a_download_puts_them(tmp_path: Path, place: str) -> None:
    files = {NAME: csv_file([Row("ann/a.jpg")])}
    source = write(tmp_path / "2026-01-02T01-00Z", manifest(files), {})
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / Path(NAME).name).write_bytes(files[NAME])

    assert len(listed(source)) == 1


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "data/../../x.csv.gz"])
def test_a_manifest_names_no_files_elsewhere(tmp_path: Path, key: str) -> None:
    with pytest.raises(WrongInput, match="a file elsewhere"):
        listed(write(tmp_path, manifest({key: b""}), {}))


@pytest.mark.parametrize("key", ["data/missing.csv.gz", "a\0b", "pipe.csv.gz"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    os.mkfifo(tmp_path / "pipe.csv.gz")

    with pytest.raises(WrongInput, match="download it, too"):
        listed(write(tmp_path, manifest({key: b""}), {}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fileFormat": "ORC"}, "CSV or Parquet"),
        ({"fileFormat": "XML"}, "malformed: fileFormat"),
        ({"files": None}, "malformed: files"),
        ({"files": [{"key": "x"}]}, r"files\.0\.MD5checksum"),
        ({"sourceBucket": "/etc"}, "malformed: sourceBucket"),
        ({"destinationBucket": "arn:aws:sqs:::x"}, "malformed: destinationBucket"),
        ({"fileSchema": "Key, Size"}, "no Bucket and Key"),
        ({"sourceBucket": "thumbnails"}, "our own thumbnails"),
    ],
)
def test_a_malformed_manifest_is_wrong_input(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    settings = Settings.model_validate({"aws": {"thumbnail_bucket": "thumbnails"}})

    with pytest.raises(WrongInput, match=words):
        entries(of_csv(tmp_path, Row("ann/a.jpg"), **changes), settings)


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000, b"9" * 5000, b'{"Records": []}'])
def test_json_of_another_kind_is_wrong_input(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "batch.json"
    path.write_bytes(content)

    with pytest.raises(WrongInput, match="a backfill takes"):
        listed(path)


def test_the_workshops_batch_names_its_users(tmp_path: Path) -> None:
    images: list[object] = [
        {"userId": "user_a", "s3Key": "1_happy_face.jpg"},
        {"userId": "user_b", "s3Key": "no suffix"},
        {"s3Key": "stray.jpg"},
        {"userId": "x" * 256, "s3Key": "a.jpg"},
        {"userId": "ann", "s3Key": "a/../b.jpg"},
        7,
    ]
    path = tmp_path / "batch.json"
    path.write_text(json.dumps({"s3Bucket": "wild-rydes", "images": images}))
    found = listed(path)

    assert found[:2] == [
        Entry(uri="s3://wild-rydes/1_happy_face.jpg", user_id="user_a"),
        Entry(uri="s3://wild-rydes/no suffix", user_id="user_b"),
    ]
    assert [type(one) for one in found[2:]] == [Fault] * 4
    assert isinstance(found[2], Fault)
    assert (found[2].where, "no userId" in found[2].why) == (f"{path}, image 2", True)


def test_the_workshops_single_form_is_a_batch_of_one(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"userId": "user_a", "s3Bucket": "wild-rydes", "s3Key": "a.jpg"}))

    assert listed(path) == [Entry(uri="s3://wild-rydes/a.jpg", user_id="user_a")]


@needs_pyarrow
@pytest.mark.parametrize("milliseconds", [False, True])
def test_parquet_lists_what_csv_lists(tmp_path: Path, milliseconds: bool) -> None:
    rows = [*ROWS, *map(Row, ODD_KEYS), *map(Row, HOSTILE)]
    from_csv = listed(of_csv(tmp_path / "csv", *rows))

    assert listed(of_parquet(tmp_path / "parquet", parquet_file(rows, milliseconds))) == from_csv
    assert from_csv[0] == Entry(uri="s3://rides/ann/a.jpg", user_id="ann", version="v2", modified=MODIFIED)


@needs_pyarrow
def test_a_batch_of_parquet_rows_is_read_after_another(tmp_path: Path) -> None:
    rows = [Row(f"ann/{n}.jpg") for n in range(10_000)]

    assert len(listed(of_parquet(tmp_path, parquet_file(rows)))) == 10_000


@needs_pyarrow
def test_parquet_rows_of_the_wrong_kind_are_faults(tmp_path: Path) -> None:
    rows = [Row("ann/a.jpg"), Row("ann/b.jpg")]
    not_text = listed(of_parquet(tmp_path / "numbers", parquet_file(rows, key=[1, 2])))
    not_utf8 = listed(of_parquet(tmp_path / "bytes", parquet_file(rows, key=[b"ann/\xff.jpg", b"ann/c.jpg"])))

    assert [type(one) for one in not_text + not_utf8] == [Fault, Fault, Fault, Entry]


@needs_pyarrow
def test_damaged_parquet_is_wrong_input(tmp_path: Path) -> None:
    for number, data in enumerate([b"no parquet", parquet_file(ROWS)[:-9], parquet_file(ROWS)[:99] * 9]):
        with pytest.raises(WrongInput, match="cannot be read as Parquet"):
            listed(of_parquet(tmp_path / str(number), data))


@needs_pyarrow
def test_times_that_are_none_are_wrong_input(tmp_path: Path) -> None:
    for number, times in enumerate([["yesterday"], [1.5], [2**62]]):
        source = of_parquet(tmp_path / str(number), parquet_file([Row("ann/a.jpg")], last_modified_date=times))
        with pytest.raises(WrongInput, match="cannot be read as Parquet"):
            listed(source)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(BackendMisconfigured, match=r"selfiegate\[inventory\]"):
        entries(of_parquet(tmp_path, b""), Settings())
