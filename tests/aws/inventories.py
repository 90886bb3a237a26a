"""S3 Inventories as S3 writes them: a manifest, and files in CSV or Parquet."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus

COLUMNS = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag"]
NAME = "inventory/rides/daily/data/f1a2.csv.gz"


class Row(NamedTuple):
    """One version of one object."""

    key: str
    version: str = ""
    latest: bool = True
    deleted: bool = False
    modified: str = "2026-01-02T03:04:05.000Z"
    etag: str = "b1946ac92492d2347c6235b4d2611184"

    def cells(self, bucket: str) -> list[Any]:
        """In the order of COLUMNS."""
        return [bucket, self.key, self.version, self.latest, self.deleted, 5, self.modified, self.etag]


def csv_file(rows: Sequence[Row], columns: Sequence[str] = COLUMNS, bucket: str = "rides") -> bytes:
    """Return a file of rows, keys encoded, without a header."""
    lines = []
    for row in rows:
        cells = row._replace(key=quote_plus(row.key, safe="/*", errors="surrogateescape")).cells(bucket)
        told = dict(zip(COLUMNS, cells, strict=True))
        texts = (str(told[name]).lower() if isinstance(told[name], bool) else told[name] for name in columns)
        lines.append(",".join(f'"{text}"' for text in texts))
    return gzip.compress("\n".join(lines).encode() + b"\n")


def parquet_file(rows: Sequence[Row], milliseconds: bool = False, bucket: str = "rides", **more: Any) -> bytes:
    """Return a file of rows; their times as timestamps, or as plain numbers."""
    import pyarrow as arrow
    from pyarrow import parquet

    names = ["bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "last_modified_date", "e_tag"]
    columns = dict(zip(names, zip(*(row.cells(bucket) for row in rows), strict=True), strict=True))
    times = [round(datetime.fromisoformat(row.modified).timestamp() * 1000) for row in rows]
    kind = arrow.int64() if milliseconds else arrow.timestamp("ms", "UTC")
    table = arrow.table({**columns, "last_modified_date": arrow.array(times, arrow.int64()).cast(kind), **more})
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def manifest(data: dict[str, bytes], form: str = "CSV", columns: Sequence[str] = COLUMNS, **changes: object) -> bytes:
    """Return the manifest.json of these files."""
    listed = [
        {"key": key, "size": len(file), "MD5checksum": hashlib.md5(file, usedforsecurity=False).hexdigest()}
        for key, file in data.items()
    ]
    found = {
        "sourceBucket": "rides",
        "destinationBucket": "arn:aws:s3:::photos",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": form,
        "fileSchema": ", ".join(columns)
        if form == "CSV"
        else "message s3.inventory { required binary bucket (UTF8); }",
        "files": listed,
        **changes,
    }
    return json.dumps(found).encode()


def write(folder: Path, content: bytes, files: dict[str, bytes]) -> str:
    """Write a manifest with its files beside it and return its path."""
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(content)
    for key, data in files.items():
        (folder / Path(key).name).write_bytes(data)
    return str(folder / "manifest.json")
