"""S3 Inventories: a manifest, and the files of rows that it names.

Shapes: AWS's "Amazon S3 Inventory list" and "Locating your inventory list". In CSV, keys are URL-encoded ("you
must decode them"), with a plus for a space as in S3's notifications; in Parquet they are as they are.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import IO, Literal
from urllib.parse import unquote_plus

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selfiegate.backfill.listing import Fault
from selfiegate.errors import WrongInput
from selfiegate.ingestion.messages import Upload

OpenData = Callable[[str, str], AbstractContextManager[IO[bytes]]]
"""Opens a data file by bucket and key; it can be read twice."""

_MAX_LINE = 1 << 16
"""Characters; a key takes at most 3,072 of them."""

_Row = dict[str, str | bool | None]

_COLUMNS = {
    "Bucket": "bucket",
    "Key": "key",
    "VersionId": "version_id",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
}
"""What is read of a row, by its names in CSV and in Parquet."""


class DataFile(BaseModel):
    """One of the files that hold an inventory's rows."""

    key: str = Field(min_length=1)
    md5: str = Field(alias="MD5checksum")


class Manifest(BaseModel):
    """What an inventory's manifest.json says, as far as it is needed."""

    model_config = ConfigDict(frozen=True)

    source_bucket: str = Field(alias="sourceBucket", pattern=r"^[A-Za-z0-9._-]{3,255}$")
    destination: str = Field(alias="destinationBucket", pattern=r"^(arn:[a-z0-9-]+:s3:::)?[A-Za-z0-9._-]{3,255}$")
    file_format: Literal["CSV", "Parquet"] = Field(alias="fileFormat")
    file_schema: str = Field(alias="fileSchema")
    files: tuple[DataFile, ...]

    @classmethod
    def of(cls, found: Mapping[str, object], source: str) -> Manifest:
        """Check a manifest; raises `WrongInput` that names what is wrong."""
        if found.get("fileFormat") == "ORC":
            raise WrongInput(f"the inventory {source!r} is ORC; have S3 write it as CSV or Parquet")
        try:
            manifest = cls.model_validate(found)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
            raise WrongInput(f"the manifest {source!r} is malformed: {wrong}") from None
        if manifest.file_format == "CSV" and not {"Bucket", "Key"} <= set(manifest.columns):
            raise WrongInput(f"the fileSchema of the manifest {source!r} has no Bucket and Key")
        return manifest

    @property
    def destination_bucket(self) -> str:
        """Where S3 wrote the data files."""
        return self.destination.rpartition(":")[2]

    @property
    def columns(self) -> list[str]:
        """The columns of CSV files, which have no header."""
        return [name.strip() for name in self.file_schema.split(",")]


def rows_of(manifest: Manifest, open_data: OpenData) -> Iterator[Upload | Fault]:
    """Go through the present versions that an inventory lists; a row that cannot be read is a fault.

    Raises `WrongInput` for a file that is damaged or not the one that the manifest names.
    """
    read = _csv_rows if manifest.file_format == "CSV" else _parquet_reader()
    return _rows(manifest, open_data, read)


def _rows(manifest: Manifest, open_data: OpenData, read: Callable[..., Iterator[_Row]]) -> Iterator[Upload | Fault]:
    for file in manifest.files:
        with open_data(manifest.destination_bucket, file.key) as data:
            if _md5(data) != file.md5.lower():
                raise WrongInput(f"{file.key[:200]!r} is not the file that its manifest names (MD5); download it again")
            data.seek(0)
            for number, row in enumerate(read(data, file.key, manifest.columns), 1):
                if found := _upload(manifest, f"{file.key}, row {number}", row):
                    yield found


def _md5(data: IO[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while block := data.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _csv_rows(data: IO[bytes], name: str, columns: list[str]) -> Iterator[_Row]:
    try:
        # What is not UTF-8 makes its row a fault, not the file.
        with gzip.open(data, "rt", encoding="utf-8", errors="surrogateescape", newline="") as text:
            for values in csv.reader(_lines(text)):
                yield _csv_row(columns, values)
    except (OSError, EOFError, zlib.error, csv.Error, WrongInput) as error:
        raise WrongInput(f"{name[:200]!r} cannot be read as CSV in gzip: {error}") from None


def _csv_row(columns: list[str], values: list[str]) -> _Row:
    if len(values) != len(columns):
        return {}
    row: _Row = {_COLUMNS[name]: value for name, value in zip(columns, values, strict=True) if name in _COLUMNS}
    try:
        return {**row, "key": unquote_plus(str(row["key"]), errors="strict")}
    except UnicodeDecodeError:
        return {**row, "key": None}


def _lines(text: io.TextIOBase) -> Iterator[str]:
    while line := text.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:  # a bomb, lest it be held in memory
            raise WrongInput(f"it has a line of more than {_MAX_LINE} characters")
        yield line


def _parquet_reader() -> Callable[[IO[bytes], str, list[str]], Iterator[_Row]]:
    from selfiegate.backfill.sources.parquet import reader

    rows = reader(list(_COLUMNS.values()))
    return lambda data, name, _: rows(data, name)


def _upload(manifest: Manifest, where: str, row: _Row) -> Upload | Fault | None:
    if str(row.get("is_delete_marker")).lower() == "true" or str(row.get("is_latest")).lower() == "false":
        return None
    key, version, etag, time = (row.get(name) or "" for name in ("key", "version_id", "e_tag", "last_modified_date"))
    told = (key, version, etag, time)
    if not key or row.get("bucket") != manifest.source_bucket or not all(map(_is_text, told)):
        return Fault(where=where, why="the row does not name an object of the inventory's bucket in UTF-8")
    version = "" if version == "null" else version
    return Upload(
        bucket=manifest.source_bucket, key=str(key), version=str(version), etag=str(etag).strip('"'), time=str(time)
    )


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value.encode()) < _MAX_LINE
    except UnicodeEncodeError:
        return False
